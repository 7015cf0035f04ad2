"""Rows to JSON against a naive encoder, in every mode, and with rows that do not fit.

Every test holds the compiled module and Python to the same bytes: the encoder here runs both.
"""

import itertools
import json
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import ProtocolViolation
from rowgate.pgwire import compiled
from rowgate.pgwire.columns import compiled_kind
from rowgate.pgwire.fields import Field
from rowgate.pgwire.messages import raw
from rowgate.pgwire.rows import STRUCTURE_THRESHOLD, RowEncoder, column_texts_in_python, fields_json
from rowgate.pgwire.types import BUILTIN_ARRAYS, ArrayType

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(["id", "name", "?column?", 'a"b', "back\\slash", "new\nline", "é", "", "\x7f", "__class__"])
MODES = list(itertools.product([False, True], [False, True]))
USER_ENUM_ARRAY, USER_ENUM = 16_401, 16_400
ARRAY_TYPES = {**BUILTIN_ARRAYS, USER_ENUM_ARRAY: ArrayType(USER_ENUM)}


def column(name, type_oid):
    return Field(name, 0, 0, type_oid, -1, -1)


def row(values):
    """The body of a DataRow; values are bytes, str or None."""
    cells = [value.encode() if isinstance(value, str) else value for value in values]
    return struct.pack(">H", len(cells)) + b"".join(
        struct.pack(">i", -1) if cell is None else struct.pack(">i", len(cell)) + cell for cell in cells
    )


def regions(bodies):
    """Rows as they come from a backend, one by one."""
    return [raw(b"D", body) for body in bodies]


class BothEncoders:
    """The encoder as it is and without the compiled module, of rows one by one and in one region: all the same."""

    def __init__(self, made):
        self._encoder = made

    def encode(self, bodies):
        apart, together = regions(bodies), [b"".join(regions(bodies))] if bodies else []
        ways = [
            lambda: self._encoder.encode(apart),
            lambda: self._encoder.encode(together),
            lambda: self._encoder.encode_in_python(apart),
            lambda: self._encoder.encode_in_python(together),
            lambda: b"[" + self._encoder.encode_elements(apart) + b"]",
        ]
        outcomes = [outcome(way) for way in ways]
        assert outcomes.count(outcomes[0]) == len(outcomes)
        assert outcome(lambda: lines(self._encoder, apart)) == outcomes[0].translate(LINE_BREAKS)
        return ways[0]()


LINE_BREAKS = bytes.maketrans(b"\n\r", b"  ")


def outcome(way):
    try:
        return way()
    except ProtocolViolation as problem:
        return f"{problem.message} {problem.detail}".encode()


def lines(made, rows):
    """NDJSON, joined to what the list would be."""
    text = made.encode_lines(rows)
    assert not rows or text.endswith(b"\n")
    return b"[" + text.replace(b"\n", b",")[:-1] + b"]"


def encoder(fields, *, raw_text=False, array_mode=True):
    return BothEncoders(RowEncoder(fields, raw_text=raw_text, array_mode=array_mode, array_types=ARRAY_TYPES))


def typed(type_oid, *values):
    """The JSON text of a one-column result, without its brackets per row."""
    return encoder([column("v", type_oid)]).encode([row([value]) for value in values])


def same_text(values):
    return values.map(lambda value: (value, value))


def floats(value):
    finite = value == value and abs(value) != float("inf")
    text = repr(value) if finite else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]
    return text, (value if finite else text)


def integer_array(values):
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


# Per type: Postgres's text, and the value that a client gets.
VALUES = {
    16: st.sampled_from([("t", True), ("f", False)]),
    21: st.integers(-(2**15), 2**15 - 1).map(lambda n: (str(n), n)),
    23: st.integers(-(2**31), 2**31 - 1).map(lambda n: (str(n), n)),
    20: same_text(st.integers(-(2**63), 2**63 - 1).map(str)),
    26: same_text(st.integers(0, 2**32 - 1).map(str)),
    25: same_text(TEXT),
    1700: same_text(st.decimals(allow_nan=True, allow_infinity=False).map(str)),
    700: st.floats(width=32).map(floats),
    701: st.floats().map(floats),
    114: st.recursive(st.none() | st.integers() | TEXT, st.lists).map(lambda v: (json.dumps(v, indent=1), v)),
    3802: st.dictionaries(TEXT, st.integers() | TEXT).map(lambda v: (json.dumps(v, ensure_ascii=False), v)),
    1007: st.lists(st.integers(-9, 9) | st.none()).map(lambda v: (integer_array(v), v)),
    1009: st.sampled_from([("{}", []), ('{a,"b c",NULL,"NULL"}', ["a", "b c", None, "NULL"]), ("{{a}}", [["a"]])]),
    USER_ENUM: same_text(st.sampled_from(["happy", "so so"])),
    USER_ENUM_ARRAY: st.sampled_from([('{happy,"so so"}', ["happy", "so so"]), ("{NULL}", [None])]),
}  # fmt: skip


