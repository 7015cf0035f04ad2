import { neon, neonConfig } from '@neondatabase/serverless';
import { getToken } from './session';

neonConfig.fetchEndpoint = () => import.meta.env.VITE_SQL_URL;

const sql = neon(import.meta.env.VITE_DATABASE_URL, {
  authToken: async () => {
    const token = await getToken();
    if (!token) {
      throw new Error('You are signed out.');
    }
    return token;
  },
  disableWarningInBrowsers: true,
});

export type Todo = { id: string; task: string; done: boolean };

// No statement says whose rows it means: the policies of the table do.
export const listTodos = async () => (await sql`select id, task, done from todos order by id`) as Todo[];
export const addTodo = (task: string) => sql`insert into todos (task) values (${task})`;
export const tickTodo = ({ id, done }: Todo) => sql`update todos set done = ${!done} where id = ${id}`;
export const deleteTodo = ({ id }: Todo) => sql`delete from todos where id = ${id}`;
