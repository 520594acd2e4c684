"""The corpus reader of the quickstart demo, on small trees and on the real standard library."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from demos.stdlib_corpus import LIMITS, Corpus, read_corpus

pytestmark = pytest.mark.integration

KEYS = {
    *("name", "module", "kind", "signature", "doc", "source"),
    *("params", "lines", "annotations", "is_async"),
}

ReadTree: TypeAlias = Callable[..., Corpus]


@pytest.fixture
def read_tree(tmp_path: Path) -> ReadTree:
    """Write the files, given as path to text or bytes, and read them as a standard library."""

    def read(files: dict[str, str | bytes]) -> Corpus:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_corpus(root=tmp_path)

    return read


@pytest.fixture(scope="session")
def real() -> Corpus:
    return read_corpus()


def names_of(corpus: Corpus) -> list[str]:
    return [row["name"] for row in corpus.rows]


def row_of(corpus: Corpus, name: str) -> dict[str, Any]:
    (row,) = [row for row in corpus.rows if row["name"] == name]
    return row


# What is a row


def test_functions_classes_and_methods_are_rows_sorted_by_name(read_tree: ReadTree) -> None:
    corpus = read_tree({"shop.py": "def sell(): pass\nclass Shop:\n    def open(self): pass\n"})

    assert [(row["name"], row["module"], row["kind"]) for row in corpus.rows] == [
        ("shop.Shop", "shop", "class"),
        ("shop.Shop.open", "shop", "method"),
        ("shop.sell", "shop", "function"),
    ]


def test_a_row_is_a_plain_dict_with_the_documented_keys(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": "def f(): pass\nclass C: pass\n"})

    assert [(type(row), set(row)) for row in corpus.rows] == [(dict, KEYS), (dict, KEYS)]


def test_names_with_a_leading_underscore_are_not_public(read_tree: ReadTree) -> None:
    text = "def _f(): pass\nclass _C:\n    def m(self): pass\nclass D:\n    def __init__(self): pass\n"

    corpus = read_tree({"m.py": text, "_hidden.py": "def f(): pass", "p/_q/r.py": "def f(): pass"})

    assert names_of(corpus) == ["m.D"]
    assert corpus.modules == 1


def test_functions_in_functions_are_not_public_but_classes_in_classes_are(read_tree: ReadTree) -> None:
    text = """
def outer():
    def inner(): pass
    class Local:
        def m(self): pass
class A:
    class B:
        def m(self):
            def inner(): pass
"""

    corpus = read_tree({"m.py": text})

    assert [(row["name"], row["kind"]) for row in corpus.rows] == [
        ("m.A", "class"),
        ("m.A.B", "class"),
        ("m.A.B.m", "method"),
        ("m.outer", "function"),
    ]


def test_definitions_in_every_kind_of_block_are_found(read_tree: ReadTree) -> None:
    text = """
if x:
    def a(): pass
elif y:
    def b(): pass
else:
    def c(): pass
try:
    def d(): pass
except E:
    def e(): pass
else:
    def f(): pass
finally:
    def g(): pass
for _ in x:
    def h(): pass
while x:
    def i(): pass
with x:
    def j(): pass
match x:
    case 1:
        def k(): pass
try:
    def l(): pass
except* E:
    def m(): pass
