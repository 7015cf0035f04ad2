import { ClerkProvider } from '@clerk/nextjs';
import type { Metadata } from 'next';
import type { ReactNode } from 'react';
import { currentUser, usesClerk } from '@/lib/auth';
import { leave } from './actions';
import { Navigation } from './navigation';
import './style.css';

export const metadata: Metadata = { title: 'Todos', description: 'Each user sees their own rows' };

export default async function Layout({ children }: { children: ReactNode }) {
  const user = await currentUser();
  const page = (
    <html lang="en">
      <body>
        <header>
          <h1>Todos</h1>
          {user && (
            <form action={leave}>
              <span className="who">{user.name}</span>
              <button className="quiet">Sign out</button>
            </form>
          )}
        </header>
        {user ? (
          <>
            <Navigation />
            <main>{children}</main>
          </>
        ) : (
          <main className="welcome">
            <p>Everybody has a list of their own. The database sees to it.</p>
            <a className="button" href="/auth/sign-in">
              Sign in
            </a>
          </main>
        )}
      </body>
    </html>
  );
  return usesClerk ? <ClerkProvider>{page}</ClerkProvider> : page;
}
