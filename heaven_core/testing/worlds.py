"""Random worlds for the comparison of engines: an entity, its rows, and questions about them.

Values come from small pools of awkward ones and now and then from everything that a type takes; arguments are
mostly made from values that rows have, so that conditions hold about as often as not. Questions are specs as
`query_json` takes them, with Python values.

Every choice is read from one string of random bytes (`Dice`). Choices drawn one by one would take ten times as
long, and five examples in six would be small variations of another.
Not here: what the answers are (`heaven_core.testing.reference`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, NamedTuple, TypeVar
from unicodedata import normalize

from hypothesis import strategies as st

from heaven_core.capabilities import process_capabilities
from heaven_core.errors import InvalidType, InvalidValue, UnknownField
from heaven_core.narrow import is_dict, is_pure_list
from heaven_core.ops import AGGREGATES, FILTERS, JSON_OPS
from heaven_core.text import tokens
from heaven_core.types import INT_MAX, INT_MIN, Array, LogicalType, from_spec

T = TypeVar("T")
Spec = dict[str, Any]
Types = dict[str, LogicalType[Any]]
Known = dict[str, list[Any]]


class Theme(NamedTuple):
    """What values of a world are made of: few things of a kind, so that they meet."""

    pieces: tuple[str, ...] = ()
    integers: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()


class Dice:
    """The choices of one example; once the bytes are used up, each choice is the first."""

    SIZE = 6000

    def __init__(self, entropy: bytes) -> None:
        self._entropy, self._place = entropy, 0
        self.theme = Theme()

    def __repr__(self) -> str:
        return "<dice>"

    def bits(self, size: int) -> bytes:
        self._place += size
        return self._entropy[self._place - size : self._place].ljust(size, b"\0")

    def below(self, count: int) -> int:
        return int.from_bytes(self.bits(1 if count <= 64 else 8)) % count

    def pick(self, several: Sequence[T]) -> T:
        return several[self.below(len(several))]

    def once_in(self, times: int) -> bool:
        return self.below(times) == times - 1

    def some(self, least: int, most: int, make: Callable[[], T]) -> list[T]:
        return [make() for _ in range(least + self.below(most - least + 1))]

    def subset(self, several: Sequence[T], least: int, most: int) -> list[T]:
        return list(dict.fromkeys(self.some(least, most, lambda: self.pick(several)))) if several else []


# A `map` would do, but then the bytes would be printed with each example that fails.
dices = st.binary(min_size=Dice.SIZE, max_size=Dice.SIZE).flatmap(lambda entropy: st.just(Dice(entropy)))

# -- values --------------------------------------------------------------------------------------------------------

COMMON = ("a", "A", "b", "ab", "a b", " ", "", "z", "0", "1")
TEXT_THEMES = (
    ("ß", "ẞ", "ss", "SS", "s", "S", "ﬁ", "fi", "ŉ", "\u01f0", "\u212a", "k"),
    ("İ", "i\u0307", "i", "I", "ı", "\u0307", "Σς", "σς", "ΣΣ", "σσ"),
    ("é", "É", "e\u0301", "E", "e", "\u0301", "й", "и", "ø", "Ａ", "\u0345", "\u0327"),
    ("\ufffd", "\ufffe", "\uffff", "%", "_", "\ufffd\ufffe", "\uffff_"),
    ("\U0010ffff", "\U0010fffe", "\uffff", "\ud7ff", "\ue000", "\U00010000", "\x7f", "\x80", "~"),
    ("%", "_", "\\", "\\\\", "a_b", "50%", "\\%", "%%", "__", "?", "*"),
    ("[", "]", "[a]", "[^a]", "*", "?", "^", "-", "[a-z]", "[]", "[!a]", "%", "_"),
    ("'", '"', "''", '"a"', "`", ";--", "/*", "$", "{}", "\\", "\\n", "?1", ":a", "@a", "$.a"),
    ("\n", "\r\n", "\t", "\x01", "\x1f", "\x7f", "\x85", "\u2028", "a\nb", "\na"),
    ("漢字", "漢", "字", "が", "か\u3099", "か", "ｶﾞ", "한글", "हिंदी", "ไทย", "عَربي", "々"),
    ("😀", "👩\u200d👧", "\u200b", "\u00ad", "\u200d", "\ufe0f", "½", "²", "①", "٣"),
    ("null", "true", "1", "1.0", "-0", "10", "9", "0x1", "1e5", "NaN", "[]", "[1]", "{}"),
    ("hello", "Hello", "world", "hello world", "HELLO, WORLD!", "it's", "a_b", "wörld", "near", "and", "not", "or"),
    (".", "(", ")", "\u007c", "+", "*", "^", "$", "\\d", "a.b", "(?i)", "x{2}"),
)
INTEGER_THEMES = (
    (0, 1, -1, 2, 3, 10, 9, 100),
    (2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1, -(2**53)),
    (INT_MAX, INT_MAX - 1, INT_MIN, INT_MIN + 1, 0, 1, -1),
    (2**31, 2**31 - 1, 2**32, -(2**31), 2**62, 10**18, 2**53 * 512),
)
FLOAT_THEMES = (
    (0.0, -0.0, 1.0, -1.0, 2.0, 3.0, 10.0, 9.0),
    (0.1, 0.2, 0.1 + 0.2, 0.3, 0.30000000000000004, 1 / 3, 2.5, 8.41, 1.1, 4.35, 17.000000000000004),
    (2.0**53, 2.0**53 + 2, -(2.0**53), 2.0**63, -(2.0**63), 2.0**62, 1e16, 1e22, 1e18),
    (5e-324, -5e-324, 1e-323, 2.2250738585072014e-308, 0.0, -0.0, 1e-7),
    (1.7976931348623157e308, 1.7976931348623155e308, -1.7976931348623157e308, 1e308, -1e308, 1e300),
    (123456789.12345678, 6.02214076e23, 1.1754943508222875e-38, 0.1234567890123456789, 1e21, 123456789012345680.0),
)

CATEGORIES = ("red", "Red", "green", "", "ß", "a_b%", "漢", "\U0010ffff", "10", "9")
TIMESTAMPS = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(2024, 2, 29, 6, 15, 0, 1, tzinfo=UTC),
    datetime(2024, 10, 27, 0, 30, fold=1, tzinfo=UTC),
    datetime(1900, 1, 1, tzinfo=timezone(timedelta(seconds=-17762, microseconds=5))),
)
DATES = (date(1, 1, 1), date(9999, 12, 31), date(1970, 1, 1), date(2024, 2, 29), date(999, 12, 31), date(1000, 1, 1))
DURATIONS = tuple(
    timedelta(microseconds=one) for one in (0, 1, -1, 999999, 10**6, -(10**6), 86_400_000_000, INT_MAX, INT_MIN)
)
JSON_KEYS = ("a", "b", "", "a b", "a.b", "0", "é", 'q"q', "$x", "path", "\U0010ffff", "'", "\\", "A")
COORDINATES = (0.0, 1.0, -1.0, 0.5, 2.0, 3.0, 1e-30, 1e30, 0.1, -0.0)

_POOLS: dict[str, Sequence[Any]] = {
    "boolean": (False, True),
    "timestamp": TIMESTAMPS,
    "date": DATES,
    "duration": DURATIONS,
}


def text(dice: Dice, longest: int = 255) -> str:
    """A text of the theme's pieces, now and then a long one or one of any characters."""
    if dice.once_in(10):
        return "".join(dice.some(0, 6, lambda: _any_char(dice)))
    joined = "".join(dice.some(0, 4, lambda: dice.pick(dice.theme.pieces)))
    return (joined * dice.below(200) if dice.once_in(40) else joined)[:longest]


