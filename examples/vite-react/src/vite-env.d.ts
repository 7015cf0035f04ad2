interface ImportMetaEnv {
  readonly VITE_SQL_URL: string;
  readonly VITE_DATABASE_URL: string;
  readonly VITE_ISSUER: string;
  readonly VITE_CLIENT_ID: string;
}
