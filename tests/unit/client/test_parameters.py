"""Parameters of the Python client: what has a form goes in it, everything else is refused without being shown."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.client import Json
from rowgate.client.parameters import parameters
from rowgate.errors import MalformedParameter
from rowgate.pgwire.values import parameter


class Colour(enum.StrEnum):
    RED = "red"


class Name(str, enum.Enum):  # noqa: UP042 (it shows its name and not its value as text)
    ALICE = "user_alice"


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**70, 2**70),
        (0.5, 0.5),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        ("milk", "milk"),
        (b"\x00\xff", "\\x00ff"),
        (bytearray(b"a"), "\\x61"),
        (Decimal("1.10"), "1.10"),
        (Decimal("sNaN"), "NaN"),
        (Decimal("-Infinity"), "-Infinity"),
        (date(2026, 11, 28), "2026-11-28"),
        (time(6, 5), "06:05:00"),
        (datetime(2026, 11, 28, 6, 5, tzinfo=UTC), "2026-11-28T06:05:00+00:00"),
        (timedelta(days=-1, microseconds=1), "-1 days 0 seconds 1 microseconds"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        (Json([1, "x"]), '[1, "x"]'),
        (Json(None), "null"),
        ([], []),
        (["a", None, [b"a"]], ["a", None, ["\\x61"]]),
        ((1, 2), [1, 2]),
        ([{"a": 1}], ['{"a": 1}']),
        (Colour.RED, "red"),
        (Name.ALICE, "user_alice"),
        (Number.ONE, 1),
    ],
)
def test_each_type_has_its_form(value: object, sent: object) -> None:
    made = parameters([value])[0]
    assert made == sent
    assert type(made) is type(sent)
    json.dumps(made, allow_nan=False)


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        object,
        lambda: {1, 2},
        lambda: 1j,
        lambda: [object()],
        lambda: {"a": datetime(2026, 1, 1, tzinfo=UTC)},
        lambda: {(1, 2): "x"},
        lambda: Json(float("nan")),
        lambda: Json(nested(100_000)),
        lambda: nested(200),
        lambda: 10**5000,
    ],
)
def test_what_has_no_form_is_refused_by_its_number(make: Callable[[], object]) -> None:
    with pytest.raises(MalformedParameter, match=r"^parameter \$2 "):
        parameters(["secret", make()])


def test_a_refusal_does_not_show_the_value() -> None:
    with pytest.raises(MalformedParameter) as refused:
        parameters([Json({"password": {"hunter2"}})])
    shown = f"{refused.value} {refused.value.detail} {refused.value.hint}"
    assert "hunter2" not in shown
    assert refused.value.__suppress_context__


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.binary(),
    st.decimals(allow_nan=False), st.dates(), st.times(), st.uuids(), st.timedeltas(),
    st.datetimes(timezones=st.just(timezone(timedelta(hours=5, minutes=30)))),
)  # fmt: skip
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.lists(st.one_of(scalars, documents, st.builds(Json, documents))))
def test_the_gateway_takes_all_that_the_client_sends(values: list[object]) -> None:
    """Except NUL characters and lone surrogates, which it refuses itself."""
    for sent in json.loads(json.dumps(parameters(values))):
        try:
            made = parameter(sent)
        except MalformedParameter:
            assert "\0" in repr(sent) or "\\x00" in repr(sent) or "\\u0000" in repr(sent) or "\\ud" in repr(sent)
        else:
            assert made is None or isinstance(made, bytes)
