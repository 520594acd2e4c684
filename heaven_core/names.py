"""The naming rules: what an identifier and a field name may look like.

One rule for the ids of workspaces, entities and extensions, so that any of them
fits into a file name, a table name, a URL and a configuration key unquoted.

Not here: which names are taken or reserved; the schema and the registries know.
"""

from __future__ import annotations

import keyword
import re

from heaven_core.errors import InvalidName, shown

MAX_LENGTH = 63
"""The longest name, in characters; PostgreSQL cuts longer ones silently."""

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_ENDS = _LETTERS | frozenset("0123456789")
_ALLOWED = _ENDS | frozenset("-_")

_IDENTIFIER_RULE = (
    f"must be 1 to {MAX_LENGTH} characters from a-z, 0-9, '-' and '_', "
    "starting with a letter and ending with a letter or a digit"
)
_FIELD_RULE = (
    f"must be 1 to {MAX_LENGTH} characters from A-Z, a-z, 0-9 and '_', starting with a letter, and no Python keyword"
)


def check_identifier(value: object, what: str = "identifier") -> str:
    """`value` itself if it is a valid id of a workspace, an entity or an extension.

    `what` says in the message which id it is, as in ``"workspace id"``.

    Raises:
        InvalidName: any other string, and anything that isn't one.
    """
    if isinstance(value, str) and _is_identifier(value):
        return value
    raise InvalidName(f"{what} {shown(value)} {_IDENTIFIER_RULE}{_example(value)}", value=value, what=what)


def check_field_name(value: object) -> str:
    """`value` itself if it can name a field: an ASCII identifier that Python code can write.

    Raises:
        InvalidName: any other string, and anything that isn't one.
    """
    if isinstance(value, str) and _is_field_name(value):
        return value
    raise InvalidName(f"field name {shown(value)} {_FIELD_RULE}", value=value, what="field name")


def kebab_case(name: str) -> str:
    """The identifier that a class name suggests: ``AuditLog`` gives ``audit-log``.

    A run of capitals is one word (``HTTPServer`` gives ``http-server``), a digit
    belongs to the word before it (``Doc2`` gives ``doc2``). The result isn't checked.
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", "-", name)
    return words.strip("-").lower()


def _is_identifier(text: str) -> bool:
    return 0 < len(text) <= MAX_LENGTH and text[0] in _LETTERS and text[-1] in _ENDS and _ALLOWED.issuperset(text)


def _is_field_name(text: str) -> bool:
    return (
        0 < len(text) <= MAX_LENGTH
        and text.isascii()
        and text.isidentifier()
        and text[0] != "_"
        and not keyword.iskeyword(text)
    )


def _example(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_LENGTH:
        return ""
    near = re.sub(r"[^a-z0-9_]+", "-", kebab_case(value)).strip("-_0123456789")
    return f"; for example {near!r}" if _is_identifier(near) else ""
