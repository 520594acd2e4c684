"""The errors, `heaven_core.errors`: one tree, builtins that callers expect, messages that can be shown anywhere."""

from __future__ import annotations

import builtins
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core import errors
from heaven_core.errors import HeavenError, InvalidType, InvalidValue, UnknownField, did_you_mean, shown

pytestmark = pytest.mark.unit

TREE = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, HeavenError)]


def _drawn() -> dict[str, tuple[str | None, str | None]]:
    """The tree in the module's docstring: name -> (parent, builtin)."""
    found: dict[str, tuple[str | None, str | None]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        drawn = re.match(r"^[\s│]*(?:[├└]── )?([A-Z]\w+)(?: \((\w+)\))?(?:\s|$)", line)
        if drawn is None or not (set("├└") & set(line) or line.strip() == "HeavenError"):
            continue
        indent = line.index(drawn[1])
        above = [one for one in above if one[0] < indent]
        found[drawn[1]] = (above[-1][1] if above else None, drawn[2])
        above.append((indent, drawn[1]))
    return found


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = _drawn()

    assert drawn.keys() == {one.__name__ for one in TREE}
    for one in TREE:
        parent, builtin = drawn[one.__name__]
        bases = [base.__name__ for base in one.__bases__]
        assert bases == [name for name in (parent or "Exception", builtin) if name is not None]
        assert builtin is None or issubclass(getattr(builtins, builtin), Exception)


@pytest.mark.parametrize("cls", TREE, ids=lambda one: one.__name__)
def test_an_error_prints_its_message_and_nothing_else(cls: type[HeavenError]) -> None:
    error = cls("what, which, what to do", entity="doc")

    assert str(error) == error.message == "what, which, what to do"
    assert vars(error)["entity"] == "doc"
    assert cls.__doc__


def test_an_error_of_a_value_names_place_and_value() -> None:
    error = InvalidType.at("doc", "n", 3, True, "is a bool; takes a whole number")

    assert str(error) == "doc.n, row 3: True is a bool; takes a whole number"
    assert isinstance(error, TypeError)
    assert isinstance(error, ValueError)
    assert vars(error) | {"message": ""} == {
        "message": "",
        "entity": "doc",
        "field": "n",
        "row": 3,
        "value": True,
        "reason": "is a bool; takes a whole number",
    }
    assert str(InvalidValue.at(None, None, None, "x", "is wrong")) == "value: 'x' is wrong"
    assert str(InvalidValue.at("doc", None, 0, 5, "is wrong")) == "doc, row 0: 5 is wrong"


def test_an_error_can_be_sent_to_another_process() -> None:
    error = InvalidValue.at("doc", "n", 1, "x", "is wrong")

    twin = pickle.loads(pickle.dumps(error))

    assert (type(twin), str(twin), vars(twin)) == (InvalidValue, str(error), vars(error))


# -- did you mean ----------------------------------------------------------------------------------------------------


def test_the_nearest_word_is_offered_or_what_is_known() -> None:
    assert did_you_mean("titel", ["title", "body"]) == "did you mean 'title'?"
    assert did_you_mean("zzz", ["title", "body"]) == "known: body, title"
    assert did_you_mean("zzz", []) == "there are none"
    assert did_you_mean(5, ["a"]) == "known: a"
    long = did_you_mean("zzz", [f"field{number:03d}" for number in range(40)])
    assert long.endswith("field029, ...")


# -- shown -----------------------------------------------------------------------------------------------------------


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a'b", '"a\'b"'),
        ("é\n\x1b[31m", r"'é\n\x1b[31m'"),
        ("日本 grün", "'日本 grün'"),
        ("a\u202eb\u2066c\u200fd", r"'a\u202eb\u2066c\u200fd'"),
        ("a\ud800b", r"'a\ud800b'"),
        ("x" * 1000, "'" + "x" * 60 + "'..."),
        (b"x" * 1000, "b'" + "x" * 60 + "'..."),
        (2**70, "1180591620717411303424"),
        (2**200, "an int of 201 bits"),
        (True, "True"),
        (None, "None"),
        ([1] * 5, "a list of 5"),
        ({"a": 1}, "a dict of 1"),
        (frozenset(), "a frozenset of 0"),
        (object, "<class 'object'>"),
        (Unprintable(), "an Unprintable"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_value_is_shown_briefly_and_safely(value: Any, text: str) -> None:
    assert shown(value) == text


@given(
    st.recursive(
        st.text() | st.binary() | st.integers() | st.floats() | st.none(),
        lambda inner: st.lists(inner) | st.tuples(inner),
    )
)
def test_whatever_is_shown_is_short_and_printable(value: Any) -> None:
    text = shown(value)

    assert len(text) <= 1000
    assert text.isprintable()
    text.encode()


def test_a_file_or_a_path_that_is_given_for_a_value_is_shown_by_its_kind_and_not_its_place(tmp_path: Path) -> None:
    with (tmp_path / "secret-place").open("wb") as stream:
        error = InvalidType.at("doc", "cover", 0, stream, "is a BufferedWriter; takes bytes")

    assert str(error) == "doc.cover, row 0: a BufferedWriter is of the wrong kind; takes bytes"
    assert shown(tmp_path) == "a PosixPath"


def test_known_words_of_any_script_are_listed_as_they_are_and_controls_as_escapes() -> None:
    assert did_you_mean("x", ["grün", "a\u202eb"]) == "known: a\\u202eb, grün"


def test_unknown_fields_are_lookups_for_those_who_catch_builtins() -> None:
    with pytest.raises(LookupError):
        raise UnknownField("no field")
