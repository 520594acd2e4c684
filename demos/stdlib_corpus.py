"""The rows of the quickstart demo: what the standard library of this Python offers, read from its source files.

Here: finding the source files, reading each with `ast`, and one plain dict for each public function, class and
method. Nothing is imported, because importing some modules opens a browser or a window. Only the standard library
is needed, so the file also runs alone and prints what it found: ``python demos/stdlib_corpus.py``.

Not here: the entity that holds the rows, the workspace, the questions asked of it.
"""

from __future__ import annotations

import ast
import os
import re
import sysconfig
import time
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

LIMITS = {"name": 255, "signature": 4095, "doc": 65535, "source": 65535}
"""The most code points that each text of a row may have, the marker of a cut included."""

_NOT_WANTED = frozenset({"test", "tests", "idlelib", "lib2to3", "turtledemo"})
_PUBLISHED_AS = {os.path.__name__: "os.path"}  # posixpath or ntpath: the file that everybody knows by another name
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
_BLOCKS = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith),
    *(ast.Try, ast.TryStar, ast.ExceptHandler, ast.Match, ast.match_case),
)
_UNREADABLE = (OSError, SyntaxError, ValueError, LookupError, RecursionError, MemoryError)  # all that a bad file causes

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Definition: TypeAlias = _Function | ast.ClassDef


class Skipped(NamedTuple):
    """A module that could not be read, and why, in a few words."""

    module: str
    reason: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """What one reading of the standard library found.

    rows: one dict for each public definition, sorted by name; `read_corpus` has the keys.
    modules: how many modules were read, those without a public definition included.
    skipped: the modules that could not be read, sorted by name.
    cut: how many texts were longer than `LIMITS` allows.
    redefined: how many definitions are no rows because a later one has their name, or the name of their class.
    seconds: how long the reading took, by the wall clock.
    """

    rows: list[dict[str, Any]]
    modules: int
    skipped: list[Skipped]
    cut: int
    redefined: int
    seconds: float


def read_corpus(
    progress: Callable[[int, int], None] | None = None, *, root: str | os.PathLike[str] | None = None
) -> Corpus:
    """Read every public function, class and method of the standard library, without importing any of it.

    A name is public when no part of it, module path included, starts with an underscore; what a function defines
    inside itself is not. If a name is defined more than once, the last definition in the file counts. A row has:

    name: the module and the qualified name, such as ``os.path.join``; no two rows have the same.
    module, kind: the dotted module name; ``"function"``, ``"class"`` or ``"method"``.
    signature: such as ``(a, b=None, *, timeout: float = 3) -> int``. A method shows its `self` or `cls`; a class
        shows how its own `__init__` (or else `__new__`) is called, and ``""`` if it has neither.
    params: the parameter names without the `self` or `cls` of a method.
    annotations: parameter name to annotation text, with ``return`` for the result.
    doc: the docstring without its indentation, or None.
    source, lines: the text with its decorators, moved to the left margin, and how many lines the whole has.
    is_async: whether it is an ``async def``.

    `progress` is called after each file with the number of files done and of all files. `root` is the folder to
    read, by default that of the running Python.

    Raises:
        RuntimeError: the folder has no Python source files.
    """
    start = time.perf_counter()
    files = _source_files(Path(sysconfig.get_path("stdlib") if root is None else root))
    if not files:
        raise RuntimeError(
            "This Python has no source files of its standard library (it may keep them in a zip archive, or compiled "
            "only). Run the demo with a Python that was installed with its sources."
        )
    reading = _Reading()
    for done, (module, path) in enumerate(files.items(), 1):
        reading.read(module, path)
        if progress is not None:
            progress(done, len(files))
    return reading.corpus(time.perf_counter() - start)


def _source_files(root: Path) -> dict[str, Path]:
    """Module name to path of each public module below `root`, sorted by module."""
    files: dict[str, Path] = {}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if _is_public_part(name)]
        package = Path(folder).relative_to(root).parts
        for path in (Path(folder, name) for name in names if name.endswith(".py")):
            if path.stem == "__init__" and package:
                files[".".join(package)] = path  # wins over a module file beside the folder, as in an import
            elif _is_public_part(path.stem):
                files.setdefault(".".join([*package, path.stem]), path)
    published = {_PUBLISHED_AS.get(module, module): path for module, path in files.items()}
    return dict(sorted(published.items()))


