"""Folding and tokenising: the text that `ilike` compares and the words that `match` finds.

Engines disagree about case, accents and what a word is, so HeavenBase does it here
and gives them the outcome: an engine whose tokenizer knows nothing but ASCII indexes
`index_text(text)` and finds exactly `tokens(text)`. The character data is that of the
running Python; an engine that keeps such indexes stores `index_version()` with them,
and makes them anew at opening where it differs.

Texts hold no lone surrogates and no NUL: values are checked before they come here.

Not here: wildcards (`heaven_core.patterns`), ranking, any engine's index.
"""

from __future__ import annotations

from collections.abc import Collection

MAX_TOKEN = 255
"""Code points in the longest token; a longer run of word characters is cut into several tokens."""

_RULES = 1  # raise it with every change here that makes different tokens
_TABLE_SIZE = 1 << 16

_ASCII: dict[int, str] = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}

# Han, Hiragana and Katakana are written without spaces. Whole blocks, which newer versions of Unicode only fill up.
_LONE_BLOCKS = (
    (0x3005, 0x3007),  # iteration mark and ideographic zero, among CJK punctuation
    (0x3021, 0x3029),
    (0x3038, 0x303C),
    (0x3041, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)
_INVISIBLE_MARKS = frozenset((0x034F, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, *range(0xFE00, 0xFE10)))
_ZERO_WIDTH_SPACE = "\u200b"


def unicode_version() -> str:
    """The version of the character data that folds and tokenises here, such as ``"15.0.0"``."""
    from unicodedata import unidata_version

    return unidata_version


def index_version() -> str:
    """What an index over folded text or tokens was built with; another value means that it must be rebuilt."""
    return f"{_RULES}-{unicode_version()}"


def fold(text: str) -> str:
    """The text without differences of case, as `ilike` compares it; folding twice changes nothing.

    Normalised to NFC first, so that composed and decomposed spellings fold alike, and again
    afterwards, because full case folding takes some characters apart (U+01F0 becomes ``j`` and
    a caron). The length may change: U+00DF becomes ``ss``.
    """
    if text.isascii():
        return text.lower()
    from unicodedata import normalize

    return normalize("NFC", normalize("NFC", text).casefold())


def tokens(text: str) -> list[str]:
    """The words of a text in order, repeats included, folded and without diacritics.

    A token is a run of at most `MAX_TOKEN` word characters (`str.isalnum`, and the vowel signs
    of scripts that spell with combining marks) or one Han, Hiragana or Katakana character.
    Everything else separates. The tokens of tokens joined by a space are those tokens.
    """
    spaced = _spaced(text)
    words = spaced.split()
    if len(spaced) > MAX_TOKEN and max(map(len, words), default=0) > MAX_TOKEN:
        return [word[at : at + MAX_TOKEN] for word in words for at in range(0, len(word), MAX_TOKEN)]
    return words


def index_text(text: str) -> str:
    """What to give a tokenizer that splits at ASCII non-alphanumerics and lowers ASCII letters.

    Its tokens are then `tokens(text)`. ASCII text is passed through: such a tokenizer needs no help with it.
    """
    if text.isascii() and not _may_hold_long_run(text):
        return text
    return " ".join(tokens(text))


def matches(query_tokens: Collection[str], text: str) -> bool:
    """Whether each of the query's tokens is among the text's; a query without tokens matches nothing."""
    if not query_tokens:
        return False
    if text.isascii():
        lowered = text.lower()
        if not all(token in lowered for token in query_tokens):  # much cheaper than tokenising, and mostly enough
            return False
    return set(tokens(text)).issuperset(query_tokens)


def _may_hold_long_run(text: str) -> bool:
    # A run longer than MAX_TOKEN covers at least one whole block of half that length, wherever it starts.
    if len(text) <= MAX_TOKEN:
        return False
    half = (MAX_TOKEN + 1) // 2
    return any(text[at : at + half].isalnum() for at in range(0, len(text) - half + 1, half))


def _spaced(text: str) -> str:
    """The text with its word characters folded and everything else made a space."""
    if text.isascii():
        return text.translate(_ASCII)
    from unicodedata import normalize

    # Composed again at the end: dropping a mark can bring two characters together that compose.
    return normalize("NFC", normalize("NFC", text).translate(_FORMS))


class _Forms(dict[int, str]):
    """What each code point of NFC text becomes, worked out at its first use."""

    def __missing__(self, code: int) -> str:
        if len(self) >= _TABLE_SIZE:  # a text of every code point there is must not stay in memory
            self.clear()
        form = self[code] = _form(chr(code))
        return form


_FORMS = _Forms(_ASCII)


def _form(char: str) -> str:
    from unicodedata import normalize

    letters = "".join(part for part in normalize("NFD", char.casefold()) if not _is_dropped(part))
    return "".join(map(_placed, normalize("NFC", letters)))


def _placed(char: str) -> str:
    from unicodedata import category

    if char.isalnum():
        return f" {char} " if _stands_alone(ord(char)) else char
    return char if category(char) in ("Mn", "Mc") else " "


def _stands_alone(code: int) -> bool:
    return any(first <= code <= last for first, last in _LONE_BLOCKS)


def _is_dropped(char: str) -> bool:
    """Whether a character is invisible or a diacritic, so that a word is the same word without it.

    Marks of the combining classes 1, 10 to 36 and from 200 are overlays, Hebrew and Arabic points and
    accents. The others (vowel signs, viramas, nuktas, the voicing marks of kana) make another word.
    """
    from unicodedata import category, combining

    kind = category(char)
    if kind == "Cf":
        return char != _ZERO_WIDTH_SPACE
    if kind not in ("Mn", "Mc", "Me"):
        return False
    rank, code = combining(char), ord(char)
    return kind == "Me" or rank == 1 or 10 <= rank <= 36 or rank >= 200 or _is_invisible_mark(code)


def _is_invisible_mark(code: int) -> bool:
    return code in _INVISIBLE_MARKS or 0xE0100 <= code <= 0xE01EF
