import 'server-only';
import { getIronSession } from 'iron-session';
import { cookies } from 'next/headers';
import * as openid from 'openid-client';
import { cache } from 'react';
import type { User } from './auth';

// Signing in at the local identity provider: OpenID Connect's authorization code flow with PKCE. What the browser gets is
// an encrypted cookie that names the session at the provider; each token is made for that session, until it is ended.

const COOKIE = { cookieName: 'todos_session', cookieOptions: { secure: false, sameSite: 'lax' as const } };

type Session = {
  id?: string;
  user?: User;
  attempt?: { verifier: string; state: string };
};

const issuer = () => process.env.LOCAL_ISSUER_URL!;
const secret = () => process.env.LOCAL_ISSUER_SECRET_KEY!;
const callback = () => new URL('/auth/callback', process.env.APP_URL);

async function session() {
  return getIronSession<Session>(await cookies(), { ...COOKIE, password: secret() });
}

const client = () =>
  openid.discovery(new URL(issuer()), 'nextjs-todos', undefined, openid.None(), {
    execute: [openid.allowInsecureRequests], // http, on this machine
  });

export async function currentUser(): Promise<User | null> {
  return (await getToken()) ? ((await session()).user ?? null) : null;
}

/** A token for a minute; null when nobody is signed in, or the session was ended. Once for each page. */
export const getToken = cache(async (): Promise<string | null> => {
  const { id } = await session();
  if (!id) {
    return null;
  }
  const answer = await backend(id, 'tokens');
  return answer.ok ? (await answer.json()).jwt : null;
});

export async function signInAddress(): Promise<string> {
  const verifier = openid.randomPKCECodeVerifier();
  const state = openid.randomState();
  const kept = await session();
  kept.attempt = { verifier, state };
  await kept.save();
  return openid.buildAuthorizationUrl(await client(), {
    redirect_uri: callback().href,
    scope: 'openid profile',
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    prompt: 'select_account',
  }).href;
}

/** Takes up the session that the provider sent the browser back with. Throws where the sign-in was not begun here. */
export async function finishSignIn(query: string): Promise<void> {
  const kept = await session();
  const address = callback();
  address.search = query;
  const tokens = await openid.authorizationCodeGrant(await client(), address, {
    pkceCodeVerifier: kept.attempt?.verifier,
    expectedState: kept.attempt?.state,
  });
  const claims = tokens.claims()!;
  kept.id = String(claims.sid);
  kept.user = { name: String(claims.name ?? claims.sub) };
  delete kept.attempt;
  await kept.save();
}

/** Ends the session at the provider: no token is made for it any more. */
export async function signOut(): Promise<void> {
  const kept = await session();
  if (kept.id) {
    await backend(kept.id, 'revoke');
  }
  kept.destroy();
}

function backend(sessionId: string, what: 'tokens' | 'revoke') {
  return fetch(`${issuer()}/v1/sessions/${encodeURIComponent(sessionId)}/${what}`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${secret()}` },
    cache: 'no-store',
  });
}
