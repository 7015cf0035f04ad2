"""The rooms and their import order (ARCHITECTURE.md) hold: imports go down the table, never up, never in a circle."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "rowgate"

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "settings": {"errors"},
    "pgwire": {"errors"},
    "second_chance": set(),
    "identity": {"second_chance", "errors"},
    "guard": {"second_chance", "errors"},
    "postgres": {"second_chance", "pgwire", "errors", "settings"},
    "rls": {"postgres", "guard", "errors"},
    "registry": {"postgres", "identity", "errors"},
    "gateway": {"identity", "guard", "postgres", "pgwire", "registry", "errors", "settings"},
    "issuer": {"identity", "errors"},
    "console": {"errors", "settings", "identity", "rls", "registry", "gateway"},
    "client": {"errors"},
    "dev": {
        "errors", "settings", "identity", "guard", "postgres", "rls", "registry", "gateway", "issuer", "console",
    },
    "cli": {
        "errors", "settings", "pgwire", "identity", "guard", "postgres", "rls", "registry", "gateway", "issuer",
        "console", "client", "dev",
    },
}  # fmt: skip


def room_of(module: Path) -> str:
    return module.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(module: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [f"{node.module}.{name.name}" for name in node.names] if node.module == "rowgate" else [node.module]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name and name.startswith("rowgate.")}
    return rooms - {"__version__"}


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_the_table(module: Path) -> None:
    room = room_of(module)
    if room in {"__init__", "__main__"}:
        return
    assert room in MAY_IMPORT, f"{room} is a room that ARCHITECTURE.md does not draw"
    upward = imported_rooms(module) - MAY_IMPORT[room] - {room}
    assert not upward, f"{module.relative_to(SOURCE)} imports {upward}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_says_what_it_is(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text("utf-8"))), f"{module} has no docstring"


def test_the_wire_room_does_no_io() -> None:
    for module in (SOURCE / "pgwire").rglob("*.py"):
        tree = ast.parse(module.read_text("utf-8"))
        names = {
            alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        } | {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not names & {"asyncio", "socket", "ssl", "threading"}, module
