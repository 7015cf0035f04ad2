// Two identity providers that other people wrote, each on a port of its own: oidc-provider, which signs with ES256 and
// EdDSA, and oauth2-mock-server, which signs with RS256. Prints their addresses; reads commands, one a line.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { exportJWK, generateKeyPair } from 'jose';
import { OAuth2Server } from 'oauth2-mock-server';
import Provider from 'oidc-provider';

const say = (told) => console.log(JSON.stringify(told));

async function makeKey(alg, kid) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid };
}

function makeProvider(issuer, keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: [
      {
        client_id: 'machine',
        client_secret: 'secret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: 'ES256',
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: '',
          audience: resource,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: resource.endsWith('/eddsa') ? 'EdDSA' : 'ES256' } },
        }),
      },
    },
  });
}

let provider;
const server = createServer((request, response) => provider.callback()(request, response));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
let generation = 1;
let keys = [await makeKey('ES256', 'es-1'), await makeKey('EdDSA', 'ed-1')];
provider = makeProvider(issuer, keys);

const mock = new OAuth2Server();
await mock.issuer.keys.generate('RS256');
await mock.start(0, '127.0.0.1');
say({ oidc: issuer, mock: mock.issuer.url });

for await (const command of createInterface({ input: process.stdin })) {
  if (command === 'rotate') {
    // New keys sign; the old ones are still published.
    generation += 1;
    keys = [await makeKey('ES256', `es-${generation}`), await makeKey('EdDSA', `ed-${generation}`), ...keys];
  } else if (command === 'retire') {
    keys = keys.slice(0, 2);
  } else {
    break;
  }
  provider = makeProvider(issuer, keys);
  say({ done: command });
}
await mock.stop();
server.close();
process.exit(0);
