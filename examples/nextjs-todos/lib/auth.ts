import 'server-only';
import * as clerk from './clerk-session';
import * as local from './local-session';
import { sqlFor, type Gateway } from './rowgate';

// The one place that decides who signs people in. Everything else asks for the user and for a token.

export type User = { name: string };

export const usesClerk = Boolean(process.env.NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY && process.env.CLERK_SECRET_KEY);

/** Who is signed in, a token of theirs, where one signs in, and signing out. */
export const { currentUser, getToken, signInAddress, signOut } = usesClerk ? clerk : local;

/** Read when a page is asked for, so that one build serves any gateway. */
export function gateway(): Gateway {
  return {
    sqlUrl: process.env.ROWGATE_SQL_URL!,
    databaseUrl: process.env.DATABASE_AUTHENTICATED_URL!,
  };
}

/** SQL as the user who is signed in. */
export function sqlOfUser() {
  return sqlFor(gateway(), getToken);
}
