// Runs one client over a session and prints what it saw, as JSON. Job: { client, host, port, user, password, database, wsProxy }.
import { text } from 'node:stream/consumers';

const job = JSON.parse(await text(process.stdin));
const { host, port, user, password, database } = job;
const url = `postgresql://${user}:${password}@${host}:${port}/${database}`;
const saw = {};

// What every client of the family of node-postgres does.
async function likePg(pg) {
  const client = new pg.Client(job.direct ?? url);
  await client.connect();
  saw.me = (await client.query('select auth.user_id() as me')).rows[0].me;
  saw.typed = (await client.query('select $1::int + 1 as n, now() is not null as t, array[1,2] as a', [41])).rows[0];
  saw.named = [];
  for (const n of [1, 2, 3]) {
    saw.named.push((await client.query({ name: 'one', text: 'select $1::text as v', values: [String(n)] })).rows[0].v);
  }
  await client.query('begin');
  await client.query('insert into todos (task) values ($1)', ['session']);
  await client.query('savepoint s');
  saw.error = await client.query('select 1/0').catch((error) => error.code);
  await client.query('rollback to savepoint s');
  saw.count = (await client.query('select count(*)::int as n from todos where task = $1', ['session'])).rows[0].n;
  await client.query('rollback');
  saw.after = (await client.query('select count(*)::int as n from todos where task = $1', ['session'])).rows[0].n;
  saw.refused = await client.query('set role postgres').catch((error) => error.code);
  saw.several = (await client.query('select 1 as a; select 2 as b')).map((result) => result.rows[0]);
  await client.end();
  const pool = new pg.Pool(typeof job.direct === 'object' ? { ...job.direct, max: 5 } : { connectionString: url, max: 5 });
  const all = await Promise.all([...Array(20).keys()].map((n) => pool.query('select auth.user_id() || $1 as v', [n])));
  saw.pool = new Set(all.map((result) => result.rows[0].v)).size;
  await pool.end();
}

const clients = {
  async 'node-postgres'() {
    await likePg((await import('pg')).default);
  },
  async 'the pool of node-postgres'() {
    const pool = new (await import('pg')).default.Pool({ connectionString: url, max: 1 });
    saw.users = [];
    for (const statements of job.mess) {
      const borrowed = await pool.connect();
      for (const statement of statements) if (await borrowed.query(statement).then(() => false, () => true)) break;
      await borrowed.query('rollback');
      borrowed.release();
      saw.users.push((await pool.query('select auth.user_id() as me')).rows[0].me);
    }
    await pool.end();
  },
  async 'postgres.js'() {
    const sql = (await import('postgres')).default(url, { max: 3 });
    saw.me = (await sql`select auth.user_id() as me`)[0].me;
    saw.many = (await Promise.all([...Array(20).keys()].map((n) => sql`select ${n}::int as n`))).map((rows) => rows[0].n);
    saw.error = await sql`select 1/0`.catch((error) => error.code);
    await sql.begin(async (inside) => {
      await inside`insert into todos (task) values ('session')`;
      saw.count = (await inside`select count(*)::int as n from todos where task = 'session'`)[0].n;
      throw new Error('take it back');
    }).catch(() => {});
    saw.after = (await sql`select count(*)::int as n from todos where task = 'session'`)[0].n;
    saw.cursor = 0;
    await sql.begin(async (inside) => {
      for await (const rows of inside`select g from generate_series(1, 100) g`.cursor(30)) saw.cursor += rows.length;
    });
    await sql.end();
  },
};

async function overWebSocket(name) {
  const neon = await import(name);
  neon.neonConfig.webSocketConstructor = (await import('ws')).default;
  neon.neonConfig.wsProxy = () => job.wsProxy;
  neon.neonConfig.useSecureWebSocket = false;
  neon.neonConfig.pipelineConnect = job.pipelineConnect ?? 'password';
  neon.neonConfig.coalesceWrites = job.coalesceWrites ?? true;
  await likePg(neon);
}

await (clients[job.client] ?? overWebSocket)(job.client);
process.stdout.write(JSON.stringify(saw));
