"""Logical types: what a field means, whatever engine holds it.

A type checks values one at a time (`check`) or a column at a time
(`check_column`, the bulk path), and gives them a JSON form for specs. A checked
value is *canonical*: equal values look alike in every engine (UTC timestamps, no
negative zero, tuples as lists). Nothing is coerced silently: what a type does
not accept is `Refused`, and the caller turns that into an error with entity,
field and row.

Not here: how an engine stores a value (`heaven_core.codecs`), which operations a
type has (`heaven_core.ops`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any, ClassVar, Generic, TypeGuard, TypeVar, cast

from heaven_core.errors import SchemaError, a_kind
from heaven_core.narrow import is_dict, is_list, is_mapping, is_pure_list
from heaven_core.plain import (
    INT_MAX,
    INT_MIN,
    MAX_JSON_DEPTH,
    are_plain_floats,
    are_plain_scalars,
    are_plain_texts,
    is_plain_json,
)

T_co = TypeVar("T_co", covariant=True)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Refused(Exception):
    """A value that its type does not accept; `reason` completes "<value> ...".

    `wrong_type` tells a wrong Python type from a bad value of the right one;
    `index` is the position in a column, `value` the culprit.
    """

    def __init__(self, reason: str, *, wrong_type: bool = False, index: int | None = None, value: Any = ...) -> None:
        super().__init__(reason)
        self.reason, self.wrong_type, self.index, self.part = reason, wrong_type, index, value
        self.value = None if value is ... else value

    def about(self, value: Any) -> str:
        """The reason as said of `value`, which is the culprit or a collection that holds it."""
        if self.part is ... or self.part is value or not (is_list(value) or is_dict(value)):
            return self.reason
        from heaven_core.errors import shown

        return f"holds {shown(self.part)}, which {self.reason}"


class LogicalType(Generic[T_co]):
    """The root of all logical types; equal and hashable by what it is.

    A type of your own subclasses the nearest built-in one, sets `identifier`,
    narrows `check`, and inherits storage, operations and handlers. Then
    `heavenbase.ext.register_logical_type(YourType)`.
    """

    identifier: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    desc: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    """How it is stored: text, integer, float, boolean, timestamp, date, duration, array, json, vector, bytes."""
    traits: ClassVar[frozenset[str]] = frozenset()
    """Families of operations that it has, see `heaven_core.ops`."""
    exact: ClassVar[type] = object
    """The one Python class of canonical values; others take the slow path."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "check" in cls.__dict__ and "check_column" not in cls.__dict__:
            cls.check_column = cls.check_each  # an inherited fast path would pass a narrower check by

    def params(self) -> dict[str, Any]:
        """What this instance was made with, as JSON data."""
        return {}

    def spec(self) -> dict[str, Any]:
        """The JSON form: `{"type": identifier, **params}`."""
        return {"type": self.identifier, **self.params()}

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> LogicalType[Any]:
        """The instance that `params()` described."""
        return cls(**params)

    def check(self, value: Any) -> Any:
        """The canonical form of one non-null value, or `Refused`."""
        raise NotImplementedError

    def check_argument(self, value: Any) -> Any:
        """The canonical form of a value to compare with: like `check`, without limits of size."""
        return self.check(value)

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        """The canonical forms of a column; None stays None. The same object if nothing changed."""
        return self.check_each(column)

    def check_each(self, column: Sequence[Any]) -> Sequence[Any]:
        """`check` on each value: what `check_column` falls back to."""
        checked: list[Any] = []
        for index, value in enumerate(column):
            try:
                checked.append(None if value is None else self.check(value))
            except Refused as refused:
                refused.index, refused.value = index, value
                raise
        return checked

    def to_json(self, value: Any) -> Any:
        """A canonical value as JSON data."""
        return value

    def from_json(self, value: Any) -> Any:
        """The value that `to_json` wrote; like `check`, with the JSON spelling allowed."""
        return self.check(value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.params() == self.params()

    def __hash__(self) -> int:
        return hash((type(self), repr(self.params())))

    def __repr__(self) -> str:
        args = ", ".join(f"{value!r}" for value in self.params().values())
        return f"{type(self).__name__}({args})" if args else type(self).__name__


def _plain(value: Any) -> Any:
    """A numpy scalar as the text, number or boolean it stands for; anything else, such as an array, as it is."""
    numpy: Any = sys.modules.get("numpy")  # whoever made such a value has imported it
    if numpy is None or not isinstance(value, numpy.generic) or value.dtype.kind not in _NUMPY_KINDS:
        return value
    return value.item()


_NUMPY_KINDS = frozenset("biufU")
"""Booleans, whole numbers, floats, texts. A moment of numpy would come as a number."""


def wrong_kind(value: Any, takes: str) -> Refused:
    """The refusal of a value whose class is another one."""
    return Refused(f"is {a_kind(value)}; takes {takes}", wrong_type=True, value=value)


def check_text(value: Any, max_chars: int | None = None) -> str:
    """`value` as a plain str that every engine can hold: no NUL, no lone surrogate."""
    if type(value) is not str:
        value = _plain(value)
        if not isinstance(value, str):
            raise wrong_kind(value, "text (str)")
        value = str.__str__(value)
    if max_chars is not None and len(value) > max_chars:
        raise Refused(f"has {len(value)} characters; at most {max_chars} fit", value=value)
    if "\0" in value:
        raise Refused("holds a NUL character, which not every engine can store", value=value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused("holds a lone surrogate, which is no valid Unicode text", value=value) from None
    return value


class _Text(LogicalType[str]):
    """What all texts share.

    Args:
        max_chars: how many characters (code points) fit, if not as many as the type says.
    """

    kind = "text"
    traits = frozenset({"scalar", "equal", "order", "text", "fulltext"})
    exact = str
    default_chars: ClassVar[int] = 255

    def __init__(self, max_chars: int | None = None) -> None:
        limit = self.default_chars if max_chars is None else max_chars
        if type(limit) is not int or not 0 < limit <= 2**31:
            raise SchemaError(f"{type(self).__name__} takes a positive number of characters, not {limit!r:.40}")
        self.max_chars = limit

    def params(self) -> dict[str, Any]:
        return {} if self.max_chars == self.default_chars else {"max_chars": self.max_chars}

    def check(self, value: Any) -> str:
        return check_text(value, self.max_chars)

    def check_argument(self, value: Any) -> str:
        return check_text(value)

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        present = column if set(map(type, column)) == {str} else [value for value in column if value is not None]
        if not present:
            return column
        if set(map(type, present)) != {str} or max(map(len, present)) > self.max_chars:
            return self.check_each(column)
        return column if are_plain_texts(present) else self.check_each(column)


class Identifier(_Text):
    """A short key, such as an object_id: at most 63 characters."""

    identifier, aliases, desc, default_chars = "identifier", ("Identifier", "id"), "a key of at most 63 characters", 63
    traits = frozenset({"scalar", "equal", "order", "text"})


class ShortText(_Text):
    """Text of at most 255 characters, or `ShortText(n)`."""

    identifier, aliases, desc, default_chars = "short-text", ("ShortText", "text"), "text, at most 255 characters", 255


class MediumText(_Text):
    """Text of at most 4 095 characters, or `MediumText(n)`."""

    identifier, aliases, desc, default_chars = "medium-text", ("MediumText",), "text, at most 4 095 characters", 4095


class LongText(_Text):
    """Text of at most 65 535 characters, or `LongText(n)`."""

    identifier, aliases, desc, default_chars = "long-text", ("LongText",), "text, at most 65 535 characters", 65535


class Categorical(_Text):
    """One of a fixed set of texts: `Categorical(["red", "green"])`.

    Args:
        values: the texts, each once and of at most 255 characters.
    """

    identifier, aliases, desc = "categorical", ("Categorical",), "one of a fixed set of texts"
    traits = frozenset({"scalar", "equal", "order", "text"})

    def __init__(self, values: Sequence[str] | None = None) -> None:
        is_bare, values = values is None, () if values is None else values  # the class alone stands for all of its kind
        if not is_list(values) or any(type(value) is not str for value in values):
            raise SchemaError("Categorical takes a list of texts")
        if not values and not is_bare:
            raise SchemaError('Categorical takes at least one text, such as Categorical(["red", "green"])')
        if len(set(values)) != len(values):
            raise SchemaError("Categorical takes each value once")
        super().__init__()
        try:
            self.values = tuple(check_text(value, self.max_chars) for value in values)
        except Refused as refused:
            raise SchemaError(f"a value of Categorical {refused.reason}") from None
        self._known = frozenset(self.values)

    def params(self) -> dict[str, Any]:
        return {"values": list(self.values)} if self.values else {}

    def check(self, value: Any) -> str:
        text = check_text(value, self.max_chars)
        if text not in self._known:
            from heaven_core.errors import did_you_mean

            raise Refused(f"is not among its values; {did_you_mean(text, self.values)}", value=value)
        return text

    def check_argument(self, value: Any) -> str:
        return self.check(value)

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        present = {value for value in column if value is not None} if set(map(type, column)) <= _TEXT_OR_NONE else None
        if present is not None and present <= self._known:
            return column
        return self.check_each(column)


_TEXT_OR_NONE = {str, type(None)}


class Integer(LogicalType[int]):
    """A whole number of 64 bits; True, 1.5 and "1" are not."""

    identifier, aliases, desc = "integer", ("Integer", "int"), "a whole number of 64 bits"
    kind, traits, exact = "integer", frozenset({"scalar", "equal", "order", "number"}), int

    def check(self, value: Any) -> int:
        if type(value) is not int:
            value = _plain(value)
            if isinstance(value, bool) or not isinstance(value, int):
                raise wrong_kind(value, "a whole number (int)")
            value = int(value)
        if not INT_MIN <= value <= INT_MAX:
            raise Refused("does not fit in 64 bits", value=value)
        return value

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        kinds = set(map(type, column))
        if kinds <= {int, type(None)}:
            present = column if len(kinds) == 1 and int in kinds else [value for value in column if value is not None]
            if not present or (INT_MIN <= min(present) and max(present) <= INT_MAX):
                return column
        return self.check_each(column)


class Float(LogicalType[float]):
    """A finite number of 64 bits; an int is taken where it converts exactly."""

    identifier, aliases, desc = "float", ("Float",), "a finite floating-point number of 64 bits"
    kind, traits, exact = "float", frozenset({"scalar", "equal", "order", "number"}), float

    def check(self, value: Any) -> float:
        if type(value) is not float:
            value = self._widened(_plain(value))
        if not math.isfinite(value):
            raise Refused("is not a finite number", value=value)
        return value + 0.0  # one zero: -0.0 + 0.0 is 0.0

    @staticmethod
    def _widened(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_kind(value, "a number (float)")
        try:
            number = float(value)
        except OverflowError:
            raise Refused("does not fit in a 64-bit float", value=value) from None
        if isinstance(value, int) and int(number) != value:
            raise Refused("is an int that no 64-bit float equals", value=value)
        return number

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        kinds = set(map(type, column))
        if kinds <= {float, type(None)}:
            present = column if type(None) not in kinds else [value for value in column if value is not None]
            if are_plain_floats(present):
                return column
        return self.check_each(column)


class Boolean(LogicalType[bool]):
    """True or False; 0 and 1 are not."""

    identifier, aliases, desc = "boolean", ("Boolean", "bool"), "true or false"
    kind, traits, exact = "boolean", frozenset({"scalar", "equal"}), bool

    def check(self, value: Any) -> bool:
        if type(value) is bool:
            return value
        value = _plain(value)
        if type(value) is not bool:
            raise wrong_kind(value, "True or False")
        return value

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        return column if set(map(type, column)) <= {bool, type(None)} else self.check_each(column)


class Timestamp(LogicalType[datetime]):
    """A moment with a time zone, kept to the microsecond and given back in UTC.

    Takes an aware `datetime` or its ISO 8601 text with an offset.
    """

    identifier, aliases, desc = "timestamp", ("Timestamp", "datetime"), "a moment in UTC, to the microsecond"
    kind, traits, exact = "timestamp", frozenset({"scalar", "equal", "order"}), datetime

    def check(self, value: Any) -> datetime:
        if isinstance(value, str):
            value = self._parsed(value)
        if not isinstance(value, datetime) or value != value:  # noqa: PLR0124  # pandas' NaT passes for a datetime
            raise wrong_kind(value, "an aware datetime or its ISO 8601 text")
        if value.utcoffset() is None:
            raise Refused("has no time zone; add one, for instance tzinfo=timezone.utc", value=value)
        try:
            moment = value.astimezone(UTC)
        except OverflowError:
            raise Refused("lies outside the years 1 to 9999 in UTC", value=value) from None
        if type(moment) is not datetime:
            moment = EPOCH + (moment - EPOCH)
        return moment.replace(fold=0)

    @staticmethod
    def _parsed(text: str) -> datetime:
        import re

        if re.search(r"[.,]\d{7}", text):  # Python would cut it without a word
            raise Refused("has more digits of a second than the six that are kept; round it first", value=text)
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            raise Refused("is no ISO 8601 date and time", value=text) from None

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        kinds = set(map(type, column))
        if kinds <= {datetime, type(None)} and all(
            value is None or (value.tzinfo is UTC and not value.fold) for value in column
        ):
            return column
        return self.check_each(column)

    def to_json(self, value: Any) -> Any:
        return value.isoformat()


class Date(LogicalType[date]):
    """A day of the calendar; takes a `date` (not a datetime) or "YYYY-MM-DD"."""

    identifier, aliases, desc = "date", ("Date",), "a calendar day"
    kind, traits, exact = "date", frozenset({"scalar", "equal", "order"}), date

    def check(self, value: Any) -> date:
        if type(value) is date:
            return value
        if isinstance(value, str):
            return self._parsed(value)
        if isinstance(value, datetime) or not isinstance(value, date):
            raise wrong_kind(value, 'a date or "YYYY-MM-DD"')
        return date(value.year, value.month, value.day)

    @staticmethod
    def _parsed(text: str) -> date:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            day = None
        if day is None or day.isoformat() != text:  # Python reads weeks and bare digits as well
            raise Refused("is no date written YYYY-MM-DD", value=text)
        return day

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        return column if set(map(type, column)) <= {date, type(None)} else self.check_each(column)

    def to_json(self, value: Any) -> Any:
        return value.isoformat()


class Duration(LogicalType[timedelta]):
    """A span of time to the microsecond; takes a `timedelta` or "PT1.5S" text."""

    identifier, aliases, desc = "duration", ("Duration", "timedelta"), "a span of time, to the microsecond"
    kind, traits, exact = "duration", frozenset({"scalar", "equal", "order"}), timedelta

    def check(self, value: Any) -> timedelta:
        if isinstance(value, str):
            value = self._parsed(value)
        if not isinstance(value, timedelta):
            raise wrong_kind(value, 'a timedelta or ISO 8601 text such as "PT90S"')
        if not INT_MIN <= value // MICROSECOND <= INT_MAX:
            raise Refused("does not fit in 64 bits of microseconds", value=value)
        return value if type(value) is timedelta else timedelta(value.days, value.seconds, value.microseconds)

    @staticmethod
    def _parsed(text: str) -> timedelta:
        import re

        form = r"(-)?P(?:(\d{1,18})D)?(?:T(?:(\d{1,18})H)?(?:(\d{1,18})M)?(?:(\d{1,18})(?:\.(\d{1,6}))?S)?)?"
        found = re.fullmatch(form, text, re.ASCII)
        if found is None or not any(found.groups()[1:]):
            raise Refused("is no ISO 8601 duration of days, hours, minutes and seconds", value=text)
        sign, days, hours, minutes, seconds, fraction = found.groups()
        micro = int((fraction or "").ljust(6, "0"))
        try:
            span = timedelta(int(days or 0), int(seconds or 0), micro, 0, int(minutes or 0), int(hours or 0))
        except OverflowError:
            raise Refused("is longer than a timedelta can be", value=text) from None
        return -span if sign else span

    def to_json(self, value: Any) -> Any:
        total = abs(value // MICROSECOND)
        sign = "-" if value < timedelta(0) else ""
        days, rest = divmod(total, 86_400_000_000)
        seconds, micro = divmod(rest, 1_000_000)
        return f"{sign}P{days}DT{seconds}.{micro:06d}S"


def check_scalar(value: Any) -> Any:
    """`value` as an item of an untyped Array: text, a 64-bit int, a finite float or a bool."""
    if type(value) is bool:
        return value
    if isinstance(value, str):
        return check_text(value)
    plain = _plain(value)
    if isinstance(plain, bool):
        return plain
    if isinstance(plain, int):
        return _INTEGER.check(plain)
    if isinstance(plain, float):
        return _FLOAT.check(plain)
    raise wrong_kind(value, "text, a number or a boolean")


def _items(value: Any) -> Sequence[Any]:
    """The items of a list, a tuple or a numpy vector."""
    if is_list(value):
        return value
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 0) == 1:
        return value.tolist() if value.dtype.kind in _NUMPY_KINDS else list(value)
    raise wrong_kind(value, "a list")


class Array(LogicalType[list[Any]]):
    """An ordered list of items of one scalar type: `Array[ShortText]`; bare `Array` takes any JSON scalar.

    Args:
        item: the type of the items, which is scalar; without one an item is text, a 64-bit whole
            number, a finite float or a Boolean.
    """

    identifier, aliases, desc = "array", ("Array", "list"), "an ordered list of scalar items"
    kind, traits, exact = "array", frozenset({"equal", "array"}), list

    def __init__(self, item: Any = None) -> None:
        self.item: LogicalType[Any] | None = None if item is None else as_type(item)
        if self.item is not None and self.item.kind in {"array", "json", "vector", "bytes"}:
            raise SchemaError(f"Array takes a scalar item type, not {self.item!r}; use Json for nested data")

    def __class_getitem__(cls, item: Any) -> Any:
        return cls(item)

    def params(self) -> dict[str, Any]:
        return {} if self.item is None else {"item": self.item.spec()}

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Array:
        return cls(**{key: from_spec(value) if key == "item" else value for key, value in params.items()})

    def check_item(self, value: Any) -> Any:
        """One item in canonical form."""
        if value is None:
            raise Refused("is null; an Array holds no nulls", wrong_type=True, value=value)
        return check_scalar(value) if self.item is None else self.item.check(value)

    def check(self, value: Any) -> list[Any]:
        items = _items(value)
        if self.item is not None and set(map(type, items)) == {self.item.exact}:
            return list(self.item.check_column(items))
        return [self.check_item(item) for item in items]

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        if set(map(type, column)) <= {list, type(None)}:
            items = list(chain.from_iterable(value for value in column if value is not None))
            if self._are_plain(items):
                return column
        return self.check_each(column)

    def _are_plain(self, items: list[Any]) -> bool:
        """Whether all the items are in canonical form already."""
        if self.item is None:
            return are_plain_scalars(items) and None not in items
        try:
            return set(map(type, items)) <= {self.item.exact} and self.item.check_column(items) is items
        except Refused:  # its position in the row is found by going through the rows
            return False

    def to_json(self, value: Any) -> Any:
        return list(value) if self.item is None else [self.item.to_json(item) for item in value]

    def from_json(self, value: Any) -> Any:
        return self.check(value)

    def __repr__(self) -> str:
        return "Array" if self.item is None else f"Array[{self.item!r}]"


class Vector(LogicalType[list[float]]):
    """A point of `n` 32-bit floats: `Vector[n]` or `Vector(n)`.

    Args:
        dim: how many numbers each vector has, from 1 to 65536; without it, each may have its own.
    """

    identifier, aliases, desc = "vector", ("Vector", "embedding"), "n 32-bit floats, searched by nearness"
    kind, traits, exact = "vector", frozenset({"vector"}), list

    def __init__(self, dim: int | None = None) -> None:
        if dim is not None and (type(dim) is not int or not 0 < dim <= 65536):
            raise SchemaError(f"Vector takes a dimension from 1 to 65536, not {dim!r:.40}")
        self.dim = dim

    def __class_getitem__(cls, dim: Any) -> Any:
        return cls(dim)

    def params(self) -> dict[str, Any]:
        return {} if self.dim is None else {"dim": self.dim}

    def check(self, value: Any) -> list[float]:
        from array import array

        if not is_list(value):
            value = self._listed(value)
        if self.dim is not None and len(value) != self.dim:
            raise Refused(f"has {len(value)} dimensions; the field has {self.dim}", value=value)
        if not set(map(type, value)) <= {float, int}:
            value = [_FLOAT.check(number) for number in value]
        try:
            rounded = array("f", value).tolist()
        except (OverflowError, TypeError):
            raise Refused("holds a number that no 32-bit float can hold", value=value) from None
        if not math.isfinite(sum(rounded)) and not all(map(math.isfinite, rounded)):
            raise Refused("holds NaN, an infinity or a number beyond 32-bit floats", value=value)
        return rounded

    @staticmethod
    def _listed(value: Any) -> list[Any] | tuple[Any, ...]:
        """The numbers of an array of numpy, pandas or another library; a moment of theirs is no number."""
        kind = getattr(getattr(value, "dtype", None), "kind", None)
        items = value.tolist() if hasattr(value, "tolist") and kind not in {"M", "m"} else value
        if not is_list(items):
            raise wrong_kind(items, "a list of numbers")
        return items

    def __repr__(self) -> str:
        return "Vector" if self.dim is None else f"Vector[{self.dim}]"


class Json(LogicalType[Any]):
    """Any JSON value: objects with text keys, lists, text, 64-bit ints, finite floats, booleans, null."""

    identifier, aliases, desc = "json", ("Json", "object"), "any JSON value"
    kind, traits, exact = "json", frozenset({"equal", "json"}), dict

    def check(self, value: Any) -> Any:
        return self._checked(value, 0)

    def check_column(self, column: Sequence[Any]) -> Sequence[Any]:
        return column if is_plain_json(column) else self.check_each(column)

    def _checked(self, value: Any, depth: int) -> Any:
        if depth > MAX_JSON_DEPTH:
            raise Refused(f"is nested deeper than {MAX_JSON_DEPTH} levels")
        if value is None:
            return None
        if is_dict(value):
            if not all(isinstance(key, str) for key in value):
                raise Refused("has a key that is not text", wrong_type=True, value=value)
            return {check_text(key): self._checked(item, depth + 1) for key, item in value.items()}
        if is_list(value):
            return [self._checked(item, depth + 1) for item in value]
        try:
            return check_scalar(value)
        except Refused as refused:
            if refused.wrong_type:
                raise wrong_kind(value, "JSON data") from None
            raise


class Artifact(LogicalType[bytes]):
    """Bytes, such as a picture or a document; kept and given back, never looked into."""

    identifier, aliases, desc = "artifact", ("Artifact", "bytes", "blob"), "bytes"
    kind, traits, exact = "bytes", frozenset(), bytes

    def check(self, value: Any) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise wrong_kind(value, "bytes")
        return bytes(cast("bytes", value))

    def to_json(self, value: Any) -> Any:
        from base64 import b64encode

        return b64encode(value).decode()

    def from_json(self, value: Any) -> Any:
        if not isinstance(value, str):
            return self.check(value)
        from base64 import b64decode

        try:
            return b64decode(value, validate=True)
        except ValueError:
            raise Refused("is no base64 text", value=value) from None


_INTEGER, _FLOAT = Integer(), Float()

BUILTIN: tuple[type[LogicalType[Any]], ...] = (
    Identifier,
    ShortText,
    MediumText,
    LongText,
    Integer,
    Float,
    Boolean,
    Categorical,
    Timestamp,
    Date,
    Duration,
    Array,
    Vector,
    Json,
    Artifact,
)

_by_name: dict[str, type[LogicalType[Any]]] = {}


def known_types() -> Mapping[str, type[LogicalType[Any]]]:
    """Identifier -> class, of the built-in types and of those registered in code."""
    if not _by_name:
        _by_name.update((cls.identifier, cls) for cls in BUILTIN)
    return _by_name


def put_type(identifier: str, cls: type[LogicalType[Any]] | None) -> None:
    """Make `cls` the type of this identifier; with None, what is built in, if anything. See `heaven_core.registry`."""
    known_types()
    found = cls or next((one for one in BUILTIN if one.identifier == identifier), None)
    if found is None:
        _by_name.pop(identifier, None)
    else:
        _by_name[identifier] = found


def type_identifiers(cls: type[LogicalType[Any]]) -> tuple[str, ...]:
    """The identifiers that serve `cls`, nearest first: its own, then those of the types it extends."""
    return tuple(base.__dict__["identifier"] for base in cls.__mro__ if base.__dict__.get("identifier"))


def is_type(given: Any) -> TypeGuard[LogicalType[Any]]:
    """Whether `given` is a logical type's instance."""
    return isinstance(given, LogicalType)


def is_type_class(given: Any) -> TypeGuard[type[LogicalType[Any]]]:
    """Whether `given` is a logical type's class."""
    return isinstance(given, type) and issubclass(given, LogicalType)


def as_type(given: Any) -> LogicalType[Any]:
    """`given` as an instance: an instance, a class, an identifier or alias, or a spec.

    Raises:
        SchemaError: it is none of these; the message says which types there are.
    """
    if is_type(given):
        return given
    if is_type_class(given):
        return given()
    if is_mapping(given):
        return from_spec(given)
    named = type_named(given)
    if named is None:
        raise _no_type(given)
    return named()


def type_named(name: Any) -> type[LogicalType[Any]] | None:
    """The type of this identifier or, for want of one, this alias; None if there is none."""
    if not isinstance(name, str):
        return None
    known = known_types()
    return known.get(name) or next((cls for cls in known.values() if name in cls.aliases), None)


def _no_type(given: Any) -> Exception:
    from heaven_core.errors import did_you_mean, shown

    python = {str: "ShortText", int: "Integer", float: "Float", bool: "Boolean", list: "Array", dict: "Json"}
    known = [cls.__name__ for cls in known_types().values()]
    if isinstance(given, type) and given in python:
        return SchemaError(f"{given.__name__} is no logical type; did you mean heavenbase.{python[given]}?")
    word = given if isinstance(given, str) else getattr(given, "__name__", shown(given))
    return SchemaError(f"{shown(word)} is no logical type; {did_you_mean(word, known)}")


def from_spec(spec: Any) -> LogicalType[Any]:
    """The type that `spec()` wrote.

    Raises:
        SchemaError: no such type, or it does not take these parameters.
    """
    if isinstance(spec, str):
        spec = {"type": spec}
    if not is_mapping(spec) or not isinstance(spec.get("type"), str):
        raise SchemaError('a type is written {"type": "short-text", ...}')
    params: dict[str, Any] = dict(spec)
    cls = type_named(params.pop("type"))
    if cls is None:
        raise _no_type(spec["type"])
    try:
        return cls.of(params)
    except TypeError:
        from heaven_core.errors import shown

        given = shown(", ".join(sorted(map(str, params))))
        raise SchemaError(f"type {cls.identifier!r} does not take {given}") from None
    except (ValueError, Refused) as error:
        raise SchemaError(f"type {cls.identifier!r}: {error}") from None


def canonical_json(value: Any) -> str:
    """`value` as the one JSON text that every engine stores: sorted keys, no spaces, no escapes for letters."""
    global _json_text
    if _json_text is None:
        _json_text = _json_encoder()
    return _json_text(value)


_json_text: Callable[[Any], str] | None = None


def _json_encoder() -> Callable[[Any], str]:
    """`json.dumps` with our options, without what it does anew in each call, where the interpreter allows it."""
    from json import encoder

    usual = encoder.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    given: Any = encoder
    sample: Any = {"b": [1, 1.5, None, True, '"\n\u00e9'], "a": {}}
    try:
        direct = given.c_make_encoder(None, usual.default, given.encode_basestring, None, ":", ",", True, False, False)
        if "".join(direct(sample, 0)) == usual.encode(sample):
            return lambda value: "".join(direct(value, 0))
    except (AttributeError, TypeError):  # another interpreter, or one whose encoder is made differently
        pass
    return usual.encode


def copied(value: Any) -> Any:
    """A copy of a canonical value that its owner may change."""
    if is_pure_list(value):
        return [copied(item) for item in value]
    if is_dict(value):
        return {key: copied(item) for key, item in value.items()}
    return value


def is_same(left: Any, right: Any) -> bool:
    """Whether a stored and a new value are the same to the last bit: 1, 1.0 and True are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, dict)):
        return left == right and _canonical_or_none(left) == _canonical_or_none(right)
    return left == right


def _canonical_or_none(value: Any) -> str | None:
    """The canonical text of JSON data; None for other collections, whose items have one type."""
    try:
        return canonical_json(value)
    except TypeError:
        return None
