import { clerkMiddleware } from '@clerk/nextjs/server';
import { NextResponse } from 'next/server';

const usesClerk = Boolean(process.env.NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY && process.env.CLERK_SECRET_KEY);

// Clerk keeps its session fresh here. The local provider needs nothing of the kind.
export default usesClerk ? clerkMiddleware() : () => NextResponse.next();

export const config = { matcher: ['/((?!_next|.*\\.\\w+$).*)'] };
