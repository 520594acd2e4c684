"""Content-addressed files, `heaven_core.files`: names, durability, what stands in their way, and the stored format."""

from __future__ import annotations

import errno
import os
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from heaven_core import files as module
from heaven_core.errors import FormatTooNew, StorageError, StorageFull, StorageReadOnly
from heaven_core.files import Entry, FileStore, Unreadable, is_recent

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ws").mkdir()
    return tmp_path / "ws"


@pytest.fixture
def store(folder: Path) -> Iterator[FileStore]:
    made = FileStore(str(folder))
    yield made
    made.close()


def at(folder: Path, reference: str) -> Path:
    return folder / "external" / reference[:2] / reference[2:]


def everything(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if not one.is_dir())


def put(store: FileStore, *values: bytes) -> list[str]:
    """What rows would call these bytes."""
    return [one.reference for one in store.put_many(values)]


# -- the stored format -----------------------------------------------------------------------------------------------


def test_files_are_named_after_their_hash_as_ever(store: FileStore, folder: Path) -> None:
    references = put(store, b"hello", b"", b"hello")

    assert references == [HELLO, EMPTY, HELLO]
    assert everything(folder) == [
        "external/2c/f24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "external/e3/b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "external/format",
    ]
    assert (at(folder, HELLO).read_bytes(), at(folder, EMPTY).read_bytes()) == (b"hello", b"")
    assert (folder / "external/format").read_bytes() == b"1\n"
    assert module.FORMAT == 1


def test_files_that_an_earlier_version_wrote_are_read(folder: Path) -> None:
    at(folder, HELLO).parent.mkdir(parents=True)
    at(folder, HELLO).write_bytes(b"hello")
    (folder / "external/format").write_bytes(b"1\n")

    store = FileStore(str(folder))

    assert store.read(HELLO) == b"hello"
    assert [one.reference for one in store.entries()] == [HELLO]


@pytest.mark.parametrize("text", [b"2\n", b"10"])
def test_files_of_a_newer_format_are_refused(folder: Path, text: bytes) -> None:
    put(FileStore(str(folder)), b"hello")
    (folder / "external/format").write_bytes(text)
    newer = FileStore(str(folder))

    for use in (lambda: newer.read(HELLO), lambda: put(newer, b"x"), lambda: list(newer.entries())):
        with pytest.raises(FormatTooNew, match=f"storage format {int(text)}; this HeavenBase reads up to 1; upgrade"):
            use()


def test_a_damaged_format_is_refused_and_a_missing_one_written_again(folder: Path) -> None:
    put(FileStore(str(folder)), b"hello")
    (folder / "external/format").unlink()

    store = FileStore(str(folder))
    assert store.read(HELLO) == b"hello"
    assert not (folder / "external/format").exists()
    put(store, b"")
    assert (folder / "external/format").read_bytes() == b"1\n"
    (folder / "external/format").write_bytes(b"one")
    with pytest.raises(StorageError, match="'format' among the workspace's files is damaged"):
        FileStore(str(folder)).read(HELLO)


# -- putting and reading ---------------------------------------------------------------------------------------------


def test_what_was_put_is_read_again(store: FileStore) -> None:
    values = [b"", b"a", os.urandom(module.CHUNK * 2 + 17)]

    references = put(store, *values)

    assert [store.read(one) for one in references] == values
    assert [store.size(one) for one in references] == [len(one) for one in values]
    assert [store.problem(one) for one in references] == [None, None, None]


def test_nothing_is_made_before_something_is_put(store: FileStore, folder: Path) -> None:
    assert store.size(HELLO) is None
    assert store.problem(HELLO) == "missing"
    assert list(store.entries()) == []
    with pytest.raises(Unreadable, match="missing"):
        store.read(HELLO)
    assert store.put_many([]) == []
    store.destroy()

    assert everything(folder) == []


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "a" / "b.d"))

    assert store.read(put(store, b"x")[0]) == b"x"


def test_a_file_that_is_there_is_not_written_again_but_is_young_again(store: FileStore, folder: Path) -> None:
    put(store, b"hello")
    path = at(folder, HELLO)
    os.utime(path, (1, 1))
    before = path.stat().st_ino

    put(store, b"hello")

    assert path.stat().st_ino == before
    assert time.time() - path.stat().st_mtime < 60


@pytest.mark.parametrize("content", [b"hellO", b"hell", b"hello!", b""])
def test_a_damaged_file_is_found_and_mended_by_putting_it_again(store: FileStore, folder: Path, content: bytes) -> None:
    put(store, b"hello")
    at(folder, HELLO).write_bytes(content)

    assert store.problem(HELLO) == "damaged"
    with pytest.raises(Unreadable, match="damaged"):
        store.read(HELLO)
    put(store, b"hello")
    assert store.read(HELLO) == b"hello"


