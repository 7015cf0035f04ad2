import { useCallback, useEffect, useState } from 'react';
import { getToken, signIn, signOut } from './session';
import { addTodo, deleteTodo, listTodos, tickTodo, type Todo } from './todos';

export function Page({ user }: { user: string | null }) {
  return (
    <>
      <header>
        <h1>Todos</h1>
        {user && (
          <div>
            <span className="who">{user}</span>
            <button className="quiet" onClick={() => void signOut()}>
              Sign out
            </button>
          </div>
        )}
      </header>
      <main>
        {user ? (
          <TodoList />
        ) : (
          <>
            <p className="empty">A static page and a database. Nothing in between has an endpoint of its own.</p>
            <button onClick={() => void signIn()}>Sign in</button>
          </>
        )}
      </main>
    </>
  );
}

function TodoList() {
  const [todos, setTodos] = useState<Todo[]>();
  const [problem, setProblem] = useState('');

  // Do something, then show what the database holds now.
  const after = useCallback(async (change?: Promise<unknown>) => {
    try {
      await change;
      setTodos(await listTodos());
      setProblem('');
    } catch (error) {
      if (!(await getToken())) {
        return location.reload(); // signed out in another tab: what is shown is not true any more
      }
      setProblem((error as Error).message);
    }
  }, []);
  useEffect(() => void after(), [after]);

  return (
    <>
      <form
        className="add"
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          const task = String(new FormData(form).get('task')).trim();
          form.reset();
          void after(addTodo(task));
        }}
      >
        <input name="task" placeholder="What is to be done?" aria-label="Task" required autoComplete="off" />
        <button>Add</button>
      </form>
      {problem && <p role="alert">{problem}</p>}
      <ul>
        {todos?.map((todo) => (
          <li key={todo.id} className={todo.done ? 'done' : undefined}>
            <button
              className="tick"
              role="checkbox"
              aria-checked={todo.done}
              aria-label={todo.task}
              onClick={() => void after(tickTodo(todo))}
            />
            <span>{todo.task}</span>
            <button className="quiet" aria-label={`Delete ${todo.task}`} onClick={() => void after(deleteTodo(todo))}>
              Delete
            </button>
          </li>
        ))}
      </ul>
      {todos?.length === 0 && <p className="empty">Nothing to do.</p>}
    </>
  );
}