def _any_char(dice: Dice) -> str:
    code = 1 + dice.below(dice.pick((0x7F, 0x7FF, 0xFFFF, 0x10FFFF)))
    return "x" if 0xD800 <= code <= 0xDFFF else chr(code)


def _any_float(dice: Dice) -> float:
    (number,) = struct.unpack("<d", dice.bits(8))
    return number if math.isfinite(number) else 1.5


def _any_moment(dice: Dice) -> datetime:
    return datetime(1, 1, 2, tzinfo=UTC) + timedelta(dice.below(3_652_000), dice.below(86_400), dice.below(10**6))


_ANY: dict[str, Callable[[Dice], Any]] = {
    "integer": lambda dice: INT_MIN + dice.below(2**64),
    "float": _any_float,
    "timestamp": _any_moment,
    "date": lambda dice: _any_moment(dice).date(),
    "duration": lambda dice: timedelta(dice.below(2000) - 1000, dice.below(86_400), dice.below(10**6)),
}


def scalar(dice: Dice, dtype: LogicalType[Any]) -> Any:
    """A value of a scalar type, not yet in canonical form."""
    if dtype.kind == "text":
        values: Sequence[str] = dtype.params().get("values", ())
        return dice.pick(values) if values else text(dice, getattr(dtype, "max_chars", 255))
    if dtype.kind in _ANY and dice.once_in(5):
        return _ANY[dtype.kind](dice)
    themes: dict[str, Sequence[Any]] = {"integer": dice.theme.integers, "float": dice.theme.floats}
    return dice.pick(themes.get(dtype.kind) or _POOLS[dtype.kind])


