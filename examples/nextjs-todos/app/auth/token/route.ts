import { getToken } from '@/lib/auth';

// For SQL from the browser. A page of another origin can neither read the answer nor send the cookie along.
export async function POST() {
  const token = await getToken();
  return Response.json({ token }, { status: token ? 200 : 401, headers: { 'Cache-Control': 'no-store' } });
}
