"""Statements as applications and their object-relational mappers write them; the guard must let each through."""

from __future__ import annotations

HONEST: tuple[str, ...] = (
    # --- plain
    "select 1",
    "SELECT 1;",
    "values (1, 'a'), (2, 'b')",
    "table todos",
    "select * from todos",
    "select * from public.todos",
    "select * from only todos",
    "select * from todos where user_id = auth.user_id()",
    "select * from todos where (select auth.user_id()) = user_id and done is not true",
    "select auth.user_id(), auth.uid(), auth.session(), auth.jwt(), auth.organization(), auth.organization_id()",
    "select auth.session() ->> 'email' as email",
    "select current_user, current_date, current_timestamp(3), localtime, current_schema, user",
    "select count(*) from todos",
    'select id, task as "Task" from todos where id = $1 limit $2 offset $3',
    "select * from todos where id = any($1::int[])",
    "select * from todos where id in (1, 2, 3) and task not in ('a')",
    "select * from todos where task ilike '%' || $1 || '%' escape '!'",
    "select * from todos where task similar to '(a|b)%' or task ~* '^a'",
    "select * from todos where created_at between now() - interval '7 days' and now()",
    "select distinct on (user_id) user_id, task from todos order by user_id, created_at desc nulls last",
    "select distinct task from todos order by task fetch first 10 rows with ties",
    'select * from todos order by lower(task) collate "C" asc',
    "select a.*, b.name from todos a left join lists b using (list_id)",
    "select * from a natural join b cross join c full join d on d.id = a.id",
    "select * from a inner join b using (id) as j where j.id = 1",
    "select (t).id, (t.address).city, t.tags[1], t.tags[2:3], t.data['a'] from todos t",
    "select t from todos t",
    "select row_to_json(t), to_jsonb(t) from todos t",
    "select row(1, 2) = row(1, 2), (1, 2) < (2, 3)",
    "select case when done then 'x' when task is null then 'y' else 'z' end from todos",
    "select case status when 1 then 'a' end from todos",
    "select coalesce(a, b, 0), nullif(a, 0), greatest(a, b), least(a, b) from t",
    "select 1 operator(pg_catalog.+) 2, -1, @ -5, 2 ^ 3",
    "select 'a' is distinct from null, 1 is not null, true is unknown, null isnull",
    "select exists(select 1 from todos where done), not exists (select from todos)",
    "select array(select id from todos), array[1, 2] || 3, array[[1], [2]]",
    "select 1 = some(array[1]), 1 <> all(select 2)",
    "select 'x'::text::varchar(10), cast(1 as numeric(10, 2)), int '5', date '2026-01-01'",
    "select 'x'::my_enum, 'y'::public.my_domain, null::todos",
    "select b'101', x'1F', 1.5e3, 0x1F, 1_000, true, null, E'\\n', U&'d\\0061t\\+000061', $$dollar$$",
    "select (select count(*) from a) - (select count(*) from b) as delta",
    "(select 1) union all (select 2) intersect select 3 except select 4 order by 1 limit 1",
    "select * from (select id from todos) as t(n) where n > 1",
    "select * from (values (1, 'a'), (2, 'b')) v(id, name)",
    "select * from todos tablesample bernoulli (10) repeatable (1)",
    "select my_function($1), app.other_function(a => 1, b := 2)",
    "select * from app.search_todos($1) as t(id int, task text)",
    "select * from todos for update skip locked",
    "select * from todos t for no key update of t nowait",
    "select * from todos for share",
    "select ctid, xmin, tableoid from todos",
    # --- aggregates and windows
    "select list_id, count(*) filter (where done), sum(n), avg(n), min(n), max(n) from todos group by list_id having"
    " count(*) > 1",
    "select string_agg(task, ', ' order by id), array_agg(distinct id), bool_and(done), every(done) from todos",
    "select json_agg(t order by t.id), jsonb_object_agg(id, task) from todos t",
    "select percentile_cont(0.5) within group (order by n), mode() within group (order by n) from t",
    "select rank() over (partition by user_id order by n desc), row_number() over w, lag(n, 1) over w, ntile(4) over w"
    " from t window w as (order by id)",
    "select sum(n) over (order by id rows between unbounded preceding and current row exclude ties) from t",
    "select avg(n) over (order by d range between interval '1 day' preceding and interval '1 day' following) from t",
    "select a, b, grouping(a, b), sum(n) from t group by grouping sets ((a), (b), ())",
    "select a, b, sum(n) from t group by rollup (a, b), cube (a)",
    "select a from t group by distinct a, b",
    "select stddev(n), variance(n), corr(a, b), regr_slope(a, b), bit_and(a), any_value(a) from t",
    "select first_value(a) over (order by b), nth_value(a, 2) over (order by b), cume_dist() over (order by b) from t",
    # --- common table expressions
    "with x as (select * from todos) select * from x",
    "with x as materialized (select 1 as a), y as not materialized (select a from x) select * from y",
    "with recursive tree(id, parent) as (select id, parent from nodes where id = $1 union all select n.id, n.parent"
    " from"
    " nodes n join tree t on n.parent = t.id) select * from tree",
    "with recursive t(id) as (select 1 union all select id + 1 from t where id < 5) search depth first by id set o"
    " cycle"
    " id set c using p select * from t",
    "with moved as (delete from todos where done returning *) insert into archive select * from moved returning id",
    "with up as (update todos set done = true where id = $1 returning *) select * from up",
    "with ins as (insert into a(b) values (1) returning id) insert into c(a_id) select id from ins",
    # --- writes
    "insert into todos(task) values ($1)",
    "insert into todos default values",
    "insert into todos(task, done) values ('a', default), ('b', true) returning id, task",
    "insert into todos as t (id, task) values ($1, $2) on conflict (id) do update set task = excluded.task where t.task"
    " is distinct from excluded.task returning *",
    "insert into todos(id) values (1) on conflict do nothing",
    "insert into todos(id) values (1) on conflict on constraint todos_pkey do nothing",
    'insert into todos(a) values (1) on conflict (lower(a) collate "C" text_pattern_ops) where b do nothing',
    "insert into todos(id, task) overriding system value select 1, 'x'",
    "insert into todos(tags[1], addr.city) values ('a', 'b')",
    "insert into todos(id) values (nextval('todos_id_seq'))",
    "insert into todos(id) values (gen_random_uuid()) returning with (old as o, new as n) o.id, n.id",
    "update todos set done = not done where id = $1",
    "update todos t set task = s.task from staging s where s.id = t.id returning t.*",
    "update todos set (a, b) = (select 1, 2), c = default, d[1] = 2",
    "update todos set data = jsonb_set(data, '{a,b}', to_jsonb($1::text), true)",
    "update todos set tags = array_append(array_remove(tags, 'x'), 'y')",
    "delete from todos where id = $1",
    "delete from todos t using lists l where l.id = t.list_id and l.archived returning t.id",
    "delete from only todos",
    "merge into todos t using staging s on t.id = s.id when matched and s.gone then delete when matched then update set"
    " task = s.task when not matched then insert (id, task) values (s.id, s.task)",
    "merge into todos t using staging s on t.id = s.id when not matched by source then delete when not matched by"
    " target"
    " then insert default values when matched then do nothing returning merge_action(), t.*",
    # --- json
    "select data -> 'a' ->> 'b', data #> '{a}', data #>> '{a,b}', data @> '{}', data ? 'k', data ?| array['a'] from t",
    "select jsonb_build_object('id', id, 'tags', jsonb_agg(tag)), json_build_array(1, 'a') from t group by id",
    "select * from jsonb_array_elements($1::jsonb) with ordinality as e(value, n)",
    "select * from jsonb_to_recordset($1) as x(id int, task text)",
    "select * from json_each('{}'), jsonb_each_text('{}'), json_object_keys('{}')",
    "select jsonb_path_query(data, '$.a[*] ? (@ > 1)'), data @? '$.a', data @@ '$.a == 1' from t",
    "select json_object('a': 1, 'b' value 2 absent on null returning jsonb), json_array(1, 2 null on null)",
    "select json_objectagg(k: v), json_arrayagg(v order by v) from t",
    "select json_value(data, '$.a' returning int default 0 on empty error on error) from t",
    "select json_query(data, '$.a' with conditional wrapper omit quotes), json_exists(data, '$.a') from t",
    "select * from json_table($1::jsonb, '$[*]' columns (n for ordinality, id int path '$.id', nested path '$.tags[*]'"
    " columns (tag text path '$')))",
    "select '{}' is json, '{}' is not json array with unique keys, json('{}'), json_scalar(1), json_serialize('{}')",
    "select jsonb_pretty(data), jsonb_typeof(data), jsonb_strip_nulls(data), data - 'a', data #- '{a}' from t",
    # --- text, numbers, time, arrays, ranges
    "select lower(a), upper(a), initcap(a), length(a), trim(a), btrim(a), substring(a from 1 for 2), left(a, 1) from t",
    "select position('a' in b), overlay(a placing 'x' from 1 for 2), replace(a, 'b', 'c'), split_part(a, ',', 1)"
    " from t",
    "select concat(a, b), concat_ws(',', a, b), format('%s-%I', a, b), lpad(a, 5, '0'), repeat(a, 2), reverse(a)"
    " from t",
    "select regexp_replace(a, 'x', 'y', 'g'), regexp_matches(a, 'x'), regexp_split_to_table(a, ','), a ~ 'x' from t",
    "select md5(a), sha256(a::bytea), encode(b, 'hex'), decode(a, 'base64'), to_hex(n) from t",
    "select string_to_array(a, ','), array_to_string(b, ','), unnest(b), cardinality(b), array_length(b, 1) from t",
    "select round(n, 2), ceil(n), floor(n), abs(n), mod(n, 2), power(n, 2), sqrt(n), random(), trunc(n),"
    " width_bucket(n,"
    " 1, 2, 3) from t",
    "select now(), clock_timestamp(), statement_timestamp(), age(d), date_trunc('day', d), date_part('dow', d) from t",
    "select extract(epoch from d), d at time zone 'UTC', d + interval '1 month', d - d, make_date(2026, 1, 1) from t",
    "select to_char(d, 'YYYY-MM-DD'), to_date('x', 'YYYY'), to_timestamp(0), to_number('1', '9'), justify_days(d)"
    " from t",
    "select generate_series(1, 10), generate_series(now(), now() + '1 day', interval '1 hour')",
    "select (d, d) overlaps (d, d), d::date, d::timestamptz at local, date_bin('15 min', d, d) from t",
    "select int4range(1, 5) && int4range(2, 3), lower(r), isempty(r), range_agg(r) from t group by r",
    "select a && b, a @> b, a <@ array[1], a[1:2], array_position(a, 1), array_agg(a) from t group by a, b",
    "select num_nonnulls(a, b), pg_typeof(a), normalize(a, NFC), a is normalized, quote_literal(a) from t",
    "select '10.0.0.1'::inet << '10.0.0.0/8'::cidr, host(i), masklen(i) from t",
    "select gen_random_uuid(), uuidv7(), 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
    # --- text search
    "select * from posts where to_tsvector('english', body) @@ plainto_tsquery('english', $1)",
    "select to_tsvector('english'::regconfig, body), ts_rank_cd(v, q), ts_headline('english', body, q) from posts,"
    " websearch_to_tsquery($1) q",
    "select setweight(to_tsvector(coalesce(title, '')), 'A') || to_tsvector(body) from posts",
    "select phraseto_tsquery('a b'), to_tsquery('a & b'), tsvector_to_array(v), similarity(a, 'b'), a % 'b' from posts",
    # --- lateral, rows from, xml
    "select u.*, t.* from users u left join lateral (select * from todos t where t.user_id = u.id limit 3) t on true",
    "select * from rows from (generate_series(1, 3), unnest(array[1, 2])) with ordinality as t(a, b, n)",
    "select xmlelement(name a, xmlattributes(id as b), task), xmlforest(id as x), xmlagg(x) from t group by id",
    "select * from xmltable('/r/i' passing data columns id int path '@id', n for ordinality, t text default '')",
    # --- as the mappers write it
    'select "id", "task", "done" from "todos" where "todos"."user_id" = $1 order by "todos"."id" desc limit $2',
    'insert into "todos" ("id", "task", "user_id") values (default, $1, $2) returning "id", "task"',
    'select "todos"."id", "todos"."task", "todos_user"."data" as "user" from "todos" "todos" left join lateral (select'
    ' json_build_array("todos_user"."id", "todos_user"."name") as "data" from (select * from "users" "todos_user" where'
    ' "todos_user"."id" = "todos"."user_id" limit $1) "todos_user") "todos_user" on true',
    'select coalesce(json_agg("agg"), \'[]\') as "obj" from (select "p"."id" from "pet" as "p" where "p"."owner_id" ='
    ' "person"."id") as "agg"',
    'SELECT "public"."User"."id", "public"."User"."email" FROM "public"."User" WHERE ("public"."User"."id" = $1 AND'
    " 1=1)"
    " LIMIT $2 OFFSET $3",
    'SELECT COUNT(*) AS "_count._all" FROM (SELECT "public"."User"."id" FROM "public"."User" WHERE 1=1 OFFSET $1) AS'
    ' "sub"',
    'INSERT INTO "public"."User" ("email","name") VALUES ($1,$2) RETURNING "public"."User"."id",'
    ' "public"."User"."email"',
    'UPDATE "public"."User" SET "name" = $1, "n" = ("public"."User"."n" + $2) WHERE ("public"."User"."id" IN ($3,$4)'
    " AND"
    " 1=1)",
    "SELECT todos.id AS todos_id, anon_1.n AS anon_1_n FROM todos LEFT OUTER JOIN (SELECT count(*) AS n FROM x) AS"
    " anon_1 ON TRUE",
    "INSERT INTO todos (task) SELECT p0::VARCHAR FROM (VALUES ($1, 0), ($2, 1)) AS imp_sen(p0, sen_counter) ORDER BY"
    " sen_counter RETURNING todos.id, todos.id AS id__1",
    'SELECT "todos_todo"."id", (1) AS "a" FROM "todos_todo" WHERE UPPER("todos_todo"."task"::text) LIKE UPPER($1)'
    " ORDER BY 1 ASC LIMIT 21",
    "select jsonb_agg(jsonb_build_object('id', t.id)) filter (where t.id is not null) from todos t",
    "with pgrst_source as (select t.id from public.todos t where t.id = $1 limit $2) select coalesce(json_agg(_s),"
    " '[]')"
    " from (select * from pgrst_source) _s",
    "/* app:web */ select 1 -- trailing",
    'select "weird ""name""" from "My Table" where "größe" > 1 and \'☃\' = $1',
    "select version from releases where current_setting = 1",
    "select set_config from settings as s(set_config)",
    "select pg_sleep, pg_class.oid from todos t, x as pg_class",
    "select l.http_status, l.cron_expression, l.lo_value, l.time_out, l.time_in, l.version, l.system, l.internal"
    " from l",
    "select r.current_user, r.name, r.date, r.has_more, r.latitude, (r.address).age, r.status from releases r",
    "select 'select pg_sleep(1)', $$set role none$$ /* pg_read_file('x') */",
    "select * from pgbench_accounts where lower(filler) = 'x'",
    "select lower, count, region from regions as lower",
)