MIXED = tuple(map(from_spec, ("short-text", "integer", "float", "boolean", "short-text", "integer")))


def json_value(dice: Dice, depth: int = 0) -> Any:
    """A JSON value, often of a shape that others have too."""
    if depth == 0 and not dice.once_in(2):  # alike, so that a path leads somewhere in several rows
        return {key: json_value(dice, 2) for key in dice.pick((("a",), ("a", "b"), ("b", 'q"q')))}
    kind = dice.below(9 if depth < 3 else 6)
    if kind < 6:
        return None if kind == 0 else scalar(dice, MIXED[kind - 1])
    if kind == 6:
        return dice.some(0, 3, lambda: json_value(dice, depth + 1))
    return {dice.pick(JSON_KEYS): json_value(dice, depth + 1) for _ in range(dice.below(4))}


def value(dice: Dice, dtype: LogicalType[Any]) -> Any:
    """A value that the type takes, not yet in canonical form; a Json field's may be None."""
    if isinstance(dtype, Array):
        return dice.some(0, 4, lambda: item(dice, dtype))
    if dtype.kind == "json":
        return json_value(dice)
    if dtype.kind == "vector":
        return [dice.pick(COORDINATES) for _ in range(dtype.params()["dim"])]
    if dtype.kind == "bytes":
        return bytes(dice.some(0, 4, lambda: dice.below(256)))
    return scalar(dice, dtype)


def item(dice: Dice, dtype: Array) -> Any:
    """An item of an array of this type."""
    return scalar(dice, dice.pick(MIXED) if dtype.item is None else dtype.item)


# -- entities ------------------------------------------------------------------------------------------------------

NAMES = (
    *(
        "a",
        "b",
        "c",
        "Text",
        "n",
        "order",
        "select",
        "group",
        "where",
        "t",
        "row",
        "value",
        "item",
        "pos",
        "rank",
        "fts",
    ),
    *("fts_data", "rowid", "oid", "key", "type", "limit", "f_a", "index", "path", "null", "atom", "x1", "hb_v"),
)
OBJECT_IDS = ("a", "B", "b", "aa", "10", "9", "é", "e\u0301", "x'y", "😀", "\U0010ffff", "\uffff", "%")
SCALAR_TYPES = (
    *(
        "identifier",
        "short-text",
        "medium-text",
        "long-text",
        "integer",
        "float",
        "boolean",
        "timestamp",
        "date",
        "duration",
    ),
    {"type": "categorical", "values": list(CATEGORIES)},
)
TYPES = tuple(
    map(
        from_spec,
        (
            *SCALAR_TYPES,
            *(
                "json",
                "array",
                "float",
                "json",
                "array",
                "short-text",
                "json",
                {"type": "vector", "dim": 2},
                "artifact",
            ),
            *({"type": "array", "item": one} for one in SCALAR_TYPES[1:] if one not in ("medium-text", "long-text")),
        ),
    )
)


