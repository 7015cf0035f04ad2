// The peer for verifying tokens: jose, with its keys at hand. Reads {algorithm: {key, issuer, tokens}} from standard input;
// prints verifications per second for each.
import { createLocalJWKSet, jwtVerify } from 'jose';

const input = JSON.parse(await new Response(process.stdin).text());
const rates = {};
for (const [algorithm, { key, issuer, tokens }] of Object.entries(input)) {
  const keys = createLocalJWKSet({ keys: [key] });
  const options = { issuer, algorithms: [algorithm] };
  for (const token of tokens.slice(0, 200)) await jwtVerify(token, keys, options);
  const started = performance.now();
  for (const token of tokens) await jwtVerify(token, keys, options);
  rates[algorithm] = tokens.length / ((performance.now() - started) / 1000);
}
console.log(JSON.stringify(rates));
