// Runs in the browser: one unmodified driver, served from its package, in a page of another origin than the gateway's.
// Job: { driver, url, token, sqlUrl, wsProxy }; every function gives what it saw.

async function load(job) {
  const driver = await import(`/packages/${job.driver}/index.mjs`);
  driver.neonConfig.disableWarningInBrowsers = true;
  driver.neonConfig.fetchEndpoint = () => job.sqlUrl;
  driver.neonConfig.wsProxy = () => job.wsProxy;
  driver.neonConfig.useSecureWebSocket = false;
  return driver;
}

const problem = ({ name, code, message }) => ({ name, code, message });

export async function overHttp(job) {
  const { neon } = await load(job);
  const sql = neon(job.url, { authToken: async () => job.token });
  const saw = {};
  saw.me = (await sql`select auth.user_id() as me`)[0].me;
  saw.typed = (await sql`select ${41}::int + 1 as n, ${'é'}::text as t, ${[1, 2]}::int[] as a, ${null}::text as x`)[0];
  saw.transaction = await sql.transaction([
    sql`insert into todos (task) values (${'browser'}) returning task`,
    sql`select count(*)::int as n from todos where task = 'browser'`,
    sql`delete from todos where task = 'browser' returning user_id`,
  ], { isolationLevel: 'RepeatableRead' });
  saw.lost = await sql.transaction([sql`insert into todos (task) values ('lost')`, sql`select 1/0`]).catch(problem);
  saw.left = (await sql`select count(*)::int as n from todos`)[0].n;
  saw.forged = await sql`insert into todos (user_id, task) values ('user_bob', 'forged')`.catch(problem);
  const stranger = neon(job.url, { authToken: 'a.b.c' });
  saw.stranger = await stranger`select 1`.catch(problem);
  return saw;
}

export async function overWebSocket(job) {
  const { Client, Pool } = await load(job);
  const saw = {};
  const client = new Client(job.url);
  await client.connect();
  saw.me = (await client.query('select auth.user_id() as me')).rows[0].me;
  await client.query('begin');
  await client.query('insert into todos (task) values ($1)', ['browser']);
  await client.query('savepoint s');
  saw.error = await client.query('select 1/0').catch((error) => error.code);
  await client.query('rollback to savepoint s');
  saw.count = (await client.query("select count(*)::int as n from todos where task = 'browser'")).rows[0].n;
  await client.query('rollback');
  saw.after = (await client.query('select count(*)::int as n from todos')).rows[0].n;
  saw.large = (await client.query("select repeat('x', 1000) as v from generate_series(1, 2000)")).rows.length;
  await client.end();
  const pool = new Pool({ connectionString: job.url, max: 3 });
  const all = await Promise.all([...Array(12).keys()].map((n) => pool.query('select auth.user_id() || $1 as v', [n])));
  saw.pool = new Set(all.map((result) => result.rows[0].v)).size;
  await pool.end();
  return saw;
}

// What a page of an origin that is not listed gets: the browser's refusals, by both ways.
export async function refused(job) {
  const { Client, neon } = await load(job);
  const saw = {};
  const sql = neon(job.url, { authToken: job.token });
  saw.http = await sql`insert into todos (task) values ('foreign')`.then(() => 'answered', problem);
  // A request that needs no preflight is sent; its answer stays closed to the page.
  saw.simple = await fetch(job.sqlUrl, { method: 'POST', body: '{}' }).then(() => 'answered', problem);
  saw.webSocket = await new Promise((resolve) => {
    const socket = new WebSocket(`ws://${job.wsProxy}`);
    socket.onopen = () => resolve('opened');
    socket.onclose = (event) => resolve(event.code);
  });
  const client = new Client(job.url);
  client.on('error', () => {});
  saw.client = await client.connect().then(() => 'connected', () => 'refused');
  return saw;
}
