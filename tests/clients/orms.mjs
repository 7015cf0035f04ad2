// Runs one ORM over one way to the gateway, and prints what it saw, as JSON.
// Job: { client, url, token, tokenless, sqlUrl, wsProxy, generated }: url holds the token as the password, tokenless does not.
import { text } from 'node:stream/consumers';
import * as neon from '@neondatabase/serverless';
import pg from 'pg';
import ws from 'ws';

const job = JSON.parse(await text(process.stdin));
neon.neonConfig.fetchEndpoint = () => job.sqlUrl;
neon.neonConfig.webSocketConstructor = ws;
neon.neonConfig.wsProxy = () => job.wsProxy;
neon.neonConfig.useSecureWebSocket = false;
const takenBack = new Error('take it back');
const saw = {};

async function drizzled(db, todos) {
  const { eq } = await import('drizzle-orm');
  const [row] = await db.insert(todos).values({ task: 'drizzle' }).returning();
  saw.inserted = row.userId;
  await db.update(todos).set({ task: 'drizzled' }).where(eq(todos.id, row.id));
  saw.read = (await db.select().from(todos).where(eq(todos.id, row.id))).map((each) => each.task);
  saw.deleted = (await db.delete(todos).where(eq(todos.id, row.id)).returning()).length;
  saw.error = await db.insert(todos).values({ userId: 'user_bob', task: 'forged' }).catch((error) => error.cause.code);
}

async function drizzledInTransaction(db, todos) {
  const { eq } = await import('drizzle-orm');
  await db.transaction(async (outer) => {
    await outer.insert(todos).values({ task: 'outer' });
    await outer.transaction(async (inner) => {
      await inner.insert(todos).values({ task: 'inner' });
      throw takenBack;
    }).catch(() => {});
    saw.inside = (await outer.select().from(todos)).map((each) => each.task);
    throw takenBack;
  }, { isolationLevel: 'repeatable read' }).catch(() => {});
  saw.after = (await db.select().from(todos).where(eq(todos.task, 'outer'))).length;
}

async function drizzledBySession(drizzle, Pool) {
  const pool = new Pool({ connectionString: job.url, max: 2 });
  const [db, todos] = [drizzle(pool), await drizzleTable()];
  await drizzled(db, todos);
  await drizzledInTransaction(db, todos);
  await pool.end();
}

async function drizzleTable() {
  const { bigint, pgTable, text: textColumn } = await import('drizzle-orm/pg-core');
  return pgTable('todos', {
    id: bigint({ mode: 'number' }).primaryKey().generatedByDefaultAsIdentity(),
    userId: textColumn('user_id'), task: textColumn(),
  });
}

async function kyselied(db) {
  const made = await db.insertInto('todos').values({ task: 'kysely' }).returningAll().executeTakeFirstOrThrow();
  saw.inserted = made.user_id;
  saw.updated = Number((await db.updateTable('todos').set({ task: 'kyselied' }).executeTakeFirst()).numUpdatedRows);
  saw.read = (await db.selectFrom('todos').selectAll().execute()).map((each) => each.task);
  await db.deleteFrom('todos').execute();
}

async function prismaClient(adapter) {
  const { PrismaClient } = await import(job.generated);
  return new PrismaClient({ adapter });
}

async function prismaed(prisma) {
  const made = await prisma.todo.create({ data: { task: 'prisma' } });
  saw.inserted = made.userId;
  await prisma.todo.update({ where: { id: made.id }, data: { task: 'prismaed' } });
  saw.read = (await prisma.todo.findMany({ where: { task: { contains: 'PRISMA', mode: 'insensitive' } } })).map((each) => each.task);
  saw.raw = await prisma.$queryRaw`select auth.user_id() as me, ${7}::int as n`;
  saw.deleted = (await prisma.todo.deleteMany()).count;
  saw.error = await prisma.todo.create({ data: { userId: 'user_bob', task: 'forged' } }).catch((error) => error.message.includes('row-level security'));
}

