-- The schema rowgate: what was configured for this database. Run as rowgate_owner, who owns it all.

CREATE TABLE IF NOT EXISTS rowgate.schema_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version integer NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

CREATE TABLE IF NOT EXISTS rowgate.provider (
    name text PRIMARY KEY,
    kind text NOT NULL,
    issuer text NOT NULL UNIQUE,
    jwks_url text NOT NULL,
    audiences text[] NOT NULL DEFAULT '{}',
    authorized_parties text[] NOT NULL DEFAULT '{}',
    algorithms text[] NOT NULL,
    roles text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

-- The provider catalogue: further issuers, clients, a key set that is kept here, and the rules for claims (of its kind
-- where there are none). Either jwks_url or key_set is empty.
ALTER TABLE rowgate.provider
    ADD COLUMN IF NOT EXISTS other_issuers text[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS client_ids text[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS key_set text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS rules jsonb;

CREATE TABLE IF NOT EXISTS rowgate.exposed_role (
    role_name text PRIMARY KEY,
    login_name text NOT NULL UNIQUE,
    login_password text NOT NULL
);

-- The command NOTIFY needs no privilege, unlike pg_notify(), which hardening takes away from everyone.
CREATE OR REPLACE FUNCTION rowgate.announce_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NOTIFY rowgate_registry;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION rowgate.announce_change() FROM PUBLIC;

CREATE OR REPLACE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON rowgate.provider
FOR EACH STATEMENT EXECUTE FUNCTION rowgate.announce_change();
CREATE OR REPLACE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON rowgate.exposed_role
FOR EACH STATEMENT EXECUTE FUNCTION rowgate.announce_change();

INSERT INTO rowgate.schema_version (version) VALUES (1)
ON CONFLICT (only_row) DO UPDATE SET version = EXCLUDED.version, installed_at = pg_catalog.now();
