\echo Use "ALTER EXTENSION pg_session_jwt UPDATE TO 'rowgate_2'" to load this file. \quit

-- The organization of the user, and what the user may do there, one model over the shapes of all identity providers.
--
-- The gateway reads them from the token by the rules of its provider. Where there are any, the setting rowgate.session
-- is an exclamation mark, a JSON object with org_id, org_role and permissions, a line break, and then the claims. JSON
-- begins with no exclamation mark, so the two forms cannot be taken for each other, and the seal covers the whole.
-- The same script runs as ordinary SQL; it may run again.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION auth.session() RETURNS jsonb
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
        RETURN CASE WHEN left(claims, 1) = '!' THEN substr(claims, strpos(claims, E'\n') + 1) ELSE claims END;
    END IF;
    RETURN 'null';
END
$$;

-- What auth.session() has verified, it has verified together with what stands before it.
CREATE OR REPLACE FUNCTION auth.membership() RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    claims text := current_setting('rowgate.session', true);
BEGIN
    IF left(claims, 1) = '!' AND auth.session() <> 'null'::jsonb THEN
        RETURN substr(claims, 2, strpos(claims, E'\n') - 2);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION auth.org_id() RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN auth.membership() OPERATOR(pg_catalog.->>) 'org_id'::pg_catalog.text;

CREATE OR REPLACE FUNCTION auth.org_role() RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN auth.membership() OPERATOR(pg_catalog.->>) 'org_role'::pg_catalog.text;

CREATE OR REPLACE FUNCTION auth.has_permission(permission text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN coalesce(
    auth.membership() OPERATOR(pg_catalog.->) 'permissions'::pg_catalog.text OPERATOR(pg_catalog.?) permission, false
);

COMMENT ON FUNCTION auth.membership() IS 'organization, role and permissions of the user, or NULL';
COMMENT ON FUNCTION auth.org_id() IS 'the organization that the user acts in, or NULL';
COMMENT ON FUNCTION auth.org_role() IS 'the user''s role in auth.org_id(), or NULL';
COMMENT ON FUNCTION auth.has_permission(text) IS 'whether the user has the permission; false where nothing is known';

GRANT EXECUTE ON FUNCTION auth.membership(), auth.org_id(), auth.org_role(), auth.has_permission(text) TO PUBLIC;

ALTER FUNCTION auth.membership() OWNER TO rowgate_owner;
ALTER FUNCTION auth.org_id() OWNER TO rowgate_owner;
ALTER FUNCTION auth.org_role() OWNER TO rowgate_owner;
ALTER FUNCTION auth.has_permission(text) OWNER TO rowgate_owner;
