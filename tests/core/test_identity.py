"""Where ids come from, `heaven_core.identity`: golden named ids, and new ones that only ever grow."""

from __future__ import annotations

import threading
import time
from uuid import UUID

import pytest

from heaven_core import identity
from heaven_core.identity import identify, named_id, new_ids

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("entity", "name", "golden"),
    [
        ("doc", "On storage", "790a135beaec6cd76f6d8dd17e9294be"),
        ("doc", "", "967593d3287e2411c12bed4b40a5ef9b"),
        ("doc", "é\U0001f600", "4ce6efad0e07caad5471aef50acac955"),
    ],
)
def test_a_named_id_never_changes(entity: str, name: str, golden: str) -> None:
    assert named_id(entity, name) == golden


def test_entity_and_name_are_told_apart() -> None:
    assert len({named_id("a", "bc"), named_id("ab", "c"), named_id("abc", ""), named_id("a", "b")}) == 4


def test_a_new_id_is_a_uuid_of_version_7_that_holds_the_time() -> None:
    before = time.time_ns() // 1_000_000

    (one,) = new_ids(1)

    parsed = UUID(one)
    assert (parsed.version, parsed.variant, len(one)) == (7, "specified in RFC 4122", 32)
    assert before <= parsed.int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_ids_ascend_within_and_across_calls() -> None:
    ids = [one for count in (1, 5, 0, 1000, 3) for one in new_ids(count)]

    assert len(ids) == 1009
    assert ids == sorted(set(ids))


def test_ids_ascend_in_every_thread_and_none_comes_twice() -> None:
    made: list[list[str]] = []

    def work() -> None:
        made.append([one for _ in range(200) for one in new_ids(7)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(ids == sorted(ids) for ids in made)
    assert len({one for ids in made for one in ids}) == 4 * 200 * 7


def test_a_clock_that_goes_back_does_not_take_the_ids_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = new_ids(1)

    monkeypatch.setattr(identity.time, "time_ns", lambda: 0)
    after = new_ids(3)

    assert [before, *after] == sorted({before, *after})


def test_explicit_ids_are_kept_names_make_theirs_and_the_rest_gets_new_ones() -> None:
    ids, fresh = identify("doc", ["a", None, None, None], ["x", "x", None, None])

    assert ids[:2] == ["a", named_id("doc", "x")]
    assert ids[2] < ids[3]
    assert not fresh
    assert identify("doc", ["a"], [None]) == (["a"], False)
    assert identify("doc", [None, None], [None, None])[1]
    assert identify("doc", [None], ["x"]) == ([named_id("doc", "x")], False)
