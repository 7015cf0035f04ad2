'use server';

import { revalidatePath } from 'next/cache';
import { redirect } from 'next/navigation';
import { getToken, signOut, sqlOfUser } from '@/lib/auth';
import { addTodo, deleteTodo, tickTodo } from '@/lib/todos';

// Every action is open to anyone who can reach the page, with any values. That is all right: SQL runs as the user who is
// signed in, and the policies decide.

async function sql() {
  if (!(await getToken())) {
    revalidatePath('/', 'layout'); // signed out in another tab: what is shown in this one is not true any more
    redirect('/');
  }
  return sqlOfUser();
}

export async function add(form: FormData) {
  const task = String(form.get('task') ?? '').trim();
  if (task) {
    await addTodo(await sql(), task);
  }
  revalidatePath('/');
}

export async function tick(form: FormData) {
  await tickTodo(await sql(), String(form.get('id')), form.get('done') === 'true');
  revalidatePath('/');
}

export async function remove(form: FormData) {
  await deleteTodo(await sql(), String(form.get('id')));
  revalidatePath('/');
}

export async function leave() {
  await signOut();
  redirect('/');
}
