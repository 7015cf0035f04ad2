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

-- What the management API tells of a provider beside what it is: the id by which it is called, and its name as it was given.
ALTER TABLE rowgate.provider
    ADD COLUMN IF NOT EXISTS id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    ADD COLUMN IF NOT EXISTS label text NOT NULL DEFAULT '';
CREATE UNIQUE INDEX IF NOT EXISTS provider_id ON rowgate.provider (id);

CREATE TABLE IF NOT EXISTS rowgate.exposed_role (
    role_name text PRIMARY KEY,
    login_name text NOT NULL UNIQUE,
    login_password text NOT NULL
);

-- What was revoked before its time, row by row, as gateways read it: those with a change later than the last one that
-- they have. Numbers of changes are given out in the order of commits, because whoever takes one holds the only row of
-- rowgate.revocation_change until the end of the transaction; so no row ever appears behind a reader's back.
-- generation counts what a reader can only learn by reading everything: rows in force that were deleted.
CREATE TABLE IF NOT EXISTS rowgate.revocation_change (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    change bigint NOT NULL DEFAULT 0,
    generation bigint NOT NULL DEFAULT 0
);
INSERT INTO rowgate.revocation_change DEFAULT VALUES ON CONFLICT DO NOTHING;

-- kind says what value is: the id of a token (jti), of a session (sid), a user, a user's tokens that name no session, or
-- nothing (every token of the provider). With issued_before only tokens from before that moment are meant. A row without
-- expires_at counts for ever. Of each thing there is one row with a moment and one without, because what counts for an
-- hour and what counts for tokens from before now add up to neither.
CREATE TABLE IF NOT EXISTS rowgate.revocation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL CHECK (pg_catalog.octet_length(provider) BETWEEN 1 AND 63),
    kind text NOT NULL CHECK (kind IN ('token', 'session', 'subject', 'sessionless', 'provider')),
    value text NOT NULL CHECK (pg_catalog.octet_length(value) <= 1024 AND (value = '') = (kind = 'provider')),
    issued_before timestamptz CHECK (pg_catalog.isfinite(issued_before)),
    reason text NOT NULL DEFAULT '' CHECK (pg_catalog.octet_length(reason) <= 1024),
    revoked_by text NOT NULL DEFAULT CURRENT_USER CHECK (pg_catalog.octet_length(revoked_by) <= 256),
    revoked_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    expires_at timestamptz CHECK (pg_catalog.isfinite(expires_at)),
    removed_at timestamptz,
    change bigint NOT NULL DEFAULT 0,
    is_bounded boolean GENERATED ALWAYS AS (issued_before IS NOT NULL) STORED,
    CHECK (kind <> 'provider' OR issued_before IS NOT NULL),
    UNIQUE (provider, kind, value, is_bounded)
);
CREATE INDEX IF NOT EXISTS revocation_change_id ON rowgate.revocation (change, id);
CREATE INDEX IF NOT EXISTS revocation_expires_at ON rowgate.revocation (expires_at);

-- The functions run as the owner, because nobody else may touch the numbers. Statement by statement, so that a hundred
-- thousand rows in one statement take one number.
CREATE OR REPLACE FUNCTION rowgate.begin_revocation_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE rowgate.revocation_change SET change = change + 1;
    RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION rowgate.stamp_revocation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT change INTO STRICT NEW.change FROM rowgate.revocation_change;
    RETURN NEW;
END
$$;
CREATE OR REPLACE FUNCTION rowgate.end_revocations() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Two conditions, because a TRUNCATE has no table of old rows that the second could be planned with.
    IF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM gone WHERE removed_at IS NULL AND (expires_at IS NULL OR expires_at > now())) THEN
            RETURN NULL;
        END IF;
    END IF;
    UPDATE rowgate.revocation_change SET generation = generation + 1;
    NOTIFY rowgate_registry;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION
    rowgate.begin_revocation_change(), rowgate.stamp_revocation(), rowgate.end_revocations()
FROM PUBLIC;

