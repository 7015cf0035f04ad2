--- psycopg 3.3
BEGIN

--- psycopg 3.3
SELECT
    typname AS name, oid, typarray AS array_oid,
    oid::regtype::text AS regtype, typdelim AS delimiter
FROM pg_type t
WHERE t.oid = to_regtype($1)
ORDER BY t.oid

--- psycopg 3.3
COMMIT

--- psycopg 3.3
SELECT name, oid, array_oid, regtype, array_agg(label) AS labels
FROM (
    SELECT
        t.typname AS name, t.oid AS oid, t.typarray AS array_oid,
        t.oid::regtype::text AS regtype, e.enumlabel AS label
    FROM pg_type t
    LEFT JOIN  pg_enum e
    ON e.enumtypid = t.oid
    WHERE t.oid = to_regtype($1)
    ORDER BY e.enumsortorder
) x
GROUP BY name, oid, array_oid, regtype

--- psycopg 3.3
SELECT
    t.typname AS name, t.oid AS oid, t.typarray AS array_oid,
    t.oid::regtype::text AS regtype,
    coalesce(a.fnames, '{}') AS field_names,
    coalesce(a.ftypes, '{}') AS field_types
FROM pg_type t
LEFT JOIN (
    SELECT
        attrelid,
        array_agg(attname) AS fnames,
        array_agg(atttypid) AS ftypes
    FROM (
        SELECT a.attrelid, a.attname, a.atttypid
        FROM pg_attribute a
        JOIN pg_type t ON t.typrelid = a.attrelid
        WHERE t.oid = to_regtype($1)
        AND a.attnum > 0
        AND NOT a.attisdropped
        ORDER BY a.attnum
    ) x
    GROUP BY attrelid
) a ON a.attrelid = t.typrelid
WHERE t.oid = to_regtype($1)

--- psycopg 3.3
SELECT t.typname AS name, t.oid AS oid, t.typarray AS array_oid,
    t.oid::regtype::text AS regtype,
    r.rngsubtype AS subtype_oid
FROM pg_type t
JOIN pg_range r ON t.oid = r.rngtypid
WHERE t.oid = to_regtype($1)

--- psycopg 3.3
SELECT t.typname AS name, t.oid AS oid, t.typarray AS array_oid,
    t.oid::regtype::text AS regtype,
    r.rngtypid AS range_oid, r.rngsubtype AS subtype_oid
FROM pg_type t
JOIN pg_range r ON t.oid = r.rngmultitypid
WHERE t.oid = to_regtype($1)

--- psycopg 3.3
DECLARE "cur" CURSOR FOR select generate_series(1,10)

--- psycopg 3.3
FETCH FORWARD 3 FROM "cur"

--- psycopg 3.3
MOVE 1 FROM "cur"

--- psycopg 3.3
FETCH FORWARD ALL FROM "cur"

--- psycopg 3.3
CLOSE "cur"

--- psycopg 3.3
SAVEPOINT "_pg3_1"

--- psycopg 3.3
select 1

--- psycopg 3.3
RELEASE "_pg3_2"

--- psycopg 3.3
copy lists(name) from stdin

--- psycopg 3.3
copy (select * from lists) to stdout (format csv, header)

--- psycopg 3.3
ROLLBACK

--- psycopg 3.3
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE
