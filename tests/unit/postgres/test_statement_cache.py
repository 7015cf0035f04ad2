"""Prepared statements that the backends of one pool keep: the least recently used of all of them leaves."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from rowgate.postgres.statement_cache import StatementCache, StatementRoom


class Backend:
    """One cache, and the names that it has lost."""

    def __init__(self, room: StatementRoom, name: str) -> None:
        self.left: list[bytes] = []
        self.cache = StatementCache[int, str](room, self.left)
        self._prefix = name
        self._number = 0

    def add(self, key: int) -> bytes:
        """Keeps ``key`` under a new name."""
        self._number += 1
        name = f"{self._prefix}_{self._number}"
        self.cache.add(key, name.encode(), name)
        return name.encode()


def test_a_busy_backend_takes_what_others_do_not_use() -> None:
    room = StatementRoom(6)
    idle, busy = Backend(room, "idle"), Backend(room, "busy")
    names = [idle.add(key) for key in range(3)]
    assert idle.cache.find(0) == "idle_1"  # used again, so it stays longest
    for key in range(5):
        busy.add(key)
    assert idle.left == names[1:]
    assert busy.left == []
    assert 0 in idle.cache
    assert len(room) == 6


def test_what_was_forgotten_is_nobodys_to_close() -> None:
    room = StatementRoom(2)
    backend = Backend(room, "one")
    backend.add(1)
    backend.cache.forget(1)
    backend.cache.forget(1)
    assert backend.cache.find(1) is None
    names = [backend.add(key) for key in (2, 3)]
    assert backend.cache.forget_all() == names
    assert len(room) == 0
    assert backend.left == []


def test_without_room_nothing_is_kept() -> None:
    backend = Backend(StatementRoom(0), "one")
    name = backend.add(1)
    assert backend.left == [name]
    assert 1 not in backend.cache


BACKENDS = 3
STEPS = st.lists(
    st.tuples(st.integers(0, BACKENDS - 1), st.sampled_from(["add", "find", "forget", "go"]), st.integers(0, 12)),
    max_size=150,
)


@given(st.integers(0, 12), STEPS)
def test_it_is_one_cache_that_forgets_the_least_recently_used(most: int, steps: list[tuple[int, str, int]]) -> None:
    room = StatementRoom(most)
    backends = [Backend(room, str(number)) for number in range(BACKENDS)]
    model: OrderedDict[tuple[int, int], bytes] = OrderedDict()
    left: list[bytes] = []
    for which, step, key in steps:
        backend = backends[which]
        if step == "add":
            model.pop((which, key), None)
            model[which, key] = backend.add(key)
            while len(model) > most:
                left.append(model.popitem(last=False)[1])
        elif step == "find":
            known = model.get((which, key))
            assert backend.cache.find(key) == (None if known is None else known.decode())
            if known is not None:
                model.move_to_end((which, key))
        elif step == "forget":
            backend.cache.forget(key)
            model.pop((which, key), None)
        else:
            mine = [one for one in model if one[0] == which]
            assert sorted(backend.cache.forget_all()) == sorted(model.pop(one) for one in mine)
        assert len(room) == len(model) <= most
        assert all((key in one.cache) == ((number, key) in model) for number, one in enumerate(backends)
                   for key in range(13))  # fmt: skip
    assert sorted(name for one in backends for name in one.left) == sorted(left)