CREATE OR REPLACE TRIGGER begin_change BEFORE INSERT OR UPDATE ON rowgate.revocation
FOR EACH STATEMENT EXECUTE FUNCTION rowgate.begin_revocation_change();
CREATE OR REPLACE TRIGGER stamp BEFORE INSERT OR UPDATE ON rowgate.revocation
FOR EACH ROW EXECUTE FUNCTION rowgate.stamp_revocation();
CREATE OR REPLACE TRIGGER end_deleted AFTER DELETE ON rowgate.revocation
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION rowgate.end_revocations();
CREATE OR REPLACE TRIGGER end_truncated AFTER TRUNCATE ON rowgate.revocation
FOR EACH STATEMENT EXECUTE FUNCTION rowgate.end_revocations();

-- Ids of messages of identity providers (logout tokens, webhooks) that were acted on, so that none counts twice.
CREATE TABLE IF NOT EXISTS rowgate.received_message (
    sender text NOT NULL CHECK (pg_catalog.octet_length(sender) <= 128),
    message_id text NOT NULL CHECK (pg_catalog.octet_length(message_id) <= 1024),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (sender, message_id)
);
CREATE INDEX IF NOT EXISTS received_message_expires_at ON rowgate.received_message (expires_at);

-- Webhooks that a provider may call, and the secret by which its calls are told from a stranger's.
CREATE TABLE IF NOT EXISTS rowgate.webhook (
    name text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    provider text NOT NULL,
    kind text NOT NULL,
    secret text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

-- Tokens for the management API: the SHA-256 of each, never the token.
CREATE TABLE IF NOT EXISTS rowgate.admin_token (
    name text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    digest bytea NOT NULL UNIQUE CHECK (pg_catalog.octet_length(digest) = 32),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    expires_at timestamptz
);

-- What hardening has taken from PUBLIC (and given to rowgate_trusted), so that exactly this can be given back: a
-- function, table, language, database or schema and the privilege; the default for the functions that a role makes; or the
-- defaults of a login role.
CREATE TABLE IF NOT EXISTS rowgate.hardening (
    kind text NOT NULL CHECK (kind IN ('function', 'table', 'language', 'database', 'schema', 'default', 'login')),
    name text NOT NULL,
    privilege text NOT NULL CHECK (privilege IN ('EXECUTE', 'SELECT', 'USAGE', 'TEMPORARY', 'CREATE', 'SET')),
    changed_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (kind, name, privilege)
);

-- What the gate of row-level security lets through on purpose: a relation, or all functions of a name.
CREATE TABLE IF NOT EXISTS rowgate.gate_exemption (
    schema_name text NOT NULL CHECK (pg_catalog.octet_length(schema_name) BETWEEN 1 AND 63),
    object_name text NOT NULL CHECK (pg_catalog.octet_length(object_name) BETWEEN 1 AND 63),
    reason text NOT NULL DEFAULT '' CHECK (pg_catalog.octet_length(reason) <= 1024),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (schema_name, object_name)
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
CREATE OR REPLACE TRIGGER announce AFTER INSERT OR UPDATE ON rowgate.revocation
FOR EACH STATEMENT EXECUTE FUNCTION rowgate.announce_change();
CREATE OR REPLACE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON rowgate.webhook
FOR EACH STATEMENT EXECUTE FUNCTION rowgate.announce_change();
CREATE OR REPLACE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON rowgate.admin_token
FOR EACH STATEMENT EXECUTE FUNCTION rowgate.announce_change();
CREATE OR REPLACE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON rowgate.gate_exemption
FOR EACH STATEMENT EXECUTE FUNCTION rowgate.announce_change();

-- Event triggers are a superuser's to make; where set-up may, it makes one that calls this after every change of the
-- catalog. Without it gateways look again every few seconds, and at names that they do not know.
CREATE OR REPLACE FUNCTION rowgate.announce_catalog_change() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NOTIFY rowgate_registry;
END
$$;
REVOKE ALL ON FUNCTION rowgate.announce_catalog_change() FROM PUBLIC;

INSERT INTO rowgate.schema_version (version) VALUES (3)
ON CONFLICT (only_row) DO UPDATE SET version = EXCLUDED.version, installed_at = pg_catalog.now();
