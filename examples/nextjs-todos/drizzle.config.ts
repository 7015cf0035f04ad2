import { defineConfig } from 'drizzle-kit';

export default defineConfig({
  dialect: 'postgresql',
  schema: './lib/schema.ts',
  out: './migrations',
  dbCredentials: { url: process.env.DATABASE_OWNER_URL! },
  // The roles authenticated and anonymous are there already; no migration makes or drops them.
  entities: { roles: { provider: 'neon' } },
});