class Fieldset(NamedTuple):
    """A field of a random entity; `searched` asks for the engine's index strategies, `storing` is one of its others.

    `place` says where it lies if there are several engines, `mirror` whether the primary then has a copy.
    """

    name: str
    dtype: LogicalType[Any]
    indexed: bool = False
    unique: bool = False
    default: Any = None
    searched: bool = False
    storing: int = 0
    place: int = 0
    mirror: bool = False

    def spec(self, engines: str) -> Spec:
        """The field in a schema for engines (joined by "+"), with strategies that the one it lies in offers."""
        kinds = engines.split("+")
        place = 0 if self.unique else self.place % len(kinds)
        engine = kinds[place]
        offered = process_capabilities().strategies(type(self.dtype), backend=engine)
        stores = [str(one) for one in offered if one.stores]
        indexes = [str(one) for one in offered if not one.stores] if self.searched else []
        chosen = [*([stores[self.storing % len(stores)]] if stores else []), *indexes]
        if place:  # files belong to the primary
            chosen = [one for one in chosen if one != "external"]
        body: Spec = {"name": self.name, "type": self.dtype.spec(), "store": [{"strategy": one} for one in chosen]}
        if len(kinds) > 1:
            to: Spec = {"to": backend_name(place), **({"mirror": True} if place and self.mirror else {})}
            stored: list[Spec] = body["store"] or [{}]
            body["store"] = [{**to, **one} for one in stored]
        body |= {flag: True for flag, on in (("index", self.indexed), ("unique", self.unique)) if on}
        if self.default is not None:
            body["default"] = self.dtype.to_json(self.dtype.check(self.default))
        return body


def backend_name(place: int) -> str:
    """What the backend at a place among several engines is called."""
    return "main" if place == 0 else f"b{place}"


class World(NamedTuple):
    """An entity with rows in it; a row is what a user writes."""

    fields: tuple[Fieldset, ...]
    rows: tuple[dict[str, Any], ...]

    def types(self) -> Types:
        """The type of every field, the implicit ones included."""
        implicit = {"object_id": from_spec("identifier"), "name": from_spec("short-text")}
        return implicit | {field.name: field.dtype for field in self.fields}

    def schema(self, entity: str, engine: str) -> Spec:
        """The entity's schema for one engine, or for several joined by "+"."""
        return {"id": entity, "fields": [field.spec(engine) for field in self.fields]}