def _is_public_part(name: str) -> bool:
    """Whether a file or folder can be a part of a public module name; "site-packages" is no identifier."""
    return name.isidentifier() and not name.startswith("_") and name not in _NOT_WANTED


class _Reading:
    """The rows and counts of a reading that is under way."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.skipped: list[Skipped] = []
        self.modules = 0
        self.definitions = 0
        self.cut = 0

    def corpus(self, seconds: float) -> Corpus:
        rows = [self.rows[name] for name in sorted(self.rows)]
        return Corpus(rows, self.modules, self.skipped, self.cut, self.definitions - len(rows), seconds)

    def read(self, module: str, path: Path) -> None:
        """Add the rows of one file, or the reason why it has none."""
        try:
            rows, definitions = _module_rows(module, _decoded(path))
        except _UNREADABLE as error:
            self.skipped.append(Skipped(module, _reason(error)))
            return
        self.modules += 1
        self.definitions += definitions
        for row in rows:
            for key, limit in LIMITS.items():
                row[key] = self.fitted(row[key], limit)
            self.rows[row["name"]] = row

    def fitted(self, text: str | None, limit: int) -> str | None:
        """`text` if it is short enough, else its beginning and a sentence that says so."""
        if text is None or len(text) <= limit:
            return text
        self.cut += 1
        marker = f"… [cut, {len(text)} characters in all]"
        return text[: limit - len(marker)] + marker


def _decoded(path: Path) -> str:
    """The text of a source file as Python decodes it: by its mark or cookie, with one kind of line end."""
    data = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
    return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def _parsed(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler thinks of an old escape sequence is not our subject
        return ast.parse(text)


def _reason(error: Exception) -> str:
    """Why a file was skipped, without its path."""
    if isinstance(error, UnicodeDecodeError):
        return f"cannot be decoded as {error.encoding}: {error.reason} at byte {error.start}"
    if isinstance(error, SyntaxError):
        return f"cannot be parsed: {error.msg}" + (f" in line {error.lineno}" if error.lineno else "")
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    return f"cannot be parsed: {error or type(error).__name__}"


def _module_rows(module: str, text: str) -> tuple[list[dict[str, Any]], int]:
    """The rows of a module, and how many public definitions it has, those replaced by later ones included."""
    lines = text.split("\n")
    last: dict[str, _Definition] = {}
    count = 0
    for qualname, node in _public(_parsed(text).body):
        count += 1
        if qualname in last:  # a class goes with its members
            last = {name: kept for name, kept in last.items() if not f"{name}.".startswith(f"{qualname}.")}
        last[qualname] = node
    return [_row(module, qualname, node, lines) for qualname, node in last.items()], count


def _public(body: Iterable[ast.AST], scope: str = "") -> Iterator[tuple[str, _Definition]]:
    """Qualified name and node of each public definition, those inside classes included, in the order of the text."""
    for node in _definitions(body):
        if node.name.startswith("_"):
            continue
        yield scope + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body, f"{scope}{node.name}.")


def _definitions(body: Iterable[ast.AST]) -> Iterator[_Definition]:
    """The definitions of one scope in the order of the text, with those in its branches, loops and blocks."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node
        elif isinstance(node, ast.If) and _runs_as_script_only(node.test):
            yield from _definitions(node.orelse)
        elif isinstance(node, _BLOCKS):
            yield from _definitions(ast.iter_child_nodes(node))


def _runs_as_script_only(test: ast.expr) -> bool:
    """Whether this is the test of ``if __name__ == "__main__"``: who imports the module never sees its body."""
    return isinstance(test, ast.Compare) and ast.unparse(test) == "__name__ == '__main__'"


def _row(module: str, qualname: str, node: _Definition, lines: list[str]) -> dict[str, Any]:
    """The row of one definition, its texts not yet cut."""
    kind, call = _kind_and_call(node, in_class="." in qualname)
    doc = ast.get_docstring(node)
    source = _source(node, lines)
    return {
        "name": f"{module}.{qualname}",
        "module": module,
        "kind": kind,
        "signature": call.signature,
        "doc": None if doc is None else _storable(doc),
        "source": _storable("\n".join(source)),
        "params": call.params,
        "lines": len(source),
        "annotations": call.annotations,
        "is_async": isinstance(node, ast.AsyncFunctionDef),
    }


class _Call(NamedTuple):
    """How a definition is called."""

    signature: str
    params: list[str]
    annotations: dict[str, str]


