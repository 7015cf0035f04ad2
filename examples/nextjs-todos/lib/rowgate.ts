import { neon, neonConfig } from '@neondatabase/serverless';

/** Where the gateway is and which role and database are meant. Not secret: the token is what counts. */
export type Gateway = { sqlUrl: string; databaseUrl: string };

export type GetToken = () => Promise<string | null>;

/** The driver, on the server and in the browser alike. The token is asked for with each query: it lives for a minute. */
export function sqlFor(gateway: Gateway, getToken: GetToken) {
  neonConfig.fetchEndpoint = () => gateway.sqlUrl;
  return neon(gateway.databaseUrl, {
    authToken: async () => {
      const token = await getToken();
      if (!token) {
        throw new Error('You are signed out.');
      }
      return token;
    },
    disableWarningInBrowsers: true,
  });
}

export type Sql = ReturnType<typeof sqlFor>;
