"""What may be asked: one parse by Postgres's own grammar, and a cached verdict. Never talks to a database."""

from rowgate.guard.catalog import CATALOG_QUERY, FunctionCatalog, FunctionRow
from rowgate.guard.guard import Guard
from rowgate.guard.sessions.settings import session_setting
from rowgate.guard.sessions.statement import SessionKind, SessionSetting, SessionStatement
from rowgate.guard.statements import CLIENT, DEVELOPMENT, Profile
from rowgate.guard.verdict import Verdict

__all__ = [
    "CATALOG_QUERY",
    "CLIENT",
    "DEVELOPMENT",
    "FunctionCatalog",
    "FunctionRow",
    "Guard",
    "Profile",
    "SessionKind",
    "SessionSetting",
    "SessionStatement",
    "Verdict",
    "session_setting",
]
