"""``rowgate doctor``: how each wall stands in a database, and the SQL that mends what does not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from rowgate.cli.database_connection import connect
from rowgate.cli.local import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, JsonOutput, resolve_database_url
from rowgate.pgwire.implementation import IS_COMPILED
from rowgate.rls.advisor.advisor import FAMILIES, Report, advise
from rowgate.rls.advisor.finding import Severity

UNSOUND_STATUS = 1
MARKS = {Severity.ERROR: "[red]✗[/] ", Severity.WARNING: "[yellow]✗[/] ", Severity.HINT: "[dim]-[/] "}


def doctor(
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    fix: Annotated[
        bool, typer.Option("--sql", help="Print the SQL that mends what was found, and nothing else; do nothing.")
    ] = False,
    json_output: JsonOutput = False,
) -> None:
    """Look at a database: a tick for each rule that holds, else what was found and the SQL that mends it.

    Nothing is changed. What `rowgate gate allow` exempts is left out. Exit status 1 where something is worse than a
    hint.

    Example:

        rowgate doctor --database-url postgresql://owner:...@db.internal/app
    """
    report = advise(connect(resolve_database_url(database_url, data_dir), "doctor"))
    if json_output:
        typer.echo(
            json.dumps(
                {
                    "database": report.database,
                    "sound": report.is_sound,
                    "unread": report.unread,
                    "compiled": IS_COMPILED,
                    "findings": [asdict(one) for one in report.findings],
                }
            )
        )
    elif fix:
        typer.echo("\n".join(f"-- {one.id}: {one.object}\n{one.fix_sql}" for one in report.findings))
    else:
        _show(report)
    raise typer.Exit(0 if report.is_sound else UNSOUND_STATUS)


def _show(report: Report) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for family, rules in FAMILIES:
        console.print(f"\n[bold]{family}[/]")
        for rule in rules:
            if rule.id in report.unread:
                console.print(f"[dim]?[/] {rule.title}: the connected role may not look")
                continue
            found = report.of(rule)
            console.print(("[green]✓[/] " if not found else MARKS[rule.severity]) + rule.title.replace("[", "\\["))
            if found:
                console.print(f"    {rule.why}", style="dim", markup=False)
            for one in found:
                lines = one.fix_sql.splitlines()
                more = " ... (see --sql)" if len(lines) > 1 else ""
                console.print(f"    {one.object}: {lines[0]}{more}", markup=False)
    how = "compiled" if IS_COMPILED else "Python alone, which is slower: no C compiler was there at its installation"
    console.print(f"\nThis installation writes rows with: {how}.", style="dim")
    console.print("\n[bold green]Everything holds.[/]" if report.is_sound else "\n`--sql` prints the SQL alone.")
