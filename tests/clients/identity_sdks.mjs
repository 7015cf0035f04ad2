// What an application's back end does with Clerk's SDK, with jose and with openid-client, against the local identity
// provider. Reads what to do as a JSON object; prints a JSON object.
import { createClerkClient, verifyToken } from '@clerk/backend';
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import * as openid from 'openid-client';

const refused = async (attempt) => {
  try {
    await attempt();
    return null;
  } catch (error) {
    return { status: error.status, code: error.errors?.[0]?.code ?? error.reason ?? error.code };
  }
};

const actions = {
  async clerk({ apiUrl, secretKey, publishableKey, email }) {
    const clerk = createClerkClient({ apiUrl, secretKey, publishableKey });
    const user = await clerk.users.createUser({
      emailAddress: [email],
      firstName: 'Dora',
      publicMetadata: { plan: 'pro', old: true },
      skipPasswordRequirement: true,
    });
    await clerk.users.updateUserMetadata(user.id, { publicMetadata: { old: null } });
    const found = await clerk.users.getUserList({ emailAddress: [email] });
    const organization = await clerk.organizations.createOrganization({ name: 'Clerk Co', createdBy: user.id });
    const membership = await clerk.organizations.createOrganizationMembership({
      organizationId: organization.id,
      userId: 'user_bob',
      role: 'org:member',
    });
    const own = await clerk.users.getOrganizationMembershipList({ userId: user.id });
    const session = await clerk.sessions.createSession({ userId: user.id });
    const { jwt } = await clerk.sessions.getToken(session.id);
    const templated = await clerk.sessions.getToken(session.id, 'sdk');
    const claims = await verifyToken(jwt, { secretKey, apiUrl });
    const request = (token) => new Request('http://localhost:3000/', { headers: { authorization: `Bearer ${token}` } });
    const state = await clerk.authenticateRequest(request(jwt));
    const forged = await clerk.authenticateRequest(request(jwt.slice(0, -8) + 'AAAAAAAA'));
    const stranger = createClerkClient({ apiUrl, secretKey: 'sk_test_wrong', publishableKey });
    const strangerTold = await refused(() => stranger.users.getUser(user.id));
    const revoked = await clerk.sessions.revokeSession(session.id);
    return {
      userId: user.id,
      metadata: found.data[0].publicMetadata,
      total: found.totalCount,
      member: membership.publicUserData.identifier,
      organizations: own.data.map((one) => [one.organization.name, one.role]),
      jwt,
      templated: templated.jwt,
      subject: claims.sub,
      authenticated: [state.isAuthenticated, state.toAuth().userId],
      forged: forged.isAuthenticated,
      stranger: strangerTold,
      revoked: revoked.status,
      afterwards: await refused(() => clerk.sessions.getToken(session.id)),
      unknown: await refused(() => clerk.users.getUser('user_nobody')),
    };
  },

  async jose({ issuer, tokens }) {
    const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`), { cooldownDuration: 0 });
    const verified = [];
    for (const token of tokens) {
      const { payload } = await jwtVerify(token, keys, { issuer, algorithms: ['RS256'], clockTolerance: 5 });
      verified.push([payload.sub, decodeProtectedHeader(token).kid]);
    }
    return { verified };
  },

  // The browser's part is the caller's: it is given the address and gives back where it was sent.
  async openid({ issuer, redirectUri, callback, verifier, state, nonce }) {
    const config = await openid.discovery(new URL(issuer), 'openid-client-app', undefined, openid.None(), {
      execute: [openid.allowInsecureRequests],
    });
    if (!callback) {
      const codeVerifier = openid.randomPKCECodeVerifier();
      const parameters = {
        redirect_uri: redirectUri,
        scope: 'openid profile email offline_access',
        code_challenge: await openid.calculatePKCECodeChallenge(codeVerifier),
        code_challenge_method: 'S256',
        state: openid.randomState(),
        nonce: openid.randomNonce(),
      };
      const address = openid.buildAuthorizationUrl(config, parameters).href;
      return { address, verifier: codeVerifier, state: parameters.state, nonce: parameters.nonce };
    }
    const tokens = await openid.authorizationCodeGrant(config, new URL(callback), {
      pkceCodeVerifier: verifier,
      expectedState: state,
      expectedNonce: nonce,
    });
    const subject = tokens.claims().sub;
    const info = await openid.fetchUserInfo(config, tokens.access_token, subject);
    const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token);
    return { subject, name: info.name, accessToken: tokens.access_token, renewed: renewed.access_token };
  },
};

// Clerk's SDK tells of deprecated calls on standard output.
const say = console.log;
console.log = console.error;
const { action, ...given } = JSON.parse(await new Response(process.stdin).text());
say(JSON.stringify(await actions[action](given)));
