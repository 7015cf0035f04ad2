// Runs calls through the unmodified serverless driver. Reads one JSON job from standard input:
//   { driver, endpoint, url, token, calls: [{ sql, params, options, transaction, abortAfter }] }
// and prints a JSON array with { rows } or { error } for each call.
import { text } from 'node:stream/consumers';

const job = JSON.parse(await text(process.stdin));
const { neon, neonConfig } = await import(job.driver);
neonConfig.fetchEndpoint = () => job.endpoint;

const options = job.token === null ? {} : { authToken: async () => job.token };
const sql = neon(job.url, options);
// 0.10 is called as a function, as in the guide; 1.x has query() for this.
const run = (statement, params, each) =>
  job.driver === 'neon-0' ? sql(statement, params ?? [], each) : sql.query(statement, params ?? [], each);

const answers = [];
for (const call of job.calls) {
  const each = { ...call.options };
  if (call.abortAfter) each.fetchOptions = { signal: AbortSignal.timeout(call.abortAfter) };
  try {
    if (call.transaction) {
      const queries = call.transaction.map(([statement, params]) => run(statement, params));
      answers.push({ rows: await sql.transaction(queries, each) });
    } else {
      answers.push({ rows: await run(call.sql, call.params, each) });
    }
  } catch (error) {
    const { message, name, code, severity, detail, hint, position, routine, constraint } = error;
    answers.push({ error: { message, name, code, severity, detail, hint, position, routine, constraint } });
  }
}
process.stdout.write(JSON.stringify(answers));