@st.composite
def results(draw):
    fields = [column(*pair) for pair in draw(st.lists(st.tuples(NAMES, st.sampled_from(sorted(VALUES))), max_size=6))]
    cells = st.tuples(*(st.none() | VALUES[field.type_oid] for field in fields))
    count = draw(st.sampled_from([0, 1, 3, STRUCTURE_THRESHOLD + 1]))
    return fields, draw(st.lists(cells, min_size=count, max_size=count))


@pytest.mark.parametrize(("raw_text", "array_mode"), MODES)
@given(results())
def test_against_a_naive_encoder(raw_text, array_mode, result):
    fields, rows = result
    values = [[None if cell is None else cell[0 if raw_text else 1] for cell in cells] for cells in rows]
    names = [field.name for field in fields]
    expected = values if array_mode else [dict(zip(names, line, strict=True)) for line in values]
    encoded = encoder(fields, raw_text=raw_text, array_mode=array_mode).encode(
        [row([None if cell is None else cell[0] for cell in cells]) for cells in rows]
    )
    assert json.loads(encoded, parse_constant=pytest.fail) == expected
    if not array_mode:
        assert [list(line) for line in json.loads(encoded)] == [list(line) for line in expected]


@pytest.mark.parametrize("type_oid", sorted(VALUES))
@given(st.data())
def test_what_is_ordinary_is_written_by_the_compiled_module(type_oid, data):
    """Else the comparison of the two would compare Python with itself."""
    text = data.draw(VALUES[type_oid])[0]
    writer = compiled.RowWriter([compiled_kind(type_oid, ARRAY_TYPES)], [0], [b"["], b"]")
    assert writer.write(regions([row([text])]), False) is not None


@pytest.mark.parametrize(
    ("kinds", "order", "heads"),
    [([0] * 1665, [], []), ([0], [0], []), ([0], [1], [b"["]), ([0], [-1], [b"["]), ([0], [0, 0], [b"[", b","])],
)
def test_a_writer_that_makes_no_sense_is_not_made(kinds, order, heads):
    with pytest.raises(ValueError, match=r"column|head"):
        compiled.RowWriter(kinds, order, heads, b"]")


def test_digits_are_kept():
    assert typed(701, "1e+20", "5", "-0", "0.1000", "1.7976931348623157e+308") == (
        b"[[1e+20],[5],[-0],[0.1000],[1.7976931348623157e+308]]"
    )
    assert typed(114, '{"n": 12345678901234567890.10}', "1.0") == b'[[{"n": 12345678901234567890.10}],[1.0]]'
    assert typed(1022, "{1e+20,NaN,NULL,5}") == b'[[[1e+20,"NaN",null,5]]]'
    assert typed(20, "9223372036854775807") == b'[["9223372036854775807"]]'


def test_arrays():
    assert typed(1007, "{}", "{{1,2},{3,NULL}}", "[0:1]={1,2}") == b"[[[]],[[[1,2],[3,null]]],[[1,2]]]"
    assert typed(1000, "{t,f,NULL}") == b"[[[true,false,null]]]"
    assert typed(3807, r'{"{\"a\": [1, \"x\"]}",NULL,1.50}') == b'[[[{"a": [1, "x"]},null,1.50]]]'
    assert typed(1020, "{(1,1),(0,0);(3,3),(2,2)}") == b'[[["(1,1),(0,0)","(3,3),(2,2)"]]]'
    assert typed(1016, "{1,2}") == b'[[["1","2"]]]'
    assert typed(22, "1 2") == b'[["1 2"]]'
    assert typed(99_999, "{1,2}") == b'[["{1,2}"]]'


def test_raw_text_converts_nothing():
    fields = [column("a", oid) for oid in (16, 23, 114, 1007)]
    assert encoder(fields, raw_text=True).encode([row(["t", "1", "{}", "{1}"])]) == b'[["t","1","{}","{1}"]]'


@pytest.mark.parametrize(
    "name", ["?column?", 'a"b', "back\\slash", "new\nline", "é", "", "\x7f", "__class__", "\ufffd"]
)
@pytest.mark.parametrize("count", [1, STRUCTURE_THRESHOLD])
def test_any_name_of_a_column(name, count):
    encoded = encoder([column(name, 23), column("b", 25)], array_mode=False).encode([row(["1", "x"])] * count)
    assert json.loads(encoded) == [{name: 1, "b": "x"}] * count


