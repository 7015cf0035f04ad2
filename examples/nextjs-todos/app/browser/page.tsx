import { currentUser, gateway } from '@/lib/auth';
import { TodoList } from './todo-list';

export default async function BrowserPage() {
  return (await currentUser()) ? <TodoList gateway={gateway()} /> : null;
}
