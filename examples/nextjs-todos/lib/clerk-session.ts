import 'server-only';
import { auth, clerkClient, currentUser as clerkUser } from '@clerk/nextjs/server';
import { cookies } from 'next/headers';
import type { User } from './auth';

export async function currentUser(): Promise<User | null> {
  const user = await clerkUser();
  return user && { name: user.firstName ?? user.username ?? user.id };
}

export async function getToken(): Promise<string | null> {
  const { getToken } = await auth();
  return getToken();
}

export async function signInAddress(): Promise<string> {
  // Clerk's hosted page is an answer, not an address: redirectToSignIn throws the redirect by itself.
  const { redirectToSignIn } = await auth();
  return redirectToSignIn({ returnBackUrl: process.env.APP_URL });
}

export async function signOut(): Promise<void> {
  const { sessionId } = await auth();
  if (sessionId) {
    await (await clerkClient()).sessions.revokeSession(sessionId);
  }
  // The token in the cookie would be good for up to a minute more; without it Clerk is asked, and says that it is over.
  const kept = await cookies();
  for (const { name } of kept.getAll()) {
    if (/^__session(_|$)/.test(name)) {
      kept.delete(name);
    }
  }
}
