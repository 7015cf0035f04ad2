\echo Use "CREATE EXTENSION pg_session_jwt" to load this file. \quit

-- The signed identity of the user on whose behalf a session acts, under the names and with the NULL rules of the
-- compiled pg_session_jwt. PostgreSQL 14 to 18. The same script runs as ordinary SQL where CREATE EXTENSION cannot.
--
-- What a session is told of its user are two settings of its transaction. rowgate.session holds the claims.
-- rowgate.identity holds, one after the other: the moment until which it counts (10 digits, seconds of the Unix epoch), a
-- seal (64 hexadecimal digits), the SHA-256 of the claims (64), and the user id. The seal is an HMAC-SHA-256 (RFC 2104)
-- over this backend's process id, this role and all the rest, under a key that only the owner of these functions and the
-- gateway's control role can read. Anyone may write the settings; every function that tells who the user is verifies the
-- seal, so writing them makes nobody.
--
-- They get there in two ways. auth.jwt_session_init(jwt) takes a compact JWS (RFC 7515 section 7.1), HS256 under the same
-- key, whose payload names this backend, an expiry and the role; it says what is wrong with one that does not fit, and
-- makes the seal. That costs some 70 microseconds in every transaction, nearly all of it for preparing the expressions of
-- PL/pgSQL. So for most requests the gateway makes the seal itself, and the other auth.jwt_session_init() only keeps it.
--
-- Names in every function resolve in pg_catalog first and in pg_temp last. With pg_temp left out it would be searched
-- first for types, and a domain pg_temp.jsonb would run its CHECK as the owner of the key.

SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['rowgate_owner', 'authenticated', 'anonymous'] LOOP
        BEGIN
            IF pg_catalog.to_regrole(role_name) IS NULL THEN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOINHERIT', role_name);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            -- Roles belong to all databases: another one is just being set up.
            NULL;
        END;
    END LOOP;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rowgate_owner' AND (rolsuper OR rolcanlogin)) THEN
        RAISE EXCEPTION 'the role rowgate_owner may log in or is a superuser'
            USING ERRCODE = 'invalid_role_specification',
                HINT = 'It owns SECURITY DEFINER functions: ALTER ROLE rowgate_owner NOSUPERUSER NOLOGIN.';
    END IF;
END
$$;

CREATE SCHEMA auth;