@pytest.mark.parametrize(
    "reference",
    [
        "../../../../etc/passwd",
        "",
        "2c",
        HELLO.upper(),
        f"{HELLO}/",
        f"{HELLO}\n",
        "2c/" + HELLO[3:],
        f"../{HELLO[3:]}",
    ],
)
def test_what_is_no_hash_becomes_no_path(store: FileStore, reference: str) -> None:
    put(store, b"hello")

    assert store.problem(reference) == "damaged"
    assert store.size(reference) is None
    with pytest.raises(Unreadable, match="damaged"):
        store.read(reference)


def test_threads_put_the_same_bytes_at_once(folder: Path) -> None:
    stores = [FileStore(str(folder)) for _ in range(2)]
    value = os.urandom(300_000)
    found: list[str] = []

    def put_both(store: FileStore) -> None:
        for _ in range(5):
            found.extend(put(store, value, b"small"))

    threads = [threading.Thread(target=put_both, args=(stores[number % 2],)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert len(found) == 60
    assert set(found) == {sha256(value).hexdigest(), sha256(b"small").hexdigest()}
    assert len(everything(folder)) == 3
    assert stores[0].read(found[0]) == value


def test_a_file_is_synced_before_it_has_its_name_and_the_name_before_anything_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    sync, rename = os.fsync, os.rename

    def name_of(fd: int) -> str:
        found = next(one for one in [folder, *folder.rglob("*")] if os.path.samestat(one.stat(), os.fstat(fd)))
        return str(found.relative_to(folder)).split(".")[0]

    def noted_sync(fd: int) -> None:
        done.append(("sync", name_of(fd)))
        sync(fd)

    def noted_rename(source: str, target: str, **where: int) -> None:
        done.append(("rename", target[:6]))
        rename(source, target, **where)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    store = FileStore(str(folder))
    put(store, b"hello")
    first, done[:] = list(done), []
    put(store, b"hello")

    assert first == [
        ("sync", "external/format"),
        ("rename", "format"),
        ("sync", "external"),
        ("sync", ""),
        ("sync", f"external/2c/{HELLO[2:]}"),
        ("rename", HELLO[2:8]),
        ("sync", "external/2c"),
        ("sync", "external"),
    ]
    assert done == [("sync", "external/2c")]  # another process may have renamed it and not come to this


def test_a_stamp_tells_a_file_from_one_that_was_put_again(store: FileStore, folder: Path) -> None:
    ((reference, stamp), again) = store.put_many([b"hello", b"hello"])
    assert again == (reference, stamp)
    assert store.stamp(reference) == stamp
    at(folder, HELLO).unlink()
    assert store.stamp(reference) is None

    ((_, other),) = store.put_many([b"hello"])

    assert store.stamp(reference) == other != stamp


def test_a_private_store_is_gone_with_its_close(folder: Path) -> None:
    store = FileStore(str(folder), private=True)
    reference = put(store, b"hello")[0]
    (own,) = folder.iterdir()

    assert module.PRIVATE.fullmatch(own.name)
    assert store.read(reference) == b"hello"
    assert FileStore(str(folder), private=True).abandoned(dry=False) == 0
    store.close()
    assert list(folder.iterdir()) == []


# -- what stands in the way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", ["link", "file"])
def test_a_link_in_the_folder_s_place_is_refused(folder: Path, tmp_path: Path, planted: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if planted == "link":
        (folder / "external").symlink_to(elsewhere)
    else:
        (folder / "external").touch()
    store = FileStore(str(folder))

    for use in (lambda: put(store, b"x"), lambda: store.read(HELLO), lambda: list(store.entries())):
        with pytest.raises(StorageError, match="'external' is a link or no folder, and links are not followed"):
            use()
    store.destroy()
    assert list(elsewhere.iterdir()) == []
    assert elsewhere.exists()


def test_a_link_in_a_shelf_s_place_leads_nowhere(store: FileStore, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / HELLO[2:]).write_bytes(b"hello")
    put(store, b"")
    (folder / "external/2c").symlink_to(elsewhere)

    assert store.problem(HELLO) == "damaged"
    assert [one.reference for one in store.entries()] == [EMPTY]
    with pytest.raises(StorageError, match="the disk failed to read or write one of") as caught:
        put(store, b"hello")
    assert str(tmp_path) not in str(caught.value)
    store.remove(Entry("e3", EMPTY[2:], 0, 0.0))
    with pytest.raises(StorageError):
        store.remove(Entry("2c", HELLO[2:], 5, 0.0))
    assert (elsewhere / HELLO[2:]).exists()


@pytest.mark.parametrize("planted", ["link", "pipe", "folder"])
def test_what_is_no_file_in_a_file_s_place_is_damage(
    store: FileStore, folder: Path, tmp_path: Path, planted: str
) -> None:
    put(store, b"hello")
    path = at(folder, HELLO)
    path.unlink()
    (tmp_path / "target").write_bytes(b"hello")
    if planted == "link":
        path.symlink_to(tmp_path / "target")
    elif planted == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()

    assert store.size(HELLO) is None
    assert store.problem(HELLO) == "damaged"
    with pytest.raises(Unreadable, match="damaged"):
        store.read(HELLO)
    assert list(store.entries()) == []


def test_a_link_in_a_file_s_place_is_replaced_and_its_target_left(
    store: FileStore, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "target").write_bytes(b"mine")
    put(store, b"hello")
    at(folder, HELLO).unlink()
    at(folder, HELLO).symlink_to(tmp_path / "target")

    put(store, b"hello")

    assert store.read(HELLO) == b"hello"
    assert not at(folder, HELLO).is_symlink()
    assert (tmp_path / "target").read_bytes() == b"mine"


def test_files_follow_a_folder_that_is_moved_while_it_is_open(folder: Path, tmp_path: Path) -> None:
    store = FileStore(str(folder))
    folder.rename(tmp_path / "moved")

    reference = put(store, b"hello")[0]

    assert store.read(reference) == b"hello"
    assert at(tmp_path / "moved", HELLO).exists()
    assert not folder.exists()


def test_a_folder_that_is_removed_while_it_is_open_is_an_error(store: FileStore, folder: Path) -> None:
    put(store, b"hello")
    at(folder, HELLO).unlink()
    at(folder, HELLO).parent.rmdir()
    (folder / "external/format").unlink()
    (folder / "external").rmdir()

    assert store.size(HELLO) is None
    with pytest.raises(StorageError, match="has gone while it was open; open it again"):
        put(store, b"hello")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EROFS, StorageReadOnly),
        (errno.EACCES, StorageReadOnly),
        (errno.EIO, StorageError),
    ],
)
def test_what_the_disk_says_is_a_typed_error_and_leaves_nothing_behind(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StorageError]
) -> None:
    put(store, b"")

    def fail(fd: int) -> None:
        raise OSError(number, "no", "/a/path")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind) as caught:
        put(store, b"hello")

    assert type(caught.value) is kind
    assert "/" not in str(caught.value)
    assert everything(folder) == [f"external/e3/{EMPTY[2:]}", "external/format"]