async function prismaedInTransaction(prisma) {
  await prisma.$transaction(async (inside) => {
    await inside.todo.create({ data: { task: 'lost' } });
    saw.inside = await inside.todo.count();
    throw takenBack;
  }, { isolationLevel: 'Serializable' }).catch(() => {});
  saw.after = await prisma.todo.count();
  const together = [prisma.todo.create({ data: { task: 'one' } }), prisma.todo.count(), prisma.todo.deleteMany()];
  saw.together = (await prisma.$transaction(together)).slice(1);
  await prisma.todo.createMany({ data: [{ task: 'a' }, { task: 'b' }, { task: 'c' }] });
  saw.page = (await prisma.todo.findMany({ orderBy: { id: 'desc' }, skip: 1, take: 1 })).map((each) => each.task);
  await prisma.todo.deleteMany();
}

async function prismaedBySession(Adapter) {
  const prisma = await prismaClient(new Adapter({ connectionString: job.url, max: 2 }));
  await prismaed(prisma);
  await prismaedInTransaction(prisma);
  await prisma.$disconnect();
}

const clients = {
  async 'drizzle over HTTP'() {
    const { drizzle } = await import('drizzle-orm/neon-http');
    const todos = await drizzleTable();
    await drizzled(drizzle(neon.neon(job.tokenless, { authToken: async () => job.token })), todos);
    const db = drizzle(neon.neon(job.tokenless));
    saw.withAuth = (await db.$withAuth(job.token).execute('select auth.user_id() as me')).rows[0].me;
    const mine = drizzle(neon.neon(job.tokenless, { authToken: job.token }));
    const results = await mine.batch([mine.insert(todos).values({ task: 'batch' }).returning(), mine.delete(todos).returning()]);
    saw.batch = results.map((rows) => rows.map((each) => each.task));
  },
  async 'drizzle over WebSocket'() {
    await drizzledBySession((await import('drizzle-orm/neon-serverless')).drizzle, neon.Pool);
  },
  async 'drizzle over TCP'() {
    await drizzledBySession((await import('drizzle-orm/node-postgres')).drizzle, pg.Pool);
  },
  // The table whose policies drizzle-kit wrote.
  async 'the generated table'() {
    const { drizzle } = await import('drizzle-orm/neon-http');
    const { notes } = await import(job.generated);
    const db = drizzle(neon.neon(job.tokenless, { authToken: job.token }));
    if (job.writes) saw.wrote = await db.insert(notes).values(job.writes).returning().catch((error) => error.cause.code);
    saw.read = (await db.select().from(notes)).map((each) => each.body);
    saw.updated = (await db.update(notes).set({ body: 'changed' }).returning()).length;
  },
  async 'kysely over HTTP'() {
    const { Kysely } = await import('kysely');
    const { NeonDialect } = await import('kysely-neon');
    const db = new Kysely({ dialect: new NeonDialect({ neon: neon.neon(job.tokenless, { authToken: job.token }) }) });
    await kyselied(db);
    await db.destroy();
  },
  async 'kysely over WebSocket'() {
    await kyselyInTransaction(neon.Pool);
  },
  async 'kysely over TCP'() {
    await kyselyInTransaction(pg.Pool);
  },
  async 'prisma over HTTP'() {
    const { PrismaNeonHTTP } = await import('@prisma/adapter-neon');
    const prisma = await prismaClient(new PrismaNeonHTTP(job.tokenless, { authToken: job.token }));
    await prismaed(prisma);
    await prisma.$disconnect();
  },
  async 'prisma over WebSocket'() {
    await prismaedBySession((await import('@prisma/adapter-neon')).PrismaNeon);
  },
  async 'prisma over TCP'() {
    await prismaedBySession((await import('@prisma/adapter-pg')).PrismaPg);
  },
};

async function kyselyInTransaction(Pool) {
  const { Kysely, PostgresDialect } = await import('kysely');
  const db = new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: job.url, max: 2 }) }) });
  await kyselied(db);
  await db.transaction().setIsolationLevel('serializable').execute(async (inside) => {
    await inside.insertInto('todos').values({ task: 'kysely' }).execute();
    saw.inside = (await inside.selectFrom('todos').selectAll().execute()).length;
    throw takenBack;
  }).catch(() => {});
  saw.after = (await db.selectFrom('todos').selectAll().execute()).length;
  await db.destroy();
}

await clients[job.client]();
process.stdout.write(JSON.stringify(saw));
