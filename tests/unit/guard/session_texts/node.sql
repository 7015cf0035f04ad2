--- node-postgres
BEGIN

--- node-postgres
select * from todos

--- node-postgres
COMMIT

--- node-postgres
select $1::int

--- postgres.js
select b.oid, b.typarray
      from pg_catalog.pg_type a
      left join pg_catalog.pg_type b on b.oid = a.typelem
      where a.typcategory = 'A'
      group by b.oid, b.typarray
      order by b.oid

--- postgres.js
begin isolation level serializable

--- postgres.js
savepoint "s0"

--- postgres.js
select * from todos where m = $1

--- postgres.js
select 1; select 2
