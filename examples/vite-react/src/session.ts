import { UserManager, WebStorageStateStore } from 'oidc-client-ts';

// Signing in without a server of one's own: OpenID Connect's authorization code flow with PKCE, in the page. Tokens live
// in the browser's storage, so that signing out in one tab signs out all, and are renewed with a refresh token; at the
// local provider they are good for a minute.

const here = location.origin + location.pathname;

const users = new UserManager({
  authority: import.meta.env.VITE_ISSUER,
  client_id: import.meta.env.VITE_CLIENT_ID,
  redirect_uri: here,
  post_logout_redirect_uri: here,
  scope: 'openid profile offline_access',
  userStore: new WebStorageStateStore({ store: localStorage }),
  automaticSilentRenew: false,
});

/** Finishes a sign-in where the provider has just sent the browser back; gives the name of whoever is signed in. */
export async function currentUser(): Promise<string | null> {
  if (new URLSearchParams(location.search).has('state')) {
    await users.signinCallback().finally(() => history.replaceState(null, '', here));
  }
  const user = await users.getUser();
  return user && (user.profile.name ?? user.profile.sub);
}

/** A token that is good for at least another ten seconds; null where nobody is signed in any more. */
export async function getToken(): Promise<string | null> {
  const user = await users.getUser();
  if (user && (user.expires_in ?? 0) < 10) {
    // Only one at a time: a refresh token is good once.
    renewal ??= users.signinSilent().finally(() => (renewal = undefined));
    return (await renewal)?.access_token ?? null;
  }
  return user?.access_token ?? null;
}

let renewal: ReturnType<UserManager['signinSilent']> | undefined;

export const signIn = () => users.signinRedirect({ prompt: 'select_account' });

/** Forgets the tokens, and ends the session at the provider. */
export const signOut = () => users.signoutRedirect();