# -- care ------------------------------------------------------------------------------------------------------------


def test_entries_are_the_files_that_are_ours_by_name(store: FileStore, folder: Path) -> None:
    put(store, b"hello", b"")
    unfinished = at(folder, HELLO).with_name(f"{HELLO[2:]}.0123456789abcdef.tmp")
    unfinished.write_bytes(b"hel")
    (folder / "external/format.0123456789abcdef.tmp").touch()
    for name in ("2c/notes.txt", "notes.txt", f"2c/{HELLO[2:]}.bak", f"2c/{HELLO[2:].upper()}", HELLO[2:]):
        (folder / "external" / name).write_bytes(b"somebody's")
    (folder / "external/zz").mkdir()

    found = {(one.shelf, one.name): (one.reference, one.size) for one in store.entries()}

    assert found == {
        ("", "format.0123456789abcdef.tmp"): (None, 0),
        ("2c", HELLO[2:]): (HELLO, 5),
        ("2c", unfinished.name): (None, 3),
        ("e3", EMPTY[2:]): (EMPTY, 0),
    }
    for one in list(store.entries()):
        store.remove(one)
        store.remove(one)
        assert store.changed(one) is None
    assert list(store.entries()) == []
    assert len(everything(folder)) == 6


def test_a_moment_is_recent_for_a_while_whatever_the_clock_does() -> None:
    now = time.time()

    assert is_recent(now - 5, 10)
    assert is_recent(now + 5, 10)
    assert not is_recent(now - 20, 10)
    assert not is_recent(now + 20, 10)
    assert not is_recent(now, 0)


def test_a_file_that_is_collected_while_it_is_put_is_put_once_more(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, b"hello")
    touch, rename = os.utime, os.rename
    removed: list[str] = []

    def touch_too_late(name: str, **where: Any) -> None:
        if "finished" not in removed:
            removed.append("finished")
            at(folder, HELLO).unlink()
        touch(name, **where)

    def rename_too_late(source: str, target: str, **where: Any) -> None:
        if "unfinished" not in removed:
            removed.append("unfinished")
            at(folder, HELLO).with_name(source).unlink()
        rename(source, target, **where)

    monkeypatch.setattr(os, "utime", touch_too_late)
    monkeypatch.setattr(os, "rename", rename_too_late)
    put(store, b"hello")

    assert removed == ["finished", "unfinished"]
    assert store.read(HELLO) == b"hello"
    assert len(everything(folder)) == 2
