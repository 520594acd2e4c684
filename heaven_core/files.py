"""Content-addressed files in one folder: bytes go in, their hash comes out, and by the hash they are found again.

A file is named after the SHA-256 of what it holds, the first two digits being its shelf: ``external/e3/b0c4...``.
So equal bytes lie there once, `sha256sum` proves each file, and nothing is ever changed in place. A persisted
format; ``external/format`` holds its version.

What `put_many` has returned survives a power cut: each file is written under another name, synced, and only then
renamed; after the renames the shelves are synced, and the folders above them where a name in them may be new. A
process that dies on the way leaves a file with a name of its own, or a whole one that nobody names yet.

Folders are opened without following links and everything is done relative to them, so no name leads elsewhere, and
a workspace that is moved while it is open takes its files along.

Not here: which fields lie in files, and which files nobody needs any more (`heaven_core.external`).
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha256
from io import FileIO
from typing import NamedTuple

from heaven_core.errors import FormatTooNew, HeavenError, StorageError, StorageFull, StorageReadOnly

FOLDER = "external"
FORMAT = 1
FORMAT_FILE = "format"
PRIVATE = re.compile(r"external-[0-9a-f]{16}")
"""The folder of a store whose rows die with its process."""

REFERENCE = re.compile(r"[0-9a-f]{64}")
SHELF = re.compile(r"[0-9a-f]{2}")
FILE = re.compile(r"[0-9a-f]{62}")
UNFINISHED = re.compile(r"(?:[0-9a-f]{62}|format)\.[0-9a-f]{16}\.tmp")
"""What is being written, or was when its process died."""

CHUNK = 1 << 20
ATTEMPTS = 10
"""How often a file is put that somebody removes at the same time."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in its place must not block us
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Unreadable(Exception):  # never leaves the kernel: who knows the row makes a typed error of it
    """A file is not there, or does not hold what its name says."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        """``missing`` or ``damaged``."""


Stamp = tuple[int, int, int]
"""What tells a file from any other of its name: inode, size, and when its inode was changed."""


class Put(NamedTuple):
    """A file that was put: what rows call it, and which file that was."""

    reference: str
    stamp: Stamp


class Entry(NamedTuple):
    """A file as a listing finds it; `reference` is None for one that is not finished."""

    shelf: str
    name: str
    size: int
    changed: float

    @property
    def reference(self) -> str | None:
        """What rows call it."""
        return self.shelf + self.name if FILE.fullmatch(self.name) else None


class Folder:
    """An open folder; closed when nobody uses it any more, so no thread has it closed under its hands."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class FileStore:
    """The files of one workspace, in `external` inside its folder. Any thread and any process may use it at once.

    private: a folder of its own that is removed with `close`, for rows that no other process
        sees and that die with this one.

    The workspace's folder is opened at once, if it is there: whatever becomes of its name, the files lie in it.
    Nothing is made before it is needed.
    """

    def __init__(self, folder: str, *, private: bool = False) -> None:
        self.folder, self._private = folder, private
        self._name = f"{FOLDER}-{os.urandom(8).hex()}" if private else FOLDER
        self._above: Folder | None = None
        with suppress(OSError):  # said when it is needed
            self._above = _folder(folder)
        self._opened: Folder | None = None
        self._ready = False
        self._synced: set[str] = set()
        """The shelves that are known to survive a power cut."""
        self._guard = threading.Lock()

    # putting ---------------------------------------------------------------------------------------------------

    def put_many(self, values: Sequence[bytes]) -> list[Put]:
        """Make files of these bytes, durable once this returns. What is there already is compared, not written.

        As long as a file has its stamp, nobody has removed it since, and its name is on the disk.

        Raises:
            StorageFull, StorageReadOnly, StorageError: the disk does not take them.
        """
        references = [sha256(value).hexdigest() for value in values]
        distinct = dict(zip(references, values, strict=True))
        with _typed():
            root = self._root(make=True)
            assert root is not None
            stamps = {one: self._put(root, one[:2], one[2:], value) for one, value in distinct.items()}
            self._sync_shelves(root, {one[:2] for one in distinct})  # after the stamps, which it makes last
        return [Put(one, stamps[one]) for one in references]

    def _put(self, root: Folder, shelf: str, name: str, value: bytes) -> Stamp:
        with suppress(FileExistsError):
            os.mkdir(shelf, dir_fd=root.fd)
        with _shelf(root, shelf) as fd:
            for _ in range(ATTEMPTS):
                with suppress(FileNotFoundError):  # removed by somebody who found it unused: once more
                    if _holds(fd, name, value):
                        with suppress(PermissionError):  # another user's; it only counts as older than it is
                            os.utime(name, dir_fd=fd, follow_symlinks=False)
                    else:
                        self._write(fd, name, value)
                    return _stamp(os.stat(name, dir_fd=fd, follow_symlinks=False))
        raise FileNotFoundError(errno.ENOENT, "it is removed again and again")

    def _write(self, folder: int, name: str, value: bytes) -> None:
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):  # removed before it was locked, as if its writer had died: once more
                return self._write_once(folder, name, value)
        raise FileNotFoundError(errno.ENOENT, "it is removed again and again")

    def _write_once(self, folder: int, name: str, value: bytes) -> None:
        """Write under another name, sync, rename. The lock tells others that the file is being written."""
        unfinished = f"{name}.{os.urandom(8).hex()}.tmp"
        fd = os.open(unfinished, _WRITE_FLAGS, 0o666, dir_fd=folder)
        try:
            _claim(fd)
            rest = memoryview(value)
            while rest:
                rest = rest[os.write(fd, rest[: 64 * CHUNK]) :]
            self._sync(fd)
            os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(unfinished, dir_fd=folder)
            raise
        finally:
            os.close(fd)

    def _sync_shelves(self, root: Folder, shelves: set[str]) -> None:
        """Make the names in the shelves last, those too that another process has just written."""
        for shelf in shelves:
            with _shelf(root, shelf) as fd:
                self._sync(fd)
        if not shelves <= self._synced:
            self._sync(root.fd)
            self._synced |= shelves

    def _sync(self, fd: int) -> None:
        if not self._private:
            os.fsync(fd)

    # reading ---------------------------------------------------------------------------------------------------

    def stamp(self, reference: str) -> Stamp | None:
        """Which file it is; None where there is none."""
        found = self._state(reference)
        return None if found is None else _stamp(found)

    def size(self, reference: str) -> int | None:
        """How many bytes the file has; None where there is none."""
        found = self._state(reference)
        return None if found is None else found.st_size

    def _state(self, reference: str) -> os.stat_result | None:
        try:
            with _typed(), self._shelf_of(reference) as shelf:
                found = os.stat(reference[2:], dir_fd=shelf, follow_symlinks=False)
        except Unreadable:
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def read(self, reference: str) -> bytes:
        """The bytes, proved by their hash.

        Raises:
            Unreadable: the file is missing or damaged.
            StorageError: the disk does not give it.
        """
        with _typed(), self._open(reference) as file:
            content: bytes = file.readall()  # one object of the right size
        if sha256(content).hexdigest() != reference:
            raise Unreadable("damaged")
        return content

    def problem(self, reference: str) -> str | None:
        """What is wrong with a file, ``missing`` or ``damaged``; None for a sound one. Reads it in small parts."""
        try:
            with _typed(), self._open(reference) as file:
                return None if file_digest(file, "sha256").hexdigest() == reference else "damaged"
        except Unreadable as unreadable:
            return unreadable.problem

    @contextmanager
    def _open(self, reference: str) -> Generator[FileIO]:
        with self._shelf_of(reference) as shelf:
            fd = os.open(reference[2:], _READ_FLAGS, dir_fd=shelf)
            with FileIO(fd) as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise Unreadable("damaged")
                yield file

    @contextmanager
    def _shelf_of(self, reference: str) -> Generator[int]:
        """The shelf of a file. What is not found inside is missing; a link in its place, or a bad sector, is damage."""
        if not REFERENCE.fullmatch(reference):  # written by somebody else; it must not become a path
            raise Unreadable("damaged")
        root = self._root(make=False)
        if root is None:
            raise Unreadable("missing")
        try:
            with _shelf(root, reference[:2]) as fd:
                yield fd
        except FileNotFoundError:
            raise Unreadable("missing") from None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EIO}:
                raise Unreadable("damaged") from None
            raise

    # care ------------------------------------------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """Every file that is ours by its name, finished or not; what somebody else has put there is not looked at."""
        with _typed():
            root = self._root(make=False)
            if root is None:
                return
            yield from _entries(root.fd, "")
            for shelf in sorted(filter(SHELF.fullmatch, os.listdir(root.fd))):
                with suppress(NotADirectoryError), _shelf(root, shelf) as fd:
                    yield from _entries(fd, shelf)

    def remove(self, entry: Entry) -> None:
        """Remove a file if it is there, unless somebody is writing it."""
        with _typed():
            root = self._root(make=False)
            if root is not None:
                with suppress(FileNotFoundError), _shelf(root, entry.shelf) as fd:
                    if entry.reference is not None or _is_left(fd, entry.name):
                        os.unlink(entry.name, dir_fd=fd)

    def changed(self, entry: Entry) -> float | None:
        """When the file was put the last time, None if it is gone."""
        with _typed():
            root = self._root(make=False)
            if root is None:
                return None
            try:
                with _shelf(root, entry.shelf) as fd:
                    return os.stat(entry.name, dir_fd=fd, follow_symlinks=False).st_mtime
            except FileNotFoundError:
                return None

    def abandoned(self, *, dry: bool) -> int:
        """How many private folders beside this one belong to no living process; without `dry` they are removed."""
        import shutil

        found = 0
        for name in filter(PRIVATE.fullmatch, os.listdir(self.folder) if os.path.isdir(self.folder) else ()):
            path = os.path.join(self.folder, name)
            with _typed(), suppress(FileNotFoundError, NotADirectoryError):
                folder = Folder(os.open(path, _FOLDER_FLAGS))
                if _claim(folder.fd):
                    found += 1
                    if not dry:
                        shutil.rmtree(path)
        return found

    def close(self) -> None:
        """Let the folder go; a private one is removed."""
        if self._private:
            self.destroy()
        with self._guard:
            self._above = self._opened = None

    def destroy(self) -> None:
        """Remove everything; a link in the folder's place is left alone."""
        import shutil

        with self._guard:
            self._opened, self._ready = None, False
            self._synced.clear()
        path = os.path.join(self.folder, self._name)
        if os.path.isdir(path) and not os.path.islink(path):
            with _typed():
                shutil.rmtree(path)

    # the folder ------------------------------------------------------------------------------------------------

    def _root(self, *, make: bool) -> Folder | None:
        """The open folder, ready for new files with `make`; without it None where there is none."""
        opened = self._opened
        if opened is not None and (self._ready or not make):
            return opened
        with self._guard:
            if self._above is None and (make or os.path.isdir(self.folder)):
                self._above = self._made_folder()
            above = self._above
            if above is not None and self._opened is None:
                self._opened = self._open_root(above, make=make)
            if above is not None and self._opened is not None and make and not self._ready:
                self._prepare(above, self._opened)
            return self._opened

    def _made_folder(self) -> Folder:
        os.makedirs(self.folder, exist_ok=True)
        parent = _folder(os.path.dirname(self.folder))
        self._sync(parent.fd)
        return _folder(self.folder)

    def _open_root(self, above: Folder, *, make: bool) -> Folder | None:
        if make:
            with suppress(FileExistsError):
                os.mkdir(self._name, dir_fd=above.fd)
        try:
            root = Folder(os.open(self._name, _FOLDER_FLAGS, dir_fd=above.fd))
        except FileNotFoundError:
            if make:
                raise
            return None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise StorageError(
                    f"the workspace's folder {self._name!r} is a link or no folder, and links are not followed; "
                    "put a folder in its place, or the whole workspace where the link leads"
                ) from error
            raise
        if self._private:
            _claim(root.fd)
        _check_format(root)
        return root

    def _prepare(self, above: Folder, root: Folder) -> None:
        """Say which format new files have, and make the folder last: whoever made it may have died before."""
        try:
            os.stat(FORMAT_FILE, dir_fd=root.fd, follow_symlinks=False)
        except FileNotFoundError:
            self._write(root.fd, FORMAT_FILE, f"{FORMAT}\n".encode())
        self._sync(root.fd)
        self._sync(above.fd)
        self._ready = True


