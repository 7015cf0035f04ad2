// The serverless driver with none of its addresses configured: it calls https://api.<domain>/sql,
// https://apiauth.<domain>/sql and wss://<host>/v2, all on port 443. A test may not have that port, nor names in DNS, so
// the way to them is laid here, below the driver: every TLS connection goes to job.port, names and certificates as asked.
import { text } from 'node:stream/consumers';
import tls from 'node:tls';

const job = JSON.parse(await text(process.stdin));
const asked = new Set();
const connect = tls.connect;
tls.connect = (options, ...more) => {
  asked.add(`${options.servername ?? options.host}:${options.port}`);
  return connect({ ...options, host: '127.0.0.1', port: job.port }, ...more);
};
const driver = await import(job.driver);
const saw = {};

const withToken = driver.neon(`postgresql://authenticated@${job.host}/neondb`, { authToken: job.token });
saw.token = (await withToken`select auth.user_id() as me`)[0].me;
const withPassword = driver.neon(job.ownerUrl);
saw.password = (await withPassword`select current_user as me`)[0].me;

driver.neonConfig.webSocketConstructor = (await import('ws')).WebSocket; // Node has its own only from version 22 on
const pool = new driver.Pool({ connectionString: `postgresql://authenticated:${job.token}@${job.host}/neondb` });
saw.pool = (await pool.query('select auth.user_id() as me')).rows[0].me;
await pool.end();

saw.asked = [...asked].sort();
console.log(JSON.stringify(saw));
