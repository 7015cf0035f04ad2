"""Prepared statements that the backends of one pool keep: the oldest of all that was not used leaves."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from rowgate.postgres.statement_cache import StatementCache, StatementRoom
from rowgate.second_chance import MOST_SPARED


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
    assert idle.cache.find(0) == "idle_1"  # used again, so it is passed over once
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


BACKENDS = 2
KEYS = 4
WORDS = st.sampled_from([*["add"] * 8, *["find"] * 8, "forget", "go"])
# Long enough that places are wanted, and that what is looked up is there.
STEPS = st.lists(st.tuples(st.integers(0, BACKENDS - 1), WORDS, st.integers(0, KEYS - 1)), min_size=30, max_size=80)


@given(st.integers(0, 4), STEPS)
def test_it_is_one_cache_that_forgets_the_oldest_unused(most: int, steps: list[tuple[int, str, int]]) -> None:
    room = StatementRoom(most)
    backends = [Backend(room, str(number)) for number in range(BACKENDS)]
    model: OrderedDict[tuple[int, int], bytes] = OrderedDict()
    used: set[tuple[int, int]] = set()
    left: list[bytes] = []

    def make_place() -> None:
        for _ in range(MOST_SPARED):
            oldest = next(iter(model))
            if oldest not in used:
                break
            used.discard(oldest)
            model.move_to_end(oldest)
        left.append(model.pop(next(iter(model))))

    for which, step, key in steps:
        backend = backends[which]
        if step == "add":
            model.pop((which, key), None)
            used.discard((which, key))
            while model and len(model) >= most:
                make_place()
            name = backend.add(key)
            if most:
                model[which, key] = name
            else:
                left.append(name)
        elif step == "find":
            known = model.get((which, key))
            assert backend.cache.find(key) == (None if known is None else known.decode())
            if known is not None:
                used.add((which, key))
        elif step == "forget":
            backend.cache.forget(key)
            model.pop((which, key), None)
            used.discard((which, key))
        else:
            mine = [one for one in model if one[0] == which]
            used.difference_update(mine)
            assert sorted(backend.cache.forget_all()) == sorted(model.pop(one) for one in mine)
        assert len(room) == len(model) <= most
        assert all((key in one.cache) == ((number, key) in model) for number, one in enumerate(backends)
                   for key in range(KEYS))  # fmt: skip
    assert sorted(name for one in backends for name in one.left) == sorted(left)
