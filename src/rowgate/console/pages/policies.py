"""Templates of policies: the SQL that switches row-level security on and says whose the rows are. Pure."""

from __future__ import annotations

from typing import Final

from rowgate.errors import RequestRefused

OWN_ROWS: Final = "own rows"
ORGANIZATION: Final = "organization"
PUBLIC_READ: Final = "public read"
TEMPLATES: Final = (OWN_ROWS, ORGANIZATION, PUBLIC_READ)


def quoted(name: str) -> str:
    """An identifier in SQL (PostgreSQL 18, section 4.1.1). Raises RequestRefused for what can be none."""
    if not name or "\0" in name:
        raise RequestRefused("This is no name.")
    return '"' + name.replace('"', '""') + '"'


def script_for(template: str, schema: str, table: str, column: str) -> str:
    """The statements of a template for one table; ``column`` is whose the row is. Raises RequestRefused."""
    name = f"{quoted(schema)}.{quoted(table)}"
    start = f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;\n"
    if template == PUBLIC_READ:
        return (
            f'{start}CREATE POLICY "everybody reads" ON {name}\n  FOR SELECT TO authenticated, anonymous USING (true);'
        )
    functions = {OWN_ROWS: "auth.user_id()", ORGANIZATION: "auth.organization_id()"}
    if template not in functions:
        raise RequestRefused("There is no such template.")
    condition = f"(SELECT {functions[template]}) = {quoted(column)}"
    return (
        f'{start}CREATE POLICY "{template}" ON {name}\n  FOR ALL TO authenticated\n'
        f"  USING ({condition})\n  WITH CHECK ({condition});"
    )
