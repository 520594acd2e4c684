"""What the reference pages show: one small example for each type, operation, strategy and hook.

Here are only its parts, as source code; `tests/docs/reference.py` makes a program and a page of them.
Whatever is new needs an entry here, or no page of it can be made.
"""

from __future__ import annotations

from typing import NamedTuple


class TypeExample(NamedTuple):
    """A field of a type, a value that it takes, and one that it refuses."""

    dtype: str
    value: str
    refused: str
    imports: str = ""


class OpExample(NamedTuple):
    """A field `value`, what three rows and one without a value hold, and a question about it."""

    dtype: str
    values: str
    asked: str
    imports: str = ""


class StrategyExample(NamedTuple):
    """A field `value` that is stored so, the value of one row, and a question that explain is asked about."""

    dtype: str
    value: str
    asked: str


TYPES = {
    "identifier": TypeExample("hb.Identifier", '"isbn-0261103571"', "1"),
    "short-text": TypeExample("hb.ShortText(40)", '"The Wind"', '"long " * 10'),
    "medium-text": TypeExample("hb.MediumText", '"A woman alone\\nwith the wind."', 'b"bytes"'),
    "long-text": TypeExample("hb.LongText", '"Chapter one. " * 3', '["lines"]'),
    "integer": TypeExample("hb.Integer", "2**63 - 1", "1.5"),
    "float": TypeExample("hb.Float", "0.1", 'float("nan")'),
    "boolean": TypeExample("hb.Boolean", "True", "1"),
    "categorical": TypeExample('hb.Categorical(["drama", "comedy"])', '"comedy"', '"comdy"'),
    "timestamp": TypeExample(
        "hb.Timestamp", '"2024-02-29T12:00:00+05:45"', "datetime(2024, 2, 29)", "from datetime import datetime"
    ),
    "date": TypeExample("hb.Date", "date(2024, 2, 29)", '"29.2.2024"', "from datetime import date"),
    "duration": TypeExample("hb.Duration", "timedelta(minutes=90)", "90", "from datetime import timedelta"),
    "array": TypeExample("hb.Array[hb.ShortText]", '["Keaton", "Mack"]', '["Keaton", None]'),
    "vector": TypeExample("hb.Vector[3]", "[1, 0.5, 0]", "[1.0, 0.5]"),
    "json": TypeExample("hb.Json", '{"reels": 8, "cast": ["Keaton"]}', '{"reels": {1, 2}}'),
    "artifact": TypeExample("hb.Artifact", 'b"\\x89PNG"', '"a text"'),
}

_TITLES = '"The Wind", "The Gold Rush", "Wings"'
_YEARS = "1928, 1925, 1927"
_CASTS = '["Gish"], ["Chaplin", "Hale"], ["Bow", "Hale"]'
_BOOKS = '{"by": {"name": "Ada"}}, {"by": {"name": "Ben"}}, {"by": {}}'

OPS = {
    "eq": OpExample("hb.ShortText", _TITLES, 'Thing.value == "Wings"'),
    "ne": OpExample("hb.ShortText", _TITLES, 'Thing.value != "Wings"'),
    "lt": OpExample("hb.Integer", _YEARS, "Thing.value < 1927"),
    "lte": OpExample("hb.Integer", _YEARS, "Thing.value <= 1927"),
    "gt": OpExample(
        "hb.Date",
        "date(1928, 11, 3), date(1925, 6, 26), date(1927, 8, 12)",
        "Thing.value > date(1927, 1, 1)",
        "from datetime import date",
    ),
    "gte": OpExample("hb.Integer", _YEARS, "Thing.value >= 1927"),
    "in": OpExample("hb.Integer", _YEARS, "Thing.value.in_([1925, 1926, None])"),
    "between": OpExample("hb.Integer", _YEARS, "Thing.value.between(1925, 1927)"),
    "is_null": OpExample("hb.Integer", _YEARS, "Thing.value.is_null()"),
    "match": OpExample(
        "hb.LongText", '"Crème brûlée", "Ice cream", "A crème of ice"', 'Thing.value.match("creme ICE")'
    ),
    "like": OpExample("hb.ShortText", _TITLES, 'Thing.value.like("W_ng%")'),
    "ilike": OpExample("hb.ShortText", _TITLES, 'Thing.value.ilike("the %")'),
    "contains": OpExample("hb.ShortText", _TITLES, 'Thing.value.contains("Win")'),
    "starts_with": OpExample("hb.ShortText", _TITLES, 'Thing.value.starts_with("The ")'),
    "ends_with": OpExample("hb.ShortText", _TITLES, 'Thing.value.ends_with("ind")'),
    "regex": OpExample("hb.ShortText", _TITLES, 'Thing.value.regex("^[A-Z][a-z]+$")'),
    "array_contains": OpExample("hb.Array[hb.ShortText]", _CASTS, 'Thing.value.array_contains("Hale")'),
    "array_overlaps": OpExample("hb.Array[hb.ShortText]", _CASTS, 'Thing.value.array_overlaps(["Gish", "Bow"])'),
    "contained_in": OpExample("hb.Array[hb.ShortText]", _CASTS, 'Thing.value.contained_in(["Gish", "Hale", "Bow"])'),
    "get": OpExample("hb.Json", _BOOKS, 'Thing.value["by"]["name"] == "Ada"'),
    "near": OpExample("hb.Vector[2]", "[1, 0], [0, 1], [1, 1]", 'near(Thing.value, [2, 1], top_k=2, metric="l2")'),
    "count": OpExample("hb.Integer", _YEARS, "Thing.value.count()"),
    "sum": OpExample("hb.Integer", "1, 2, 3", "Thing.value.sum()"),
    "avg": OpExample("hb.Integer", "1, 2, 6", "Thing.value.avg()"),
    "min": OpExample("hb.ShortText", _TITLES, "Thing.value.min()"),
    "max": OpExample("hb.ShortText", _TITLES, "Thing.value.max()"),
    "median": OpExample("hb.Integer", "1, 2, 9", "Thing.value.median()"),
    "percentile": OpExample("hb.Integer", "0, 10, 20", "Thing.value.percentile(75)"),
    "value_counts": OpExample("hb.ShortText", '"comedy", "drama", "comedy"', "Thing.value.value_counts()"),
}