@pytest.mark.parametrize("count", [1, STRUCTURE_THRESHOLD])
def test_of_equal_names_the_last_value_stands_in_the_first_place(count):
    fields = [column("a", 23), column("b", 25), column("a", 25)]
    expected = b"[" + b",".join([b'{"a":"x","b":"y"}'] * count) + b"]"
    assert encoder(fields, array_mode=False).encode([row(["1", "y", "x"])] * count) == expected
    assert encoder(fields).encode([row(["1", "y", "x"])]) == b'[[1,"y","x"]]'


@pytest.mark.parametrize(("array_mode", "each"), [(True, b"[]"), (False, b"{}")])
def test_no_columns(array_mode, each):
    assert encoder([], array_mode=array_mode).encode([row([]), row([])]) == b"[" + each + b"," + each + b"]"


@pytest.mark.parametrize("array_mode", [True, False])
def test_as_many_columns_as_postgres_allows(array_mode):
    fields = [column(f"c{number}", 23) for number in range(1664)]
    lines = json.loads(encoder(fields, array_mode=array_mode).encode([row(["1"] * 1664)] * STRUCTURE_THRESHOLD))
    assert lines == [[1] * 1664 if array_mode else {f"c{number}": 1 for number in range(1664)}] * STRUCTURE_THRESHOLD


def test_one_encoder_serves_many_results():
    fields = [column("a", 23), column("b", 25)]
    objects = encoder(fields, array_mode=False)
    for count in (1, STRUCTURE_THRESHOLD, 1, 0):
        assert json.loads(objects.encode([row(["1", "x"])] * count)) == [{"a": 1, "b": "x"}] * count


def test_elements_join_to_the_whole():
    lists = RowEncoder([column("a", 23)], raw_text=False, array_mode=True, array_types=ARRAY_TYPES)
    rows = regions(row([str(number)]) for number in range(5))
    assert b"[" + lists.encode_elements(rows[:2]) + b"," + lists.encode_elements(rows[2:]) + b"]" == lists.encode(rows)
    assert lists.encode_elements([]) == b""


@pytest.mark.parametrize(("raw_text", "array_mode"), MODES)
def test_what_is_not_utf8_is_replaced(raw_text, array_mode):
    encode = encoder([column("a", 25), column("b", 25)], raw_text=raw_text, array_mode=array_mode).encode
    (line,) = json.loads(encode([row([b"caf\xe9", "café"])]))
    assert list(line if array_mode else line.values()) == ["caf\ufffd", "café"]


@given(st.lists(st.binary(max_size=30)))
def test_any_bytes_of_a_text_give_json(cells):
    encoded = encoder([column("a", 25)]).encode([row([cell]) for cell in cells])
    assert json.loads(encoded.decode()) == [[cell.decode("utf-8", "replace")] for cell in cells]


FIT = row(["1", "x"])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\0", b"\0\2", FIT[:-1], FIT + b"x", row(["1"]), row(["1", "x", "y"]),
        b"\0\2" + FIT[2:6] + b"1", b"\0\2" + FIT[2:] + FIT[2:7], b"\0\2\0\0\0\1" + b"1" + b"\x7f\xff\xff\xff" + b"x",
        b"\0\2\0\0\0\1" + b"1" + b"\xff\xff\xff\xfe", b"\0\2\x80\0\0\0" + FIT[6:], b"\0\2\0\0\0\x7f" + b"1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("rows", [lambda body: [body], lambda body: [FIT, body], lambda body: [body, FIT]])
def test_a_row_that_does_not_fit(body, rows):
    with pytest.raises(ProtocolViolation, match="does not fit"):
        encoder([column("a", 23), column("b", 25)]).encode(rows(body))


@given(st.lists(st.binary(max_size=24), min_size=1), st.integers(0, 3))
def test_random_rows_raise_nothing_but_a_violation(bodies, width):
    try:
        encoded = encoder([column("a", 25)] * width).encode(bodies)
    except ProtocolViolation:
        return
    assert len(json.loads(encoded)) == len(bodies)


@pytest.mark.parametrize(
    ("type_oid", "text"),
    [
        (23, "x"), (23, "1,2"), (23, ""), (23, "1.5"), (23, "null"), (23, "[1]"), (23, "1]"), (23, '"1"'),
        (23, "9" * 5000), (16, "x"), (16, ""), (16, "true"), (701, "x"), (701, ""), (701, "1,2"), (701, ".5"),
        (701, "inf"), (701, "1\n"), (114, ""), (1007, "{x}"), (1007, "{99999999999}"), (1007, "{" + "9" * 5000 + "}"),
        (1000, "{x}"), (1022, "{x}"), (199, '{""}'), (1007, "1,2"), (1009, '{"a}'),
    ],
)  # fmt: skip
def test_a_value_that_its_type_cannot_have_is_refused_and_not_shown(type_oid, text):
    with pytest.raises(ProtocolViolation) as caught:
        typed(type_oid, text)
    if len(text) > 4:
        assert text not in f"{caught.value.message}{caught.value.detail}"


