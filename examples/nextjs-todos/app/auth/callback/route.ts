import { redirect } from 'next/navigation';
import type { NextRequest } from 'next/server';
import { finishSignIn } from '@/lib/local-session';

export async function GET(request: NextRequest) {
  try {
    await finishSignIn(request.nextUrl.search);
  } catch {
    return new Response('The sign-in was not begun here, or took too long. Please sign in again.', { status: 400 });
  }
  redirect('/');
}