-- Two slots: a new key goes into the one that is not active, and what was signed with the other stays valid until the
-- next rotation. The header and the padded keys of HMAC are kept ready because they are needed for every call.
CREATE TABLE auth.session_key (
    slot smallint PRIMARY KEY CHECK (slot IN (1, 2)),
    key_id text NOT NULL UNIQUE,
    secret bytea NOT NULL CHECK (pg_catalog.octet_length(secret) = 32),
    signed_header bytea NOT NULL,
    inner_pad bytea NOT NULL,
    outer_pad bytea NOT NULL,
    active boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE UNIQUE INDEX session_key_active ON auth.session_key (active) WHERE active;
REVOKE ALL ON TABLE auth.session_key FROM PUBLIC;

CREATE FUNCTION auth.announce_session_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NOTIFY rowgate_registry;
    RETURN NULL;
END
$$;
CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON auth.session_key
FOR EACH STATEMENT EXECUTE FUNCTION auth.announce_session_key();

-- Puts a new key into the slot that is not active and makes it the active one; returns its key id.
CREATE FUNCTION auth.rotate_session_key() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- gen_random_uuid() has 122 random bits from the server's strong random source; four of them make 32 bytes.
    new_secret bytea := sha256(
        uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
        || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
    );
    new_key_id text := replace(gen_random_uuid()::text, '-', '');
    header text := translate(
        encode(convert_to(format('{"alg":"HS256","kid":"%s"}', new_key_id), 'UTF8'), 'base64'), E'+/=\n', '-_'
    );
    inner_key bytea := new_secret || decode(repeat('00', 32), 'hex');
    outer_key bytea := inner_key;
    free_slot smallint;
BEGIN
    LOCK TABLE auth.session_key IN EXCLUSIVE MODE;
    SELECT 3 - slot INTO free_slot FROM auth.session_key WHERE active;
    FOR i IN 0..63 LOOP
        outer_key := set_byte(outer_key, i, get_byte(inner_key, i) # 92);
        inner_key := set_byte(inner_key, i, get_byte(inner_key, i) # 54);
    END LOOP;
    DELETE FROM auth.session_key WHERE NOT active;
    UPDATE auth.session_key SET active = false WHERE active;
    INSERT INTO auth.session_key (slot, key_id, secret, signed_header, inner_pad, outer_pad, active)
    VALUES (
        coalesce(free_slot, 1), new_key_id, new_secret, convert_to(header || '.', 'UTF8'), inner_key, outer_key, true
    );
    RETURN new_key_id;
END
$$;

CREATE FUNCTION auth.init() RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM auth.session_key WHERE active;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pg_session_jwt has no key'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run `rowgate setup` against this database.';
    END IF;
END
$$;

CREATE FUNCTION auth.jwt_session_init(jwt text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- The characters after the last dot are the signature: 32 bytes are 43 of them (RFC 7515 appendix C).
    raw bytea := convert_to(jwt, 'UTF8');
    size integer := octet_length(raw);
    role_name text := current_setting('role');
    -- now() is the transaction's start: a statement never loses its identity half-way.
    start numeric := extract(epoch FROM now());
    signed_header bytea;
    inner_pad bytea;
    outer_pad bytea;
    signed_by_active boolean := true;
    body text;
    payload jsonb;
    expiry numeric;
    claims text;
    user_id text := '';
    sealed text;
    problem text;
BEGIN
    SELECT k.signed_header, k.inner_pad, k.outer_pad INTO signed_header, inner_pad, outer_pad
    FROM auth.session_key AS k WHERE active;
    IF signed_header IS NOT NULL AND substr(raw, 1, octet_length(signed_header)) IS DISTINCT FROM signed_header THEN
        signed_by_active := false;
        SELECT k.signed_header, k.inner_pad, k.outer_pad INTO signed_header, inner_pad, outer_pad
        FROM auth.session_key AS k WHERE NOT active;
    END IF;

    IF raw IS NULL OR size = 0 THEN
        problem := 'it is empty';
    ELSIF size > 65536 THEN
        problem := 'it is longer than 65536 bytes';
    ELSIF signed_header IS NULL THEN
        problem := 'this database has no key to verify it with';
    ELSIF substr(raw, 1, octet_length(signed_header)) <> signed_header OR size < octet_length(signed_header) + 46 THEN
        problem := 'its header is not that of a key of this database';
    ELSIF substr(raw, size - 43) <> convert_to('.' || translate(
        encode(sha256(outer_pad || sha256(inner_pad || substr(raw, 1, size - 44))), 'base64'), '+/=', '-_'
    ), 'UTF8') THEN
        problem := 'its signature does not fit';
    ELSE
        BEGIN
            body := convert_from(
                substr(raw, octet_length(signed_header) + 1, size - 44 - octet_length(signed_header)), 'UTF8'
            );
            body := replace(replace(body, '-', '+'), '_', '/') || substr('===', 1, (4 - octet_length(body) % 4) % 4);
            payload := convert_from(decode(body, 'base64'), 'UTF8')::jsonb;
            expiry := (payload ->> 'exp')::numeric;
        EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
            payload := NULL;
        END;
        IF payload IS NULL OR jsonb_typeof(payload -> 'claims') IS DISTINCT FROM 'object' THEN
            problem := 'its payload is not the JSON that is expected';
        ELSIF payload -> 'pid' IS DISTINCT FROM to_jsonb(pg_backend_pid()) THEN
            problem := 'it was signed for another backend';
        ELSIF expiry IS NULL OR NOT expiry > start THEN
            problem := 'it has expired';
        -- Compared with the clock: in a long transaction a fresh token expires long after the transaction's start.
        ELSIF NOT expiry <= extract(epoch FROM clock_timestamp()) + 90 THEN
            problem := 'it expires more than 90 seconds from now';
        -- Without SET ROLE, and without a role in the startup packet, the setting is 'none' and the login role counts.
        ELSIF payload ->> 'role' IS DISTINCT FROM coalesce(nullif(role_name, 'none'), session_user) THEN
            problem := 'it was signed for another role';
        ELSE
            claims := (payload -> 'claims')::text;
            IF octet_length(claims) > 131072 THEN
                problem := 'its claims are longer than 131072 bytes';
            END IF;
        END IF;
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'the session token was refused' USING ERRCODE = 'invalid_authorization_specification',
            DETAIL = 'What is wrong with it: ' || problem || '.',
            HINT = CASE WHEN signed_header IS NULL AND NOT EXISTS (SELECT FROM auth.session_key)
                THEN 'Run `rowgate setup` against this database.'
                ELSE 'Only the gateway signs session tokens, for one backend, one role and less than a minute.' END;
    END IF;

    IF jsonb_typeof(payload -> 'claims' -> 'sub') = 'string' THEN
        user_id := payload -> 'claims' ->> 'sub';
    END IF;
    -- The active key seals, whichever signed the token.
    IF NOT signed_by_active THEN
        SELECT k.inner_pad, k.outer_pad INTO inner_pad, outer_pad FROM auth.session_key AS k WHERE active;
    END IF;
    body := lpad(trunc(expiry)::text, 10, '0');
    sealed := encode(sha256(convert_to(claims, 'UTF8')), 'hex') || user_id;
    -- Assignments, because PERFORM would start the executor for each.
    body := set_config('rowgate.identity', body || encode(sha256(outer_pad || sha256(inner_pad || convert_to(
        concat(pg_backend_pid(), E'\n', role_name, E'\n', body, sealed), 'UTF8'))), 'hex') || sealed, true);
    body := set_config('rowgate.session', claims, true);
END
$$;

-- A function, because hardening takes set_config() away from everybody. It verifies nothing: what it keeps may be anything.
CREATE FUNCTION auth.jwt_session_init(identity text, claims text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept text;
BEGIN
    -- An assignment, because PERFORM would start the executor.
    kept := concat(set_config('rowgate.identity', identity, true), set_config('rowgate.session', claims, true));
END
$$;

-- The same check as in the functions below, for the seconds after a rotation in which the other key may have sealed.
CREATE FUNCTION auth.sealed_under_other_key(identity text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    inner_pad bytea;
    outer_pad bytea;
BEGIN
    SELECT k.inner_pad, k.outer_pad INTO inner_pad, outer_pad FROM auth.session_key AS k WHERE NOT active;
    RETURN coalesce(CASE WHEN substr(identity, 11, 64) = encode(sha256(outer_pad || sha256(inner_pad || convert_to(concat(
            pg_backend_pid(), E'\n', current_setting('role'), E'\n', left(identity, 10), substr(identity, 75)
        ), 'UTF8'))), 'hex')
        THEN left(identity, 10)::numeric > extract(epoch FROM now()) END, false);
END
$$;

-- Policies call the two functions below once per row where they are not written as (select auth.user_id()), so each has
-- the whole check in itself. PARALLEL RESTRICTED: in a parallel worker pg_backend_pid() is another one, the seal would
-- not fit, and rows would be missing without a word. The queries on the key have no parameters, so that they are only
-- planned once. A seal holds until a moment that is compared with now(), the transaction's start: a statement never
-- loses its identity half-way. CASE, because without a key the comparison is NULL, and AND would go on to the cast.
CREATE FUNCTION auth.session() RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    identity text := current_setting('rowgate.identity', true);
    claims text := current_setting('rowgate.session', true);
    inner_pad bytea;
    outer_pad bytea;
BEGIN
    -- A setting that was set in an earlier transaction reads as empty, not as absent.
    IF identity IS NULL OR identity = '' OR octet_length(identity) > 131072 OR octet_length(claims) > 131072
        OR substr(identity, 75, 64) IS DISTINCT FROM encode(sha256(convert_to(claims, 'UTF8')), 'hex')
    THEN
        RETURN 'null';
    END IF;
    SELECT k.inner_pad, k.outer_pad INTO inner_pad, outer_pad FROM auth.session_key AS k WHERE active;
    IF (CASE WHEN substr(identity, 11, 64) = encode(sha256(outer_pad || sha256(inner_pad || convert_to(concat(
            pg_backend_pid(), E'\n', current_setting('role'), E'\n', left(identity, 10), substr(identity, 75)
        ), 'UTF8'))), 'hex')
        THEN left(identity, 10)::numeric > extract(epoch FROM now()) END)
        OR auth.sealed_under_other_key(identity)
    THEN
        RETURN claims;
    END IF;
    RETURN 'null';
END
$$;

CREATE FUNCTION auth.user_id() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    identity text := current_setting('rowgate.identity', true);
    inner_pad bytea;
    outer_pad bytea;
BEGIN
    IF identity IS NULL OR identity = '' OR octet_length(identity) > 131072 THEN
        RETURN NULL;
    END IF;
    SELECT k.inner_pad, k.outer_pad INTO inner_pad, outer_pad FROM auth.session_key AS k WHERE active;
    IF (CASE WHEN substr(identity, 11, 64) = encode(sha256(outer_pad || sha256(inner_pad || convert_to(concat(
            pg_backend_pid(), E'\n', current_setting('role'), E'\n', left(identity, 10), substr(identity, 75)
        ), 'UTF8'))), 'hex')
        THEN left(identity, 10)::numeric > extract(epoch FROM now()) END)
        OR auth.sealed_under_other_key(identity)
    THEN
        RETURN nullif(substr(identity, 139), '');
    END IF;
    RETURN NULL;
END
$$;

-- The bodies below are bound when they are created, so no caller's search_path reaches them, and they read no key.
CREATE FUNCTION auth.jwt() RETURNS jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN auth.session();

CREATE FUNCTION auth.text_to_uuid(value text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN value OPERATOR(pg_catalog.~) '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$'::pg_catalog.text
        THEN value::pg_catalog.uuid
END;

CREATE FUNCTION auth.uid() RETURNS uuid
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN auth.text_to_uuid(auth.user_id());

CREATE FUNCTION auth.organization() RETURNS jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN pg_catalog.jsonb_path_query_first(auth.session(), '$.o ? (@.type() == "object")');

CREATE FUNCTION auth.organization_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN auth.text_to_uuid(auth.organization() OPERATOR(pg_catalog.->>) 'id'::pg_catalog.text);

COMMENT ON FUNCTION auth.init() IS 'raises an error where no key is installed, else does nothing';
COMMENT ON FUNCTION auth.jwt_session_init(text) IS 'verifies a session token and keeps its claims for this transaction';
COMMENT ON FUNCTION auth.jwt_session_init(text, text) IS 'keeps an identity that the gateway has sealed, and its claims';
COMMENT ON FUNCTION auth.session() IS 'the verified claims of the user, or JSON null';
COMMENT ON FUNCTION auth.jwt() IS 'the same as auth.session()';
COMMENT ON FUNCTION auth.user_id() IS 'the user''s "sub" if it is a string, else NULL';
COMMENT ON FUNCTION auth.uid() IS 'the user''s "sub" if it is a UUID, else NULL';
COMMENT ON FUNCTION auth.organization() IS 'the claim "o" if it is an object, else NULL';
COMMENT ON FUNCTION auth.organization_id() IS 'the "id" of auth.organization() if it is a UUID, else NULL';

REVOKE ALL ON FUNCTION
    auth.announce_session_key(), auth.rotate_session_key(), auth.sealed_under_other_key(text)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    auth.init(), auth.jwt_session_init(text), auth.jwt_session_init(text, text), auth.session(), auth.jwt(), auth.user_id(), auth.uid(),
    auth.organization(), auth.organization_id(), auth.text_to_uuid(text)
TO PUBLIC;
GRANT USAGE ON SCHEMA auth TO PUBLIC;

GRANT USAGE, CREATE ON SCHEMA auth TO rowgate_owner;
ALTER TABLE auth.session_key OWNER TO rowgate_owner;
ALTER FUNCTION auth.announce_session_key() OWNER TO rowgate_owner;
ALTER FUNCTION auth.rotate_session_key() OWNER TO rowgate_owner;
ALTER FUNCTION auth.init() OWNER TO rowgate_owner;
ALTER FUNCTION auth.jwt_session_init(text) OWNER TO rowgate_owner;
ALTER FUNCTION auth.jwt_session_init(text, text) OWNER TO rowgate_owner;
ALTER FUNCTION auth.sealed_under_other_key(text) OWNER TO rowgate_owner;
ALTER FUNCTION auth.session() OWNER TO rowgate_owner;
ALTER FUNCTION auth.user_id() OWNER TO rowgate_owner;
ALTER FUNCTION auth.jwt() OWNER TO rowgate_owner;
ALTER FUNCTION auth.text_to_uuid(text) OWNER TO rowgate_owner;
ALTER FUNCTION auth.uid() OWNER TO rowgate_owner;
ALTER FUNCTION auth.organization() OWNER TO rowgate_owner;
ALTER FUNCTION auth.organization_id() OWNER TO rowgate_owner;
ALTER SCHEMA auth OWNER TO rowgate_owner;