def _check_format(root: Folder) -> None:
    try:
        fd = os.open(FORMAT_FILE, _READ_FLAGS, dir_fd=root.fd)
    except FileNotFoundError:  # its maker has not come that far
        return
    with FileIO(fd) as file:
        text = file.read(32)
    if not text.strip().isdigit():
        raise StorageError(f"the file {FORMAT_FILE!r} among the workspace's files is damaged; restore a backup")
    if int(text) > FORMAT:
        raise FormatTooNew(
            f"the workspace's files have storage format {int(text)}; this HeavenBase reads up to {FORMAT}; upgrade it"
        )


def _folder(path: str) -> Folder:
    """An open folder; links on the way to a workspace are the user's own."""
    return Folder(os.open(path, _FOLDER_FLAGS & ~os.O_NOFOLLOW))


def is_recent(changed: float, grace_s: float) -> bool:
    """Whether a moment lies within the last seconds; a clock that was set back makes nothing recent for long."""
    return abs(time.time() - changed) < grace_s


def _claim(fd: int) -> bool:
    """Lock a file or folder for as long as it is open; False if somebody else has, or where there are no locks."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_left(folder: int, name: str) -> bool:
    """Whether whoever was writing an unfinished file has died."""
    fd = os.open(name, _READ_FLAGS, dir_fd=folder)
    try:
        return _claim(fd)
    finally:
        os.close(fd)


@contextmanager
def _shelf(root: Folder, shelf: str) -> Generator[int]:
    fd = os.open(shelf or ".", _FOLDER_FLAGS, dir_fd=root.fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _stamp(state: os.stat_result) -> Stamp:
    return state.st_ino, state.st_size, state.st_ctime_ns


def _holds(folder: int, name: str, value: bytes) -> bool:
    """Whether a file is there and holds exactly this; one that is damaged is written anew."""
    try:
        fd = os.open(name, _READ_FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP}:
            return False
        raise
    with open(fd, "rb", buffering=0) as file:
        if os.fstat(fd).st_size != len(value):
            return False
        left = memoryview(value)
        while left:
            part = file.read(CHUNK)
            if not part or part != left[: len(part)]:
                return False
            left = left[len(part) :]
        return True


def _entries(folder: int, shelf: str) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for one in found:
            if not (UNFINISHED.fullmatch(one.name) or (shelf and FILE.fullmatch(one.name))):
                continue
            with suppress(FileNotFoundError):
                state = one.stat(follow_symlinks=False)
                if stat.S_ISREG(state.st_mode):
                    yield Entry(shelf, one.name, state.st_size, state.st_mtime)


@contextmanager
def _typed() -> Generator[None]:
    """What the system raises inside becomes a typed error, without a path."""
    try:
        yield
    except (HeavenError, FileNotFoundError) as error:
        if isinstance(error, HeavenError):
            raise
        raise StorageError("the workspace's folder for files has gone while it was open; open it again") from error
    except OSError as error:
        raise _translated(error) from error


def _translated(error: OSError) -> StorageError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StorageFull("no space is left for the workspace's files; nothing was written")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return StorageReadOnly("the workspace's folder for files cannot be used; check its permissions")
    return StorageError("the disk failed to read or write one of the workspace's files; the cause says how")