@given(
    st.sampled_from(sorted(set(VALUES) - {114, 3802})),
    st.lists(st.none() | st.text('0123456789tf{},"\\-.eNUL\n', max_size=9)),
)
def test_random_texts_of_any_type_give_json_or_a_violation(type_oid, texts):
    try:
        encoded = typed(type_oid, *texts)
    except ProtocolViolation:
        return
    assert len(json.loads(encoded)) == len(texts)


@given(
    st.sampled_from([1000, 1005, 1007, 1009, 1020, 1022, 199, 3807, USER_ENUM_ARRAY]),
    st.text('{}",;\\\n []0:1=NULtfe.-', max_size=16),
    st.booleans(),
)
def test_random_array_literals_are_read_alike(type_oid, literal, in_braces):
    """The encoder of this file compares both implementations, errors included."""
    with suppress(ProtocolViolation):
        typed(type_oid, "{" + literal + "}" if in_braces else literal)


def test_nested_arrays_are_written_by_the_compiled_module():
    for type_oid, literal, expected in [
        (1009, r'{{"a\"b","c\\d"},{NULL,"NULL"}}', rb'[[[["a\"b","c\\d"],[null,"NULL"]]]]'),
        (1007, "{{{1},{2}},{{3},{4}}}", b"[[[[[1],[2]],[[3],[4]]]]]"),
        (3807, '{"{\\"a\\": [1]}",NULL}', b'[[[{"a": [1]},null]]]'),
        (1020, "{(1,1),(0,0);(3,3),(2,2)}", b'[[["(1,1),(0,0)","(3,3),(2,2)"]]]'),
    ]:
        writer = compiled.RowWriter([compiled_kind(type_oid, ARRAY_TYPES)], [0], [b"["], b"]")
        assert b"[" + writer.write(regions([row([literal])]), False) + b"]" == expected
        assert typed(type_oid, literal) == expected


CELLS = st.lists(st.tuples(st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=9)), max_size=20)


@given(CELLS, st.integers(1, 3))
def test_columns_as_buffers_are_the_cells(lines, pieces):
    rows = regions(row(line) for line in lines)
    apart = [
        b"".join(rows[start::1][: len(rows) // pieces + 1]) for start in range(0, len(rows), len(rows) // pieces + 1)
    ]
    count, buffers = compiled.column_buffers(apart, 2)
    assert count == len(lines)
    found = []
    for validity, offsets, cells in buffers:
        ends = struct.unpack(f"={count + 1}i", offsets)
        found.append(
            [cells[ends[at] : ends[at + 1]] if validity[at // 8] >> at % 8 & 1 else None for at in range(count)]
        )
    assert list(zip(*found, strict=True)) == lines
    texts = [[None if cell is None else cell.decode("utf-8", "replace") for cell in column] for column in found]
    assert column_texts_in_python(apart, 2) == (count, texts)


@given(st.lists(st.binary(max_size=24), min_size=1), st.integers(0, 3))
def test_columns_of_random_rows_are_none_or_fit(bodies, width):
    rows = regions(bodies)
    try:
        count, _ = column_texts_in_python(rows, width)
    except ProtocolViolation:
        assert compiled.column_buffers(rows, width) is None
        return
    found = compiled.column_buffers(rows, width)
    assert found is not None
    assert found[0] == count == len(bodies)


def test_fields_json():
    assert (
        fields_json([Field('a"é', 16_384, 2, 1043, -1, 24), Field("?column?", 0, 0, 23, 4, -1)])
        == (
            '[{"name":"a\\"é","dataTypeID":1043,"tableID":16384,"columnID":2,"dataTypeSize":-1,"dataTypeModifier":24,'
            '"format":"text"},{"name":"?column?","dataTypeID":23,"tableID":0,"columnID":0,"dataTypeSize":4,'
            '"dataTypeModifier":-1,"format":"text"}]'
        ).encode()
    )
    assert fields_json([]) == b"[]"


def test_the_table_of_arrays():
    assert BUILTIN_ARRAYS[1007] == ArrayType(23)
    assert BUILTIN_ARRAYS[1020] == ArrayType(603, ";")
    assert {number for number, array in BUILTIN_ARRAYS.items() if array.delimiter != ","} == {1020}
    assert len(BUILTIN_ARRAYS) == 82
    assert not {22, 30} & set(BUILTIN_ARRAYS)
    assert not {array.element_oid for array in BUILTIN_ARRAYS.values()} & set(BUILTIN_ARRAYS)
