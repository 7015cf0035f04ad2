"""The same bytes give the same messages however they are cut, and a lying length takes no memory."""

import itertools
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import ProtocolViolation
from rowgate.pgwire import compiled
from rowgate.pgwire.stream import (
    DATA_ROW,
    MessageStream,
    count_messages,
    count_messages_in_python,
    cut_in_python,
    first_row,
)  # fmt: skip

LIMIT = 1000
MESSAGES = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=30)


def encoded(messages):
    return b"".join(bytes((kind,)) + (len(body) + 4).to_bytes(4, "big") + body for kind, body in messages)


def cut(data, cuts):
    borders = sorted({min(border, len(data)) for border in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(borders)]


def feed_all(stream, chunks):
    return [message for chunk in chunks for message in stream.feed(chunk)]


@given(MESSAGES)
def test_at_once(messages):
    stream = MessageStream(LIMIT)
    assert stream.feed(encoded(messages)) == messages
    assert stream.pending == 0


@given(MESSAGES)
def test_one_byte_at_a_time(messages):
    stream = MessageStream(LIMIT)
    assert feed_all(stream, [bytes((byte,)) for byte in encoded(messages)]) == messages


@given(MESSAGES, st.lists(st.integers(0, 1500)))
def test_any_chunks(messages, cuts):
    stream = MessageStream(LIMIT)
    assert feed_all(stream, cut(encoded(messages), cuts)) == messages
    assert stream.remainder() == b""


ROWS_AND_OTHERS = st.lists(st.tuples(st.sampled_from([DATA_ROW, DATA_ROW, 67, 90]), st.binary(max_size=20)))


@given(ROWS_AND_OTHERS, st.lists(st.integers(0, 900)))
def test_rows_come_as_regions(messages, cuts):
    """The same messages, however they are cut, where rows that stand together may be one entry, whole."""
    seen = []
    for kind, taken in feed_all(MessageStream(LIMIT, group_rows=True), cut(encoded(messages), cuts)):
        if kind == DATA_ROW:
            rows = MessageStream(LIMIT).feed(taken)
            assert {kind for kind, _ in rows} == {DATA_ROW}
            assert count_messages(taken) == count_messages_in_python(taken) == len(rows)
            assert first_row(taken) == rows[0][1]
            seen += rows
        else:
            seen.append((kind, taken))
    assert seen == messages


def test_rows_in_one_chunk_are_one_region():
    rows = [(DATA_ROW, b"one"), (DATA_ROW, b"two")]
    done = (67, b"SELECT 2\0")
    assert MessageStream(LIMIT, group_rows=True).feed(encoded([*rows, done, rows[0]])) == [
        (DATA_ROW, encoded(rows)), done, (DATA_ROW, encoded(rows[:1])),
    ]  # fmt: skip


@given(st.binary(max_size=80) | ROWS_AND_OTHERS.map(encoded), st.integers(0, 80), st.booleans())
def test_both_implementations_cut_alike(data, position, group_rows):
    position = min(position, len(data))
    one, other = [], []
    stopped = compiled.cut(data, position, 40, one, group_rows)
    assert stopped == cut_in_python(data, position, 40, other, group_rows)
    assert one == other
    assert compiled.count_messages(data) == count_messages_in_python(data)


@given(MESSAGES, st.binary(min_size=1, max_size=40), st.data())
def test_the_incomplete_end_is_kept(messages, body, data):
    last = encoded([(DATA_ROW, body)])
    part = last[: data.draw(st.integers(0, len(last) - 1))]
    stream = MessageStream(LIMIT)
    assert stream.feed(encoded(messages) + part) == messages
    assert stream.pending == len(part)
    assert stream.remainder() == part
    assert stream.feed(b"") == []
    assert stream.feed(last[len(part) :]) == [(DATA_ROW, body)]
    assert stream.pending == 0


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 3, LIMIT + 5, 2**31 - 1])
@pytest.mark.parametrize("size", [1, 2, 4, 5, 9])
def test_a_length_out_of_bounds(length, size):
    data = b"D" + length.to_bytes(4, "big", signed=True) + b"more"
    stream = MessageStream(LIMIT)
    with pytest.raises(ProtocolViolation, match="out of bounds"):
        feed_all(stream, [data[start : start + size] for start in range(0, len(data), size)])
    assert stream.pending == 0
    with pytest.raises(ProtocolViolation, match="broke earlier"):
        stream.feed(encoded([(DATA_ROW, b"")]))


@pytest.mark.parametrize("length", [0, LIMIT])
def test_the_bounds_themselves_are_accepted(length):
    assert MessageStream(LIMIT).feed(encoded([(DATA_ROW, bytes(length))])) == [(DATA_ROW, bytes(length))]


@given(st.lists(st.binary(max_size=30)))
def test_random_bytes_give_messages_or_a_violation(chunks):
    stream = MessageStream(LIMIT)
    try:
        for chunk in chunks:
            stream.feed(chunk)
    except ProtocolViolation:
        assert stream.pending == 0
    else:
        assert stream.pending <= LIMIT + 5


def test_a_promised_length_takes_no_memory():
    stream = MessageStream(2**30)
    tracemalloc.start()
    try:
        stream.feed(b"D\x3f\xff\xff\xff" + b"x")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_long_message_costs_linear_time():
    body = bytes(16 << 20)
    data = encoded([(DATA_ROW, body)])
    chunks = [data[start : start + 64] for start in range(0, len(data), 64)]
    begin = time.perf_counter()
    assert feed_all(MessageStream(len(body)), chunks) == [(DATA_ROW, body)]
    # It takes a fraction of a second. Copying what is there again for each chunk would move 2 TB, for minutes.
    assert time.perf_counter() - begin < 20