STRATEGIES = {
    "inline": StrategyExample("hb.Integer", "1928", "Thing.value > 1925"),
    "json": StrategyExample("hb.Json", '{"reels": 8}', 'Thing.value["reels"] == 8'),
    "side": StrategyExample("hb.Array[hb.ShortText]", '["Gish"]', 'Thing.value.array_contains("Gish")'),
    "external": StrategyExample("hb.Artifact", 'b"\\x89PNG"', "~Thing.value.is_null()"),
    "inverted": StrategyExample("hb.LongText", '"A woman alone with the wind."', 'Thing.value.match("wind")'),
    "suffix-index": StrategyExample("hb.ShortText", '"www.example.org"', 'Thing.value.ends_with(".org")'),
    "trigram-index": StrategyExample("hb.ShortText", '"www.example.org"', 'Thing.value.contains("example")'),
    "vector": StrategyExample("hb.Vector[2]", "[1, 0]", "near(Thing.value, [1, 1])"),
}

HOOKS = {
    "heaven_contribute": """\
class Searched:
    @hb.ext.hookimpl
    def heaven_contribute(self, registrar):
        registrar.storage_profile("searched", self.profile)

    def profile(self, field, backends):
        if field.dtype.identifier == "long-text":
            return hb.ext.StoreChoice(strategy="inverted")


class Letter(hb.Entity):
    text = hb.field(hb.LongText)


hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("searched"), plugin=Searched()))

with hb.HeavenBase("reference", preset="debug") as ws:
    ws.enable_extension("searched")
    ws.register(Letter)
    plan = ws.query(Letter).where(Letter.text.match("dear")).explain()
    print(json.dumps(plan.to_dict()["placement"]["text"]))
""",
    "heaven_commands": """\
class Letters:
    @hb.ext.hookimpl
    def heaven_commands(self):
        return {"letters": "hb_letters.commands:letters"}


from heaven_core.hooks import commands_of

print(json.dumps(commands_of(Letters())))
""",
    "heaven_before_write": """\
class Guard:
    @hb.ext.hookimpl
    def heaven_before_write(self, write):
        if write.kind == "delete":
            raise PermissionError("letters stay")
        print(json.dumps({"entity": write.entity, "kind": write.kind, "text": list(write.columns["text"])}))


class Letter(hb.Entity):
    text = hb.field(hb.ShortText)


hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("guard"), plugin=Guard()))

with hb.HeavenBase("reference", preset="debug") as ws:
    ws.enable_extension("guard")
    ws.register(Letter)
    letter = ws.upsert(Letter, {"text": "Dear Ada"})
    try:
        ws.delete(letter)
    except PermissionError as error:
        print(error)
    assert ws.exists(letter)
""",
    "heaven_after_commit": """\
class Journal:
    @hb.ext.hookimpl
    def heaven_after_commit(self, commit):
        for change in commit.changes:
            counts = {kind: len(getattr(change, kind)) for kind in ("inserted", "updated", "deleted")}
            print(json.dumps({"entity": change.entity, **counts}))


class Letter(hb.Entity):
    text = hb.field(hb.ShortText)


hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("journal"), plugin=Journal()))

with hb.HeavenBase("reference", preset="debug") as ws:
    ws.enable_extension("journal")
    ws.register(Letter)
    letter = ws.upsert(Letter, {"text": "Dear Ada"})
    ws.upsert(Letter, {"object_id": letter, "text": "Dear Ada"})
    ws.delete(letter)
""",
}
