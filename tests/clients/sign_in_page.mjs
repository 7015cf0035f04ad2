// A person at the local identity provider's pages, in Debian's Chromium, steered by the protocol of its developer tools.
// Prints, as JSON, what the person saw: widths of the pages at the width of a telephone, colours in light and dark, and
// where a sign-in led.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import WebSocket from 'ws';

const { issuer, challenge } = JSON.parse(await new Response(process.stdin).text());

let callback;
const application = createServer((request, response) => {
  if (request.url.startsWith('/callback')) callback = request.url;
  response.end('<title>The application</title>');
}).listen(0, '127.0.0.1');
await once(application, 'listening');
const redirectUri = `http://localhost:${application.address().port}/callback`;

const profile = mkdtempSync(join(tmpdir(), 'rowgate-browser-'));
const browser = spawn('chromium', [
  '--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank',
]);
const endpoint = await new Promise((found) => {
  let said = '';
  browser.stderr.on('data', (chunk) => {
    said += chunk;
    const match = /ws:\/\/\S+/.exec(said);
    if (match) found(match[0]);
  });
});
const socket = new WebSocket(endpoint);
await once(socket, 'open');

let number = 0;
const waiting = new Map();
const complaints = [];
socket.on('message', (text) => {
  const message = JSON.parse(text);
  if (message.id) waiting.get(message.id)(message.result ?? message.error);
  else if (message.method === 'Log.entryAdded') complaints.push(message.params.entry.text);
});
const call = (method, params = {}, sessionId) =>
  new Promise((answered) => {
    waiting.set(++number, answered);
    socket.send(JSON.stringify({ id: number, method, params, sessionId }));
  });

const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
const page = (method, params) => call(method, params, sessionId);
const look = async (expression) =>
  (await page('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true })).result.value;
const until = async (condition) => {
  const deadline = Date.now() + 15_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`never: ${condition}`);
    await new Promise((passed) => setTimeout(passed, 20));
  }
};
const open = async (address, title) => {
  await page('Page.navigate', { url: address });
  await until(async () => (await look('document.readyState + document.title')) === `complete${title}`);
};

await page('Log.enable');
await page('Emulation.setDeviceMetricsOverride', { width: 375, height: 740, deviceScaleFactor: 1, mobile: true });
const seen = { redirectUri, widths: [], colours: [] };
const request = `${issuer}/authorize?client_id=app&response_type=code&scope=openid&state=s&code_challenge_method=S256` +
  `&code_challenge=${challenge}&redirect_uri=${encodeURIComponent(redirectUri)}`;
for (const scheme of ['light', 'dark']) {
  await page('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  for (const [address, title] of [[`${issuer}/`, 'Local identity provider'], [request, 'Sign in']]) {
    await open(address, title);
    seen.widths.push(await look('document.documentElement.scrollWidth'));
  }
  seen.colours.push(await look('[document.body, document.querySelector(".soft")].map((one) => ' +
    '[getComputedStyle(one).color, getComputedStyle(document.querySelector("section")).backgroundColor])'));
}

// From the application's request to its callback: the form's redirect must get past the page's own policy.
await look('[...document.querySelectorAll("button.person")].find((one) => one.innerText.includes("Bob")).click()');
await until(() => callback);
seen.callback = callback;
await open(`${issuer}/`, 'Local identity provider');
seen.signedIn = await look('document.querySelector("section").innerText');
await look('document.querySelector("form[action=\'/sign-out\'] button").click()');
await until(() => look('document.body.innerText.includes("Nobody is signed in")'));
seen.complaints = complaints.filter((text) => !text.includes('favicon'));

console.log(JSON.stringify(seen));
socket.close();
browser.kill();
await once(browser, 'exit');
application.close();

// The browser's other processes may still write into folders that were empty a moment ago, so all of it is tried again.
const deadline = Date.now() + 20_000;
for (;;) {
  try {
    rmSync(profile, { recursive: true, force: true });
    break;
  } catch (problem) {
    if (problem.code !== 'ENOTEMPTY' || Date.now() > deadline) throw problem;
    await new Promise((go) => setTimeout(go, 100));
  }
}
