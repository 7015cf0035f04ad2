"""Array literals as ``array_out`` writes them: a reference writer's output is read back."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.literals import array_values

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
AWKWARD = TEXT | st.text('{}",;\\ \n\tNULlé', max_size=6) | st.sampled_from(["NULL", "null", "", "[1:2]={"])


def written(value, delimiter):
    """What ``array_out`` writes (src/backend/utils/adt/arrayfuncs.c describes when it quotes)."""
    if isinstance(value, list):
        return "{" + delimiter.join(written(item, delimiter) for item in value) + "}"
    if value is None:
        return "NULL"
    plain = value and value.upper() != "NULL" and not any(c in '{}"\\' + delimiter or c.isspace() for c in value)
    return value if plain else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shaped(elements, sizes):
    """Elements as an array of these sizes, the outermost first."""
    for size in reversed(sizes[1:]):
        elements = [list(group) for group in zip(*[iter(elements)] * size, strict=True)]
    return elements


@st.composite
def arrays(draw, elements):
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=6).filter(lambda s: _product(s) <= 60))
    content = draw(st.lists(elements, min_size=_product(sizes), max_size=_product(sizes)))
    return shaped(content, sizes)


def _product(sizes):
    return list(itertools.accumulate(sizes, lambda a, b: a * b))[-1]


@given(arrays(AWKWARD | st.none()), st.sampled_from(",;"), st.sampled_from(["", "[1:1]=", "[-2:4][0:1]="]))
def test_round_trip(array, delimiter, bounds):
    assert array_values(bounds + written(array, delimiter), delimiter, None) == array


@given(arrays(st.integers().map(str)))
def test_elements_are_converted(array):
    def converted(value):
        return [converted(item) for item in value] if isinstance(value, list) else int(value)

    assert array_values(written(array, ","), ",", lambda texts: [int(text) for text in texts]) == converted(array)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("{}", []),
        ("[2:1]={}", []),
        ("{1,NULL,3}", ["1", None, "3"]),
        ('{"NULL",NULL,null}', ["NULL", None, "null"]),
        ('{""}', [""]),
        ('{"a\\"b\\\\c"}', ['a"b\\c']),
        ('{"a,b","{}"}', ["a,b", "{}"]),
        ("{{1,2},{3,NULL}}", [["1", "2"], ["3", None]]),
        ("[0:1]={1,2}", ["1", "2"]),
        ("{{{{{{1}}}}}}", [[[[[["1"]]]]]]),
        ("{2024-01-01 10:00:00+00}", ["2024-01-01 10:00:00+00"]),
    ],
)
def test_examples(literal, expected):
    assert array_values(literal, ",", None) == expected


def test_boxes_have_a_delimiter_of_their_own():
    assert array_values("{(1,1),(0,0);(3,3),(2,2)}", ";", None) == ["(1,1),(0,0)", "(3,3),(2,2)"]


@pytest.mark.parametrize(
    "literal",
    [
        "", "{", "}", "1", "{1", "1}", "{1}}", "{{1}", "{1}{2}", "{1},{2}", "{,}", "{1,}", "{,1}", "{1,,2}", "{{}}",
        "{{},1}", '{"}', '{"a}', '{"a"b}', '{a"b"}', '{"a""b"}', '{"a\\}', "{a\\b}", "{{1}2}", "{1{2}}", "{1,{2}}",
        "{{1},2}", "[1:2]",
        "[1:2]{1}", "[]={1}", "[a:b]={1}", "[1:2]=", "{{{{{{{1}}}}}}}", "{" * 100_000, "{" * 100_000 + "}" * 100_000,
        '{"' + "\\" * 99_999,
    ],
)  # fmt: skip
def test_what_array_out_never_writes(literal):
    with pytest.raises(ProtocolViolation, match="form that Postgres does not write"):
        array_values(literal, ",", None)


@given(st.text('{}",\\aN[]:=1', max_size=20))
def test_random_text_raises_nothing_but_a_violation(literal):
    with contextlib.suppress(ProtocolViolation):
        assert isinstance(array_values(literal, ",", None), list)
