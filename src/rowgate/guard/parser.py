"""SQL text to parse tree, by Postgres's own grammar: libpg_query 18.0 through its JSON entry point.

Everything that could hurt is refused before the C code sees it: size, NUL, lone surrogates. Whatever the parser does
not understand, nests too deeply or answers strangely is refused too. The tree is the JSON of libpg_query as Python
dictionaries. This module never judges a tree and never keeps a text.
"""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

import msgspec

from rowgate.errors import SettingInvalid, StatementRefused
from rowgate.guard.stack import BIG_STACK, INLINE_BYTES, LARGEST_STATEMENT_BYTES
from rowgate.guard.verdict import BAD_CHARACTER, SYNTAX_ERROR, TOO_COMPLEX, Fingerprint, Refusal, shown


def _library() -> Any:
    """libpg_query, as postgast's own loader finds it. The package around it would load a tree of classes for protobuf
    (a tenth of a second and 10 MB), which nothing here uses; so its one module is loaded without it."""
    found = find_spec("postgast")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'postgast'", name="postgast")
    spec = spec_from_file_location("rowgate_postgast_native", Path(found.origin).with_name("native.py"))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("postgast has no module native", name="postgast.native")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.lib


_LIBRARY: Final[Any] = _library()

DEFAULT_STATEMENT_BYTES: Final = 64 << 10
GRAMMAR_VERSION: Final = 18
"""The major version of Postgres whose grammar the parser speaks; newer syntax is refused, older is a subset."""

Tree = dict[str, Any]


class ParsedText(msgspec.Struct, frozen=True):
    """One text, parsed. ``data`` is its UTF-8 (offsets in the tree count its bytes); ``statements`` are the RawStmt
    nodes in order: none for an empty text."""

    data: bytes
    statements: tuple[Tree, ...]

    def position(self, offset: int | None) -> int | None:
        """The position, in characters from 1, of a byte offset from 0; None where the tree has none (-1)."""
        if offset is None or offset < 0:
            return None
        return len(self.data[:offset].decode("utf-8", "ignore")) + 1


class StatementParser:
    """Parses texts up to ``max_statement_bytes`` (UTF-8 bytes, 1 to 1 MiB) on a stack that is big enough.

    Raises SettingInvalid for a limit outside that range.
    """

    __slots__ = ("max_statement_bytes",)

    def __init__(self, max_statement_bytes: int = DEFAULT_STATEMENT_BYTES) -> None:
        if not 1 <= max_statement_bytes <= LARGEST_STATEMENT_BYTES:
            raise SettingInvalid(
                "max_statement_bytes is out of range.",
                detail=f"Expected 1 to {LARGEST_STATEMENT_BYTES}, got {max_statement_bytes}.",
                hint="The parser's stack is sized for texts of up to 1 MiB.",
            )
        self.max_statement_bytes = max_statement_bytes

    def encode(self, text: str) -> bytes:
        """The UTF-8 of ``text``. Raises StatementRefused: 54001 over the limit, 22021 for NUL or a lone surrogate."""
        # A text has at least as many bytes as characters, so a huge one is refused before it is copied.
        if len(text) > self.max_statement_bytes:
            raise self._too_large(f"at least {len(text)}")
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise Refusal(
                "The statement is not valid Unicode.",
                f"Expected text without surrogates, got U+{ord(text[error.start]):04X}.",
                "Send the statement as UTF-8.",
                BAD_CHARACTER,
                error.start + 1,
            ).error() from None
        if len(data) > self.max_statement_bytes:
            raise self._too_large(str(len(data)))
        if b"\0" in data:
            raise Refusal(
                "The statement contains a NUL character.",
                "Postgres text is UTF-8 without U+0000.",
                "Remove the character; send binary data as a bytea parameter.",
                BAD_CHARACTER,
                text.index("\0") + 1,
            ).error()
        return data

    def parse(self, text: str) -> ParsedText:
        """Parse ``text`` and wait for the result. Raises StatementRefused (see :meth:`encode`; 42601 for a syntax
        error, with Postgres's own message and position; 54001 for nesting that is too deep)."""
        data = self.encode(text)
        if len(data) <= INLINE_BYTES:
            return parse_here(data)
        return BIG_STACK.submit(parse_here, data).result()

    def submit(self, text: str) -> Future[ParsedText]:
        """Parse ``text`` on the worker thread. Raises as :meth:`encode`; the rest comes through the future."""
        return BIG_STACK.submit(parse_here, self.encode(text))

    def _too_large(self, got: str) -> StatementRefused:
        return Refusal(
            "The statement is too large.",
            f"Expected at most {self.max_statement_bytes} bytes of SQL, got {got}.",
            "Send values as bind parameters, split the statement, or raise max_statement_bytes.",
            TOO_COMPLEX,
        ).error()


