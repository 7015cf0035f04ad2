'use client';

import { useCallback, useEffect, useMemo, useState } from 'react';
import { sqlFor, type Gateway } from '@/lib/rowgate';
import { addTodo, deleteTodo, listTodos, tickTodo, type Todo } from '@/lib/todos';

async function getToken(): Promise<string | null> {
  const answer = await fetch('/auth/token', { method: 'POST' });
  return answer.ok ? (await answer.json()).token : null;
}

export function TodoList({ gateway }: { gateway: Gateway }) {
  const sql = useMemo(() => sqlFor(gateway, getToken), [gateway]);
  const [todos, setTodos] = useState<Todo[]>();
  const [problem, setProblem] = useState('');

  // Do something, then show what the database holds now.
  const after = useCallback(
    async (change?: Promise<void>) => {
      try {
        await change;
        setTodos(await listTodos(sql));
        setProblem('');
      } catch (error) {
        if (!(await getToken())) {
          return location.reload(); // signed out in another tab: what is shown is not true any more
        }
        setProblem((error as Error).message);
      }
    },
    [sql],
  );
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
          void after(addTodo(sql, task));
        }}
      >
        <input name="task" placeholder="What is to be done?" aria-label="Task" required autoComplete="off" />
        <button>Add</button>
      </form>
      {problem && <p role="alert">{problem}</p>}
      <ul>
        {todos?.map(({ id, task, done }) => (
          <li key={id} className={done ? 'done' : undefined}>
            <button
              className="tick"
              role="checkbox"
              aria-checked={done}
              aria-label={task}
              onClick={() => void after(tickTodo(sql, id, !done))}
            />
            <span>{task}</span>
            <button className="quiet" aria-label={`Delete ${task}`} onClick={() => void after(deleteTodo(sql, id))}>
              Delete
            </button>
          </li>
        ))}
      </ul>
      {todos?.length === 0 && <p className="empty">Nothing to do.</p>}
    </>
  );
}