"""

    corpus = read_tree({"m.py": text})

    assert names_of(corpus) == [f"m.{letter}" for letter in "abcdefghijklm"]


def test_what_only_a_script_defines_is_left_out(read_tree: ReadTree) -> None:
    text = "def f(): pass\nif __name__ == '__main__':\n    def script(): pass\nelse:\n    def imported(): pass\n"

    corpus = read_tree({"m.py": text})

    assert names_of(corpus) == ["m.f", "m.imported"]


# Modules


def test_a_package_is_named_by_its_folder_and_its_modules_by_their_path(read_tree: ReadTree) -> None:
    corpus = read_tree({"p/__init__.py": "def f(): pass", "p/q/__init__.py": "", "p/q/r.py": "def g(): pass"})

    assert names_of(corpus) == ["p.f", "p.q.r.g"]
    assert corpus.modules == 3


@pytest.mark.parametrize(
    "folder",
    [
        *("test", "tests", "p/test", "p/tests", "idlelib", "lib2to3", "turtledemo"),
        *("site-packages", "ensurepip/_bundled", "__pycache__", "config-3.11-x86_64-linux-gnu"),
    ],
)
def test_folders_of_tests_applications_and_installed_packages_are_not_read(read_tree: ReadTree, folder: str) -> None:
    corpus = read_tree({"m.py": "def f(): pass", f"{folder}/n.py": "def g(): pass"})

    assert names_of(corpus) == ["m.f"]
    assert corpus.modules == 1


def test_a_package_wins_over_a_module_of_the_same_name(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": "def old(): pass", "m/__init__.py": "def new(): pass"})

    assert names_of(corpus) == ["m.new"]
    assert corpus.modules == 1


def test_the_module_behind_os_path_has_the_name_that_people_import(read_tree: ReadTree) -> None:
    corpus = read_tree({f"{os.path.__name__}.py": "def join(): pass"})

    assert [(row["name"], row["module"]) for row in corpus.rows] == [("os.path.join", "os.path")]


def test_files_that_are_not_source_are_ignored(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": "def f(): pass", "n.pyc": b"\0", "o.txt": "def g(): pass"})

    assert names_of(corpus) == ["m.f"]
    assert corpus.skipped == []


def test_a_folder_without_sources_is_a_runtime_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "m.pyc").write_bytes(b"\0")

    with pytest.raises(RuntimeError, match="no source files") as caught:
        read_corpus(root=tmp_path)

    assert str(tmp_path) not in str(caught.value)


def test_a_missing_folder_is_a_runtime_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="installed with its sources"):
        read_corpus(root=tmp_path / "python311.zip")


# Files that cannot be read


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"def f(:\n", "cannot be parsed: "),
        (b"# first\n# second\nx = '\xff'\n", "cannot be decoded as utf-8: invalid start byte at byte 22"),
        (b"# coding: no-such-thing\n", "cannot be parsed: unknown encoding"),
        (b"# coding: hex\n", "cannot be parsed: "),
        (b"x = 1\0\n", "cannot be parsed: source code"),
        (b"x = " + b"(" * 5000 + b")" * 5000, "cannot be parsed: "),
        (b"def f(x=0x" + b"f" * 10000 + b"): pass\n", "cannot be parsed: Exceeds the limit"),
    ],
)
def test_a_file_that_cannot_be_read_is_skipped_with_its_reason(
    read_tree: ReadTree, content: bytes, reason: str
) -> None:
    corpus = read_tree({"bad.py": content, "good.py": "def f(): pass"})

    assert names_of(corpus) == ["good.f"]
    assert corpus.modules == 1
    (skipped,) = corpus.skipped
    assert skipped.module == "bad"
    assert skipped.reason.startswith(reason)


def test_the_reason_of_a_syntax_error_has_the_line(read_tree: ReadTree) -> None:
    corpus = read_tree({"bad.py": "x = 1\ny = = 2\n"})

    assert corpus.skipped == [("bad", "cannot be parsed: invalid syntax in line 2")]


def test_a_file_that_cannot_be_opened_is_skipped_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")

    corpus = read_corpus(root=tmp_path)

    assert corpus.skipped == [("gone", "cannot be read: No such file or directory")]


def test_an_encoding_cookie_and_a_byte_order_mark_are_respected(read_tree: ReadTree) -> None:
    latin = b'# coding: latin-1\ndef f():\n    "\xe9"\n'
    marked = b'\xef\xbb\xbfdef g():\n    "\xc3\xa9"\n'

    corpus = read_tree({"a.py": latin, "b.py": marked})

    assert [row["doc"] for row in corpus.rows] == ["é", "é"]
    assert row_of(corpus, "b.g")["source"].startswith("def g")


def test_old_escape_sequences_do_not_warn_and_leave_the_filters_alone(read_tree: ReadTree) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        corpus = read_tree({"m.py": 'def f(x="\\d"): pass'})

        assert warnings.filters == filters

    assert names_of(corpus) == ["m.f"]


# One name, one row


def test_the_last_definition_of_a_name_counts(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": "if x:\n    def f(a): pass\nelse:\n    def f(b): pass\n"})

    assert row_of(corpus, "m.f")["params"] == ["b"]
    assert corpus.redefined == 1


def test_the_implementation_of_an_overloaded_function_is_its_row(read_tree: ReadTree) -> None:
    text = "@overload\ndef f(a: int): ...\n@overload\ndef f(a: str): ...\ndef f(a): return a\n"

    corpus = read_tree({"m.py": text})

    assert row_of(corpus, "m.f")["signature"] == "(a)"
    assert corpus.redefined == 2


def test_a_property_with_a_setter_is_one_row(read_tree: ReadTree) -> None:
    text = """