def parse_here(data: bytes) -> ParsedText:
    """Parse UTF-8 without NUL on the current stack, which must have 65 bytes for each byte of ``data``.

    Raises StatementRefused as :meth:`StatementParser.parse` does.
    """
    return read_tree(data, tree_here(data))


def tree_here(data: bytes) -> bytes:
    """As :func:`parse_here`, as libpg_query's JSON."""
    result = _LIBRARY.pg_query_parse(data)
    try:
        if result.error:
            error = result.error.contents
            message = error.message.decode("utf-8", "replace")
            raise _syntax_error(message, error.cursorpos)
        encoded: bytes = result.parse_tree
        return encoded
    finally:
        _LIBRARY.pg_query_free_parse_result(result)


def read_tree(data: bytes, encoded: bytes) -> ParsedText:
    """The text ``data`` with its tree from libpg_query's JSON. Raises StatementRefused where that is too deep."""
    try:
        tree = msgspec.json.decode(encoded)
    except (msgspec.DecodeError, RecursionError):
        # msgspec stops at the interpreter's recursion limit; the tree has one or two levels for each level of SQL.
        raise Refusal(
            "The statement is nested too deeply.",
            "Its parse tree has more than 1,024 levels.",
            "Use fewer nested expressions: IN (...) or = ANY($1) instead of long OR chains, for example.",
            TOO_COMPLEX,
        ).error() from None
    return ParsedText(data, tuple(tree["stmts"]))


def fingerprint_of(data: bytes) -> Fingerprint:
    """The fingerprint of a text that :func:`parse_here` took, computed when it is read, on the stack of the reader.

    At once where that may be too small a stack, and where the text, which is kept until then, may hold a token. Raises
    as :func:`fingerprint_here`.
    """
    if len(data) > INLINE_BYTES or may_hold_a_token(data):
        return Fingerprint(fingerprint_here(data))
    return Fingerprint(partial(fingerprint_here, data))


def may_hold_a_token(data: bytes) -> bool:
    """Whether a text has the name of the function that takes a token. Verdicts live long and tokens must not."""
    return b"jwt_session_init" in data.lower()


def fingerprint_here(data: bytes) -> str:
    """libpg_query's fingerprint (16 hexadecimal digits) of a text that :func:`parse_here` took, on the current stack.

    Raises StatementRefused where the parser now sees an error.
    """
    result = _LIBRARY.pg_query_fingerprint(data)
    try:
        if result.error:
            raise _syntax_error(result.error.contents.message.decode("utf-8", "replace"), 0)
        text: bytes = result.fingerprint_str
        return text.decode("ascii")
    finally:
        _LIBRARY.pg_query_free_fingerprint_result(result)


def normalised(data: bytes) -> str:
    """A text that the guard let through with ``$n`` in place of every constant, as libpg_query writes it.

    Waits for the worker thread where the text is long. Raises StatementRefused where the parser now sees an error.
    """
    return _normalised_here(data) if len(data) <= INLINE_BYTES else BIG_STACK.submit(_normalised_here, data).result()


def _normalised_here(data: bytes) -> str:
    result = _LIBRARY.pg_query_normalize(data)
    try:
        if result.error:
            raise _syntax_error(result.error.contents.message.decode("utf-8", "replace"), 0)
        text: bytes = result.normalized_query
        return text.decode()
    finally:
        _LIBRARY.pg_query_free_normalize_result(result)


def _syntax_error(message: str, cursor: int) -> StatementRefused:
    if message.startswith("memory exhausted"):  # the grammar's own stack: bison gives up at 10,000 levels
        return Refusal(
            "The statement is nested too deeply.",
            "Postgres's grammar stops at 10,000 levels.",
            "Use fewer nested expressions.",
            TOO_COMPLEX,
        ).error()
    return Refusal(
        shown(message),
        f"The text is not a statement of Postgres {GRAMMAR_VERSION}'s grammar.",
        "Correct the statement at the position given.",
        SYNTAX_ERROR,
        cursor if cursor > 0 else None,
    ).error()
