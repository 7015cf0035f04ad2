import { sql } from 'drizzle-orm';
import { authenticatedRole, crudPolicy } from 'drizzle-orm/neon';
import { bigint, boolean, index, pgTable, text } from 'drizzle-orm/pg-core';

// A table with a policy has row-level security enabled: without a matching policy nobody sees a row.
export const todos = pgTable(
  'todos',
  {
    id: bigint({ mode: 'number' }).generatedByDefaultAsIdentity().primaryKey(),
    userId: text('user_id').notNull().default(sql`(auth.user_id())`),
    task: text().notNull(),
    done: boolean().notNull().default(false),
  },
  (table) => {
    // Worked out once for each query, and then found by the index. Drizzle's authUid() compares within the subquery, which
    // gives the same rows but asks once for each row of the table.
    const isOwn = sql`(select auth.user_id()) = ${table.userId}`;
    return [
      index().on(table.userId),
      // Four policies: who may select, insert, update and delete.
      crudPolicy({ role: authenticatedRole, read: isOwn, modify: isOwn }),
    ];
  },
);