class C:
    @property
    def x(self): return 1
    @x.setter
    def x(self, value): pass
"""

    corpus = read_tree({"m.py": text})

    assert names_of(corpus) == ["m.C", "m.C.x"]
    assert row_of(corpus, "m.C.x")["params"] == ["value"]


def test_a_redefined_class_takes_its_members_with_it_and_no_others(read_tree: ReadTree) -> None:
    text = """
class C:
    class D:
        def old(self): pass
class CC:
    def kept(self): pass
class C:
    def new(self): pass
"""

    corpus = read_tree({"m.py": text})

    assert names_of(corpus) == ["m.C", "m.C.new", "m.CC", "m.CC.kept"]
    assert corpus.redefined == 3


def test_a_name_that_two_modules_make_is_one_row(read_tree: ReadTree) -> None:
    corpus = read_tree({"p/__init__.py": "class q:\n    def f(self): pass\n", "p/q.py": "def f(): pass\n"})

    assert names_of(corpus) == ["p.q", "p.q.f"]
    assert corpus.redefined == 1


# Signature, parameters, annotations


@pytest.mark.parametrize(
    "signature",
    [
        "()",
        "(a, b=None, *, timeout: float = 3) -> int",
        "(a, b=1, /, c=2, *args: int, d, e: str = 'x', **kwargs: dict[str, int]) -> None",
        "(a, /)",
        "(*, a)",
        "(*args: *Ts)",
        "(a=(1, 2), b=lambda x, y=1: x)",
        "(a: 'Later' = ..., *args) -> list[tuple[int, str]]",
    ],
)
def test_a_signature_is_written_as_in_the_source(read_tree: ReadTree, signature: str) -> None:
    corpus = read_tree({"m.py": f"def f{signature}: pass\n"})

    assert row_of(corpus, "m.f")["signature"] == signature


def test_a_signature_over_several_lines_becomes_one_line(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": "def f(\n    a : int=1,  # first\n    b = 2,\n): pass\n"})

    assert row_of(corpus, "m.f")["signature"] == "(a: int = 1, b=2)"


def test_params_are_all_names_and_annotations_those_that_have_one(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": "def f(a, /, b: int, *c: str, d=1, **e: 'X') -> list[int]: pass\n"})

    row = row_of(corpus, "m.f")

    assert row["params"] == ["a", "b", "c", "d", "e"]
    assert row["annotations"] == {"b": "int", "c": "str", "e": "'X'", "return": "list[int]"}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("def m(self, a): pass", ["a"]),
        ("def m(self, /, a): pass", ["a"]),
        ("def m(this, a=1): pass", ["a"]),
        ("def m(self=None, a=1): pass", ["a"]),
        ("@classmethod\n    def m(klass, a): pass", ["a"]),
        ("@staticmethod\n    def m(a, b): pass", ["a", "b"]),
        ("@abc.abstractmethod\n    @staticmethod\n    def m(a): pass", ["a"]),
        ("def m(*args): pass", ["args"]),
        ("def m(): pass", []),
    ],
)
def test_the_params_of_a_method_leave_out_what_the_call_fills_in(
    read_tree: ReadTree, method: str, params: list[str]
) -> None:
    corpus = read_tree({"m.py": f"class C:\n    {method}\n"})

    assert row_of(corpus, "m.C.m")["params"] == params


def test_the_signature_of_a_method_shows_self_and_its_annotations_do_not(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": "class C:\n    def m(self: Self, a: int = 1) -> int: pass\n"})

    row = row_of(corpus, "m.C.m")

    assert row["signature"] == "(self: Self, a: int = 1) -> int"
    assert row["annotations"] == {"a": "int", "return": "int"}


@pytest.mark.parametrize(
    ("body", "signature", "params"),
    [
        ("def __init__(self, a, b: int = 2) -> None: pass", "(a, b: int = 2)", ["a", "b"]),
        ("def __init__(self, /, *, a): pass", "(*, a)", ["a"]),
        ("def __init__(self, a, /, b=1): pass", "(a, /, b=1)", ["a", "b"]),
        ("def __new__(cls, a): pass", "(a)", ["a"]),
        ("def __new__(cls, a): pass\n    def __init__(self, b): pass", "(b)", ["b"]),
        ("def __init__(self): pass", "()", []),
        ("def __init__(self=None): pass", "()", []),
        ("pass", "", []),
        ("class __init__: pass", "", []),
    ],
)
def test_a_class_is_called_as_its_own_constructor_is(
    read_tree: ReadTree, body: str, signature: str, params: list[str]
) -> None:
    corpus = read_tree({"m.py": f"class C(Base):\n    {body}\n"})

    row = row_of(corpus, "m.C")

    assert (row["signature"], row["params"]) == (signature, params)
    assert "return" not in row["annotations"]


def test_async_functions_and_methods_say_so(read_tree: ReadTree) -> None:
    text = "async def f(): pass\ndef g(): pass\nclass C:\n    async def m(self): yield\n"

    corpus = read_tree({"m.py": text})

    assert {row["name"]: row["is_async"] for row in corpus.rows} == {
        "m.C": False,
        "m.C.m": True,
        "m.f": True,
        "m.g": False,
    }


# Docstring and source


@pytest.mark.parametrize(
    ("body", "doc"),
    [
        ('"""First.\n\n      Indented\n    Second.\n    """', "First.\n\n  Indented\nSecond."),
        ('""', ""),
        ("return 1", None),
        ('f"{x}"', None),
        ('b"bytes"', None),
    ],
)
def test_the_docstring_is_cleaned_of_its_indentation(read_tree: ReadTree, body: str, doc: str | None) -> None:
    corpus = read_tree({"m.py": f"def f():\n    {body}\n"})

    assert row_of(corpus, "m.f")["doc"] == doc


def test_the_source_has_the_decorators_and_starts_at_the_left_margin(read_tree: ReadTree) -> None:
    text = """
