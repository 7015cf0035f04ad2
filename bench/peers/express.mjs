// What people write without Rowgate: Express, jose and node-postgres, a transaction per request, claims in a setting.
// PORT, JWKS_URL, ISSUER and the PG* variables come from the environment.
import express from 'express';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import pg from 'pg';

const { PORT, JWKS_URL, ISSUER } = process.env;
const keys = createRemoteJWKSet(new URL(JWKS_URL));
const pool = new pg.Pool({ max: 10 }) // the rest by PGHOST, PGUSER ...;
const app = express();
app.use(express.json());

// Prepared under short names, because Postgres cuts names at 63 bytes.
const names = { known: new Map(), get(text) { return this.known.get(text) ?? (this.known.set(text, `q${this.known.size}`), this.get(text)); } };

app.post('/sql', async (request, response) => {
  const client = await pool.connect();
  try {
    const token = request.headers.authorization.slice('Bearer '.length);
    const { payload } = await jwtVerify(token, keys, { issuer: ISSUER });
    await client.query('begin');
    await client.query("select set_config('request.jwt.claims', $1, true)", [JSON.stringify(payload)]);
    const { query, params } = request.body;
    const { rows } = await client.query({ name: names.get(query), text: query, values: params });
    await client.query('commit');
    response.json({ rows });
  } catch (error) {
    await client.query('rollback');
    response.status(400).json({ message: error.message });
  } finally {
    client.release();
  }
});

app.listen(Number(PORT), '127.0.0.1', () => console.log('ready'));