def world(dice: Dice, fields: int = 6, rows: int = 12) -> World:
    """An entity of some fields and its first rows; sets the dice's theme."""
    dice.theme = theme(dice)
    names = {name.lower(): name for name in dice.some(fields // 2, fields, lambda: dice.pick(NAMES))}
    made = tuple(_field(dice, name) for name in names.values())
    known: list[dict[str, Any]] = []
    for one in dice.subset(OBJECT_IDS, rows // 2, rows):
        known.append({"object_id": one, **row(dice, made, known)})
    return World(made, tuple(_without_repeats(made, known)))


def extended(dice: Dice, before: World) -> World:
    """The world with one more field, or with the same ones if the name is taken."""
    name = dice.pick(NAMES)
    if name.lower() in {field.name.lower() for field in before.fields}:
        return before
    return before._replace(fields=(*before.fields, _field(dice, name)))


def theme(dice: Dice) -> Theme:
    """Two kinds of text beside the common one, and one or two of each kind of number."""

    def joined(themes: Sequence[tuple[T, ...]], least: int, most: int) -> tuple[T, ...]:
        return tuple(one for part in dice.subset(themes, least, most) for one in part)

    return Theme(COMMON + joined(TEXT_THEMES, 1, 2), joined(INTEGER_THEMES, 1, 2), joined(FLOAT_THEMES, 1, 2))


def _field(dice: Dice, name: str) -> Fieldset:
    dtype = dice.pick(TYPES)
    scalar_type = "scalar" in dtype.traits
    return Fieldset(
        name,
        dtype,
        indexed=scalar_type and dice.once_in(3),
        unique=scalar_type and dice.once_in(8),
        default=value(dice, dtype) if dice.once_in(12) else None,
        searched=not dice.once_in(2),
        storing=dice.below(3),
        place=dice.below(6),
        mirror=dice.once_in(2),
    )


def row(dice: Dice, fields: Sequence[Fieldset], known: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A row without its id: some fields absent or null, some with the value of another row."""
    made: dict[str, Any] = {}
    if dice.once_in(5):
        made["name"] = text(dice)
    for field in fields:
        kind = dice.below(10)
        if kind == 8:
            made[field.name] = None
        elif kind == 7 and known:
            made[field.name] = dice.pick(known).get(field.name)
        elif kind < 8:
            made[field.name] = value(dice, field.dtype)
    return made


def _without_repeats(fields: Sequence[Fieldset], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, with each value of a unique field only once."""
    for field in (one for one in fields if one.unique):
        seen: set[Any] = set()
        for one in rows:
            given = one.get(field.name, field.default)
            canonical = None if given is None else field.dtype.check(given)
            if canonical is not None and canonical in seen:
                one[field.name] = None
            seen.add(canonical)
    return rows


# -- conditions ----------------------------------------------------------------------------------------------------

REGEXES = (
    *(
        "",
        "a",
        "^a",
        "b$",
        "^$",
        "^.$",
        "[a-c]+",
        ".",
        "a.b",
        "\\n",
        "[^a]",
        "(?:a|b)c?",
        "\\pL",
        "\\p{Greek}",
        "x*",
        "é",
        "😀",
    ),
    *(
        "[[:alpha:]]",
        "\\QA%\\E",
        "^(?:ab|a)*$",
        "[\\x{10ffff}]",
        "[0-9]+",
        "^[^0-9]*$",
        "\\x{301}",
        "s{2}",
        "漢|が",
        "\\\\",
    ),
)
SPECIAL = frozenset("\\.+*?()|[]{}^$")


def condition(dice: Dice, types: Types, known: Known, depth: int = 0) -> Spec:
    """A tree of conditions; one in some is very deep or very wide."""
    if depth == 0 and dice.once_in(40):
        return _deep(dice, types, known)
    if depth < 3 and dice.once_in(64):
        return {dice.pick(("$and", "$or")): [leaf(dice, types, known), *[leaf(dice, types, known)] * dice.below(100)]}
    kind = dice.below(14 if depth < 4 else 8)
    if kind < 8:
        return leaf(dice, types, known)
    if kind < 10:
        return {"$not": condition(dice, types, known, depth + 1)}
    parts = dice.some(0, 3, lambda: condition(dice, types, known, depth + 1))
    if kind == 13:
        return {key: one for part in parts for key, one in part.items()}
    return {"$and" if kind < 12 else "$or": parts}


def _deep(dice: Dice, types: Types, known: Known) -> Spec:
    deep: Spec = leaf(dice, types, known)
    for _ in range(dice.below(90)):
        kind = dice.below(4)
        if kind == 0:
            deep = {"$not": deep}
        else:
            beside = leaf(dice, types, known)
            deep = {"$and" if kind == 1 else "$or": [deep, beside] if kind == 2 else [beside, beside, deep]}
    return deep


def leaf(dice: Dice, types: Types, known: Known) -> Spec:
    """A condition on one field: one operation, now and then two, or a bare value."""
    names = list(types)
    name = names[-1 - dice.below(len(names))]
    dtype = types[name]
    if "equal" in dtype.traits and dtype.kind != "json" and dice.once_in(16):
        return {name: argument(dice, "eq", dtype, known[name])}
    ops = (
        dice.some(1, 2, lambda: dice.pick(SERVED[type(dtype)])) if dice.once_in(8) else [dice.pick(SERVED[type(dtype)])]
    )
    return {name: {f"${op}": argument(dice, op, dtype, known[name]) for op in ops}}


SERVED = {type(dtype): [op.name for op in FILTERS if op.serves(dtype)] for dtype in TYPES}


def argument(dice: Dice, op: str, dtype: LogicalType[Any], known: Sequence[Any]) -> Any:
    """An argument that the operation takes; `known` are values that rows have."""
    if op == "is_null":
        return dice.once_in(2)
    if op == "get":
        return _get(dice, known)
    if op in _TEXT_ARGUMENTS and not isinstance(dtype, Array):
        return _TEXT_ARGUMENTS[op](dice, dice.pick(known) if known and not dice.once_in(4) else text(dice))
    if isinstance(dtype, Array) and op.startswith(("array_", "contained_")):
        present = [one for array in known for one in array]
        items = dice.some(0, 6, lambda: dice.pick(present) if present and not dice.once_in(3) else item(dice, dtype))
        return _long(dice, items) if op != "array_contains" else items[0] if items else item(dice, dtype)
    if op == "in":
        return _long(dice, dice.some(0, 12, lambda: _comparable(dice, dtype, known, nulls=True)))
    if op == "between":
        return _bounds(dice, dtype, known)
    return _comparable(dice, dtype, known, nulls=op in {"eq", "ne"})


def _long(dice: Dice, items: list[Any]) -> list[Any]:
    """The items, now and then so often that an engine may do something else about them."""
    return items * (1 + 1200 // len(items)) if items and dice.once_in(64) else items


def _bounds(dice: Dice, dtype: LogicalType[Any], known: Sequence[Any]) -> list[Any]:
    bounds = [_comparable(dice, dtype, known), _comparable(dice, dtype, known)]
    return bounds if dice.once_in(4) else sorted(bounds)


def _comparable(dice: Dice, dtype: LogicalType[Any], known: Sequence[Any], *, nulls: bool = False) -> Any:
    if nulls and dice.once_in(10):
        return None
    if known and not dice.once_in(3):
        return dice.pick(known)
    made = value(dice, dtype)
    return made if made is not None or nulls else 0


def _part(dice: Dice, whole: str) -> str:
    start = dice.below(len(whole) + 1)
    return whole[start : start + dice.below(len(whole) - start + 1)]


def _start(dice: Dice, whole: str) -> str:
    return whole[: dice.below(len(whole) + 1)]


def _end(dice: Dice, whole: str) -> str:
    return whole[dice.below(len(whole) + 1) :]


def _around(dice: Dice, whole: str) -> str:
    return dice.pick(dice.theme.pieces) + whole + dice.pick(dice.theme.pieces)


def _words(dice: Dice, whole: str) -> str:
    words = [*tokens(whole), whole]
    return " ".join(dice.some(0, 3, lambda: dice.pick((str, str.upper, str.casefold))(dice.pick(words))))


def _pattern(dice: Dice, whole: str) -> str:
    """A pattern of `like` that mostly fits."""
    made: list[str] = []
    place = 0
    while place < len(whole) and len(made) < 12:
        char, kind = whole[place], dice.below(8)
        if kind == 7:
            made.append("%")
            place += dice.below(4)
            continue
        place += 1
        made.append("_" if kind == 6 else f"\\{char}" if kind == 5 or char in "%_\\" else char)
    return "".join(made) + dice.pick(("", "", "%", "%", "_", "a"))


def _any_case(dice: Dice, whole: str) -> str:
    change: Callable[[str], str] = dice.pick((str.upper, str.lower, str.swapcase, lambda one: normalize("NFD", one)))
    return _pattern(dice, change(whole))


def _regex(dice: Dice, whole: str) -> str:
    if dice.once_in(2):
        return dice.pick(REGEXES)
    some = _part(dice, whole)[:20]
    body = "".join("." if dice.once_in(6) else f"\\{char}" if char in SPECIAL else char for char in some)
    return dice.pick(("", "^")) + body + dice.pick(("", "$", ".*"))


_TEXT_ARGUMENTS: dict[str, Callable[[Dice, str], str]] = {
    "contains": _part,
    "starts_with": _start,
    "ends_with": _end,
    "contained_in": _around,
    "match": _words,
    "like": _pattern,
    "ilike": _any_case,
    "regex": _regex,
}


def _places(whole: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place in a JSON value but the whole: its path, and what is there."""
    inner: Iterable[tuple[Any, Any]] = (
        whole.items() if is_dict(whole) else enumerate(whole) if is_pure_list(whole) else ()
    )
    for step, one in inner:
        yield (*path, step), one
        yield from _places(one, (*path, step))


def _get(dice: Dice, known: Sequence[Any]) -> Spec:
    """A question at a path of a JSON value, mostly one that leads somewhere."""
    places = list(_places(list(known)))
    path, here = dice.pick(places) if places else ((), None)
    path = path[1:] or (dice.pick((*JSON_KEYS, 0, 1)),)
    if dice.once_in(8):
        path, here = (*path, dice.pick((*JSON_KEYS, 0, 1, 2))), None
    ordered = isinstance(here, (int, float, str)) and not isinstance(here, bool)
    ops = (
        JSON_OPS
        if isinstance(here, str) or dice.once_in(4)
        else JSON_OPS[:9]
        if ordered
        else ("eq", "ne", "in", "is_null")
    )
    op = dice.pick(ops)
    return {"path": list(path), f"${op}": _json_argument(dice, op, here)}


def _json_argument(dice: Dice, op: str, here: Any) -> Any:
    def like_here() -> Any:
        return json_value(dice) if dice.once_in(3) else here

    if op in {"eq", "ne"}:
        return like_here()
    if op == "in":
        return dice.some(0, 11, like_here)
    if op == "is_null":
        return dice.once_in(2)
    if op in {"contains", "starts_with", "ends_with"}:
        return _TEXT_ARGUMENTS[op](dice, here if isinstance(here, str) else text(dice))
    textual = isinstance(here, str) is not dice.once_in(6)
    known = [here] if isinstance(here, str if textual else (int, float)) and not isinstance(here, bool) else []
    dtype = MIXED[0] if textual else dice.pick(MIXED[1:3])
    return _bounds(dice, dtype, known) if op == "between" else _comparable(dice, dtype, known)


def _asked(dice: Dice, name: str, dtype: LogicalType[Any]) -> list[str]:
    """Operations to ask of a field; of a Json field several questions at paths."""
    if name in {"object_id", "name"}:
        return [dice.pick(SERVED[type(dtype)])]
    return dice.some(1, 6, lambda: dice.pick(SERVED[type(dtype)])) + ["get"] * (
        dice.below(6) if dtype.kind == "json" else 0
    )


def filters(dice: Dice, types: Types, known: Known) -> list[Spec]:
    """Filters: some operations on each field, each for itself, and some trees of them."""
    single: list[Spec] = [
        {name: {f"${op}": argument(dice, op, dtype, known[name])}}
        for name, dtype in types.items()
        for op in _asked(dice, name, dtype)
    ]
    return [*single, *dice.some(1, 4, lambda: condition(dice, types, known))]


# -- questions -----------------------------------------------------------------------------------------------------


def _sortable(types: Types) -> list[str]:
    return [name for name, dtype in types.items() if "scalar" in dtype.traits]


def _order(dice: Dice, names: Sequence[str], least: int, most: int) -> list[str]:
    return dice.some(least, most, lambda: dice.pick(("", "-")) + dice.pick(names))


def page(dice: Dice, types: Types, known: Known) -> Spec:
    """A query for rows: perhaps a filter, an order, a selection, a limit and an offset."""
    spec: Spec = {"order": _order(dice, _sortable(types), 0, 3)}
    if dice.once_in(2):
        spec["filter"] = condition(dice, types, known)
    if dice.once_in(3):
        spec["select"] = dice.subset(list(types), 1, 3)
    if dice.once_in(3):
        spec["limit"] = dice.below(7)
    if dice.once_in(3):
        spec["offset"] = dice.below(7)
    return {key: one for key, one in spec.items() if one != []}


def group(dice: Dice, types: Types, known: Known) -> Spec:
    """A grouped query: keys, aggregates, perhaps a filter, a condition on exact results, and an order by them."""
    made = dice.some(1, 3, lambda: _aggregate(dice, types))
    spec: Spec = {"aggregate": {f"x{place}_": one for place, one in enumerate(made)}}
    if not dice.once_in(4):
        spec["group_by"] = dice.subset(_sortable(types), 1, 2)
    if dice.once_in(3):
        spec["filter"] = condition(dice, types, known)
    exact = exact_results(spec, types)
    if exact and dice.once_in(3):
        spec["having"] = condition(dice, exact, {name: known.get(name, []) for name in exact}, 3)
    if exact and dice.once_in(2):
        spec["order"] = _order(dice, list(exact), 1, 2)
        if dice.once_in(2):
            spec["limit"], spec["offset"] = dice.below(5), dice.below(3)
    return spec


def exact_results(spec: Spec, types: Types) -> Types:
    """The columns of a grouped answer that every engine gives to the last digit, with their types."""
    found = {name: types[name] for name in spec.get("group_by", ())}
    for alias, one in spec["aggregate"].items():
        ((op, body),) = one.items()
        if op == "$count":
            found[alias] = from_spec("integer")
        elif op in {"$min", "$max"} or (op == "$sum" and types[body["field"]].kind == "integer"):
            found[alias] = types[body["field"]]
    return found


def _aggregate(dice: Dice, types: Types) -> Spec:
    name = dice.pick(list(types)[::-1])
    op = dice.pick([op.name for op in AGGREGATES if op.serves(types[name])])
    body: Spec = {} if op == "count" and dice.once_in(2) else {"field": name}
    if op == "percentile":
        body["p"] = dice.pick((0, 25, 33.3, 50, 99.9, 100))
    return {f"${op}": body}


def search(dice: Dice, types: Types, known: Known) -> Spec:
    """A full-text search in some fields, perhaps filtered, limited and ordered."""
    fields = [name for name, dtype in types.items() if "fulltext" in dtype.traits][::-1]
    chosen = dice.subset(fields, 1, 3)
    present = [one for name in chosen for one in known[name]]
    words = dice.some(0, 3, lambda: _words(dice, dice.pick(present)) if present and not dice.once_in(4) else text(dice))
    spec: Spec = {"search": {"query": " ".join(words), "fields": chosen}}
    if dice.once_in(3):
        spec["filter"] = condition(dice, types, known)
    if dice.once_in(3):
        spec["limit"] = dice.below(5)
    if dice.once_in(3):
        spec["order"] = _order(dice, _sortable(types), 1, 2)
    return spec


def near(dice: Dice, types: Types, known: Known) -> Spec:
    """The nearest vectors, perhaps of filtered rows."""
    name = next(name for name, dtype in types.items() if dtype.kind == "vector")
    metric = dice.pick(("cosine", "l2", "dot"))
    query = types[name].check(_comparable(dice, types[name], known[name]))
    if metric == "cosine" and not any(query):
        query = [1.0, *query[1:]]
    spec: Spec = {"near": {"field": name, "query": query, "metric": metric, "top_k": 1 + dice.below(5)}}
    if dice.once_in(2):
        spec["filter"] = condition(dice, types, known)
    if dice.once_in(4):
        spec["limit"], spec["offset"] = dice.below(4), dice.below(3)
    if dice.once_in(4):
        spec["order"] = _order(dice, _sortable(types), 1, 2)
    return spec


# -- changes -------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """A write: rows to upsert, values to set in one row, or ids to delete; `bad` is the error that it must raise."""

    kind: str
    ids: list[str]
    rows: list[dict[str, Any]]
    bad: type[Exception] | None = None


def change(dice: Dice, world: World, rows: Sequence[dict[str, Any]]) -> Change:
    """A change of these rows: mostly of some that exist, often one that leaves a row as it is or almost so."""
    kind = dice.pick(("upsert", "upsert", "upsert", "set", "set", "delete", "swap", "twin"))
    if kind == "delete":
        return Change(kind, dice.subset(OBJECT_IDS, 0, 4), [])
    if kind == "set":
        one = dice.pick(rows)["object_id"] if rows and not dice.once_in(6) else dice.pick(OBJECT_IDS)
        return Change(kind, [one], *_spoilt(dice, world, [row(dice, world.fields, rows)]))
    unique = [field.name for field in world.fields if field.unique]
    if kind == "swap" and unique and len(rows) > 1:
        name, one, other = dice.pick(unique), dice.pick(rows), dice.pick(rows)
        return Change("upsert", [], [{**one, name: other[name]}, {**other, name: one[name]}])
    if kind == "twin" and rows:
        mixed = {name for name, dtype in world.types().items() if dtype in {from_spec("json"), from_spec("array")}}
        one = dice.pick(rows)
        return Change("upsert", [], [{name: _twin(held) if name in mixed else held for name, held in one.items()}])
    return Change("upsert", [], *_spoilt(dice, world, dice.some(1, 4, lambda: _upserted(dice, world, rows))))


def _twin(held: Any) -> Any:
    """A value that equals the given one in Python and isn't the same."""
    if is_dict(held):
        return {key: _twin(one) for key, one in held.items()}
    if is_pure_list(held):
        return [_twin(one) for one in held]
    if isinstance(held, bool):
        return int(held)
    if isinstance(held, int):
        return float(held) if float(held) == held else held
    return int(held) if isinstance(held, float) and held.is_integer() and abs(held) < 2**63 else held


def _upserted(dice: Dice, world: World, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if rows and dice.once_in(4):
        return dict(dice.pick(rows))
    made = row(dice, world.fields, rows)
    if made.get("name") is None or not dice.once_in(2):
        made["object_id"] = dice.pick(OBJECT_IDS)
    return made


def _spoilt(
    dice: Dice, world: World, rows: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], type[Exception] | None]:
    """The rows, now and then with something in them that must be refused."""
    if not dice.once_in(10):
        return rows, None
    spoilt = dice.pick(rows)
    kind = dice.below(3)
    if kind == 0:
        spoilt["nothing"] = 1
        return rows, UnknownField
    name = dice.pick(world.fields).name
    if kind == 1:
        spoilt[name] = object()
        return rows, InvalidType
    spoilt["name"] = "x" * 256
    return rows, InvalidValue