def _kind_and_call(node: _Definition, *, in_class: bool) -> tuple[str, _Call]:
    if isinstance(node, ast.ClassDef):
        return "class", _class_call(node)
    own = _without_receiver(node) if in_class else node.args
    params = [parameter.arg for parameter in _parameters(own)]
    call = _Call(_signature(node.args, node.returns), params, _annotations(own, node.returns))
    return ("method" if in_class else "function"), call


def _class_call(node: ast.ClassDef) -> _Call:
    """How the class is called, by its own constructor; what it inherits is not known from one file."""
    own = {member.name: member for member in _definitions(node.body)}
    constructor = own.get("__init__") or own.get("__new__")
    if constructor is None or isinstance(constructor, ast.ClassDef):
        return _Call("", [], {})
    arguments = _without_receiver(constructor)
    params = [parameter.arg for parameter in _parameters(arguments)]
    return _Call(_signature(arguments, None), params, _annotations(arguments, None))


def _without_receiver(node: _Function) -> ast.arguments:
    """The parameters that a caller of a method fills: all but the first, whatever its name, unless it is static."""
    arguments = node.args
    before = len(arguments.posonlyargs)
    positional = [*arguments.posonlyargs, *arguments.args]
    if not positional or any(_last_name(decorator) == "staticmethod" for decorator in node.decorator_list):
        return arguments
    return ast.arguments(
        posonlyargs=positional[1:before],
        args=positional[max(before, 1) :],
        vararg=arguments.vararg,
        kwonlyargs=arguments.kwonlyargs,
        kw_defaults=arguments.kw_defaults,
        kwarg=arguments.kwarg,
        defaults=arguments.defaults[-(len(positional) - 1) :] if len(positional) > 1 else [],
    )


def _last_name(node: ast.expr) -> str | None:
    """`c` of ``c`` and of ``a.b.c``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    """All parameters, in the order in which they are written."""
    first = [*arguments.posonlyargs, *arguments.args]
    rest = [arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return first + [parameter for parameter in rest if parameter is not None]


def _annotations(arguments: ast.arguments, returns: ast.expr | None) -> dict[str, str]:
    found = {parameter.arg: parameter.annotation for parameter in _parameters(arguments)} | {"return": returns}
    return {name: _unparsed(annotation) for name, annotation in found.items() if annotation is not None}


def _signature(arguments: ast.arguments, returns: ast.expr | None) -> str:
    """The parameters and the result as a `def` statement has them, spaced by PEP 8."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    parts = [_parameter(*pair) for pair in zip(positional, defaults, strict=True)]
    if arguments.posonlyargs:
        parts.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        parts.append("*" + _parameter(arguments.vararg, None))
    elif arguments.kwonlyargs:
        parts.append("*")
    parts += [_parameter(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        parts.append("**" + _parameter(arguments.kwarg, None))
    return f"({', '.join(parts)})" + (f" -> {_unparsed(returns)}" if returns else "")


def _parameter(parameter: ast.arg, default: ast.expr | None) -> str:
    if parameter.annotation is None:
        return parameter.arg + (f"={_unparsed(default)}" if default else "")
    return f"{parameter.arg}: {_unparsed(parameter.annotation)}" + (f" = {_unparsed(default)}" if default else "")


def _source(node: _Definition, lines: list[str]) -> list[str]:
    """The lines of a definition and its decorators, without the indentation that all of them share with the first.

    A line that is not indented as far is the inside of a string or a comment, and stays as it is.
    """
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    while node.decorator_list and not lines[first].lstrip().startswith("@"):
        first -= 1  # a decorator in parentheses may start below its "@"
    own = lines[first : node.end_lineno]
    indentation = own[0][: len(own[0]) - len(own[0].lstrip(" \t\f"))]
    return [line.removeprefix(indentation) for line in own]


def _unparsed(node: ast.expr) -> str:
    return _storable(ast.unparse(node))


def _storable(text: str) -> str:
    """`text` with U+FFFD for the characters that UTF-8 or a database cannot hold: lone surrogates and NUL."""
    return _NOT_STORABLE.sub("\ufffd", text)


def main() -> None:
    """Read the library and print the counts."""
    corpus = read_corpus()
    print(f"{len(corpus.rows)} rows from {corpus.modules} modules in {corpus.seconds:.1f} s")
    print(f"{corpus.redefined} definitions replaced by later ones, {corpus.cut} texts cut")
    for module, reason in corpus.skipped:
        print(f"skipped {module}: {reason}")


if __name__ == "__main__":
    main()
