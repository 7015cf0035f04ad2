import type { Sql } from './rowgate';

// All the application asks of its database, on the server and in the browser. No statement says whose rows it means:
// the policies in schema.ts do.

export type Todo = { id: string; task: string; done: boolean };

export async function listTodos(sql: Sql) {
  return (await sql`select id, task, done from todos order by id`) as Todo[];
}

export async function addTodo(sql: Sql, task: string) {
  await sql`insert into todos (task) values (${task})`;
}

export async function tickTodo(sql: Sql, id: string, done: boolean) {
  await sql`update todos set done = ${done} where id = ${id}`;
}

export async function deleteTodo(sql: Sql, id: string) {
  await sql`delete from todos where id = ${id}`;
}
