import { currentUser, sqlOfUser } from '@/lib/auth';
import { listTodos } from '@/lib/todos';
import { add, remove, tick } from './actions';

export default async function TodoList() {
  if (!(await currentUser())) {
    return null; // the layout offers to sign in
  }
  const todos = await listTodos(sqlOfUser());
  return (
    <>
      <form action={add} className="add">
        <input name="task" placeholder="What is to be done?" aria-label="Task" required autoComplete="off" />
        <button>Add</button>
      </form>
      <ul>
        {todos.map(({ id, task, done }) => (
          <li key={id} className={done ? 'done' : undefined}>
            <form action={tick}>
              <input type="hidden" name="id" value={id} />
              <input type="hidden" name="done" value={String(!done)} />
              <button className="tick" role="checkbox" aria-checked={done} aria-label={task} />
            </form>
            <span>{task}</span>
            <form action={remove}>
              <input type="hidden" name="id" value={id} />
              <button className="quiet" aria-label={`Delete ${task}`}>
                Delete
              </button>
            </form>
          </li>
        ))}
      </ul>
      {todos.length === 0 && <p className="empty">Nothing to do.</p>}
    </>
  );
}