class C:
    x = 1

    @one
    @two(
        3,
    )
    def m(self):
        return '''
left
'''  # done

    y = 2
"""

    row = row_of(read_tree({"m.py": text}), "m.C.m")

    assert row["source"] == ("@one\n@two(\n    3,\n)\ndef m(self):\n    return '''\nleft\n'''  # done")
    assert row["lines"] == 8


@pytest.mark.parametrize("indentation", [" ", "    ", "\t"])
def test_any_indentation_is_taken_off_the_source(read_tree: ReadTree, indentation: str) -> None:
    lines = ["def m(self):", f"{indentation}return 1"]

    row = row_of(read_tree({"m.py": "class C:\n" + "".join(f"{indentation}{line}\n" for line in lines)}), "m.C.m")

    assert row["source"] == "\n".join(lines)


def test_a_decorator_in_parentheses_is_part_of_the_source(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": "x = 1\n@(\n    one\n)\ndef f(): pass\n"})

    assert row_of(corpus, "m.f")["source"] == "@(\n    one\n)\ndef f(): pass"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_any_kind_and_form_feeds_do_not_shift_the_source(read_tree: ReadTree, end: str) -> None:
    text = "x = '\x0c\x1c\u2028'\n\x0c\ndef f():\n    return 1\ndef g(): pass\n".replace("\n", end)

    row = row_of(read_tree({"m.py": text}), "m.f")

    assert (row["source"], row["lines"]) == ("def f():\n    return 1", 2)


def test_characters_outside_ascii_do_not_shift_the_source(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": "def f(): return 'é𝄞'  # ü\ndef g(): pass\n"})

    assert row_of(corpus, "m.f")["source"] == "def f(): return 'é𝄞'  # ü"


def test_nul_characters_and_lone_surrogates_are_replaced(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": 'def f():\n    "a\\0b\\ud800c\\U0001D11E"\n'})

    assert row_of(corpus, "m.f")["doc"] == "a\ufffdb\ufffdc\U0001d11e"


# Texts that are too long


def test_a_text_at_its_limit_is_kept_and_a_longer_one_is_cut(read_tree: ReadTree) -> None:
    fitting, longer = "é" * 65535, "é" * 65536

    corpus = read_tree({"m.py": f'class a:\n    "{fitting}"\nclass b:\n    "{longer}"\n'})
    fits, cut = corpus.rows[0]["doc"], corpus.rows[1]["doc"]

    assert fits == fitting
    assert len(cut) == 65535
    assert cut.endswith("é… [cut, 65536 characters in all]")


def test_every_limited_text_is_cut_to_its_limit_and_counted(read_tree: ReadTree) -> None:
    name = "f" * 300
    text = f'def {name}(a="{"x" * 5000}"):\n    "{"d" * 70000}"\ndef short(): pass\n'

    corpus = read_tree({"m.py": text})
    row = corpus.rows[0]

    assert corpus.cut == 4
    assert {key: len(row[key]) for key in LIMITS} == LIMITS
    assert row["name"].endswith("f… [cut, 302 characters in all]")
    assert row["lines"] == 2


def test_two_names_that_are_equal_when_cut_stay_one_row(read_tree: ReadTree) -> None:
    corpus = read_tree({"m.py": f"def {'f' * 300}a(): pass\ndef {'f' * 300}b(): pass\n"})

    assert len(corpus.rows) == 1
    assert corpus.redefined == 1


# Progress and time


def test_progress_is_told_after_each_file(tmp_path: Path) -> None:
    for stem in "abc":
        (tmp_path / f"{stem}.py").write_text("(" if stem == "b" else "")
    calls: list[tuple[int, int]] = []

    corpus = read_corpus(lambda done, total: calls.append((done, total)), root=tmp_path)

    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert corpus.seconds > 0


# The real standard library


def test_the_real_library_has_thousands_of_rows_with_unique_sorted_names(real: Corpus) -> None:
    names = names_of(real)

    assert len(names) > 5000
    assert real.modules > 300
    assert names == sorted(set(names))
    assert real.skipped == []


@pytest.mark.parametrize(
    ("name", "kind", "params"),
    [
        ("os.path.join", "function", ["a", "p"]),
        ("json.loads", "function", None),
        ("textwrap.TextWrapper", "class", None),
        ("textwrap.TextWrapper.fill", "method", ["text"]),
        ("urllib.parse.urlsplit", "function", None),
        ("antigravity.geohash", "function", ["latitude", "longitude", "datedow"]),
    ],
)
def test_the_real_library_has_the_names_that_everybody_knows(
    real: Corpus, name: str, kind: str, params: list[str] | None
) -> None:
    row = row_of(real, name)

    assert row["kind"] == kind
    assert params is None or row["params"] == params


def test_no_text_of_the_real_library_exceeds_its_limit_or_cannot_be_encoded(real: Corpus) -> None:
    texts = [(key, row[key]) for row in real.rows for key in LIMITS if row[key] is not None]

    assert [text for key, text in texts if len(text) > LIMITS[key] or "\0" in text] == []
    assert all(text.encode() for _, text in texts if text)


def test_sources_and_signatures_of_the_real_library_parse_to_the_same_parameters(real: Corpus) -> None:
    wrong: list[str] = []

    for row in real.rows[::10]:
        if row["kind"] == "class":
            continue
        (written,) = ast.parse(row["source"]).body
        (shown,) = ast.parse(f"def f{row['signature']}: pass").body
        assert isinstance(written, (ast.FunctionDef, ast.AsyncFunctionDef))
        assert isinstance(shown, ast.FunctionDef)
        if ast.dump(written.args) != ast.dump(shown.args) or row["lines"] != len(row["source"].split("\n")):
            wrong.append(row["name"])

    assert wrong == []


def test_nothing_of_the_library_is_imported_by_reading_it() -> None:
    script = (
        "import sys; from demos.stdlib_corpus import read_corpus; before = set(sys.modules); read_corpus(); "
        "print(sorted(set(sys.modules) - before))"
    )
    root = Path(__file__).resolve().parents[2]

    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    imported = set(ast.literal_eval(done.stdout))

    assert not imported & {"antigravity", "this", "turtle", "tkinter", "webbrowser", "json", "asyncio"}
    assert len(imported) < 10
