"""The folder of a job: on disk, or in an object store by its URL."""

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
from pyarrow import fs

from ancestral.bulk.signals import deferred
from ancestral.errors import BackendUnavailable, InvalidInput
from ancestral.files.atomic import tidy, write_atomically
from ancestral.files.renames import sync_folder
from ancestral.files.temporary import temporary

_OWN = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss", "file")
"""Schemes of pyarrow's own file systems; fsspec has the others."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Errors of file systems without hard links, where a file may replace another in `put_new`."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of a store.

    Attributes:
        name: its name.
        size: size in bytes.
        changed_ns: time of the last change, in nanoseconds.
    """

    name: str
    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Store:
    """Files of one folder, each of which appears whole or not at all.

    Attributes:
        filesystem: the file system.
        root: path of the folder in it.
        local: the folder on disk; None in an object store.
        label: the folder for messages, without credentials.
    """

    filesystem: fs.FileSystem
    root: str
    local: Path | None
    label: str

    @classmethod
    def open(cls, place: str) -> "Store":
        """Open a folder or a URL; a folder need not exist.

        Raises:
            InvalidInput: the URL cannot be read, its scheme is unknown, or the path is a file.
            BackendUnavailable: the scheme needs a package that is not installed.
        """
        filesystem, root = file_system(place)
        if isinstance(filesystem, fs.LocalFileSystem):
            local = Path(os.path.abspath(root))
            if local.exists() and not local.is_dir():
                raise InvalidInput(f"--out: expected a folder, got a file: {local}")
            return cls(filesystem, str(local), local, str(place))
        label = without_credentials(place)
        if not root.strip("/"):
            raise InvalidInput(f"--out: expected a bucket and a folder in it, got {label}")
        return cls(filesystem, root.rstrip("/"), None, label)

    @property
    def exclusive(self) -> bool:
        """Whether `put_new` is exclusive: of several processes, one writes the file."""
        return self.local is not None

    @property
    def private(self) -> bool:
        """Whether other processes cannot see the files, because they are in memory."""
        return isinstance(self.filesystem, fs.PyFileSystem) and self.label.startswith("memory:")

    def shown(self, name: str) -> str:
        """Return the path of a file for messages."""
        return f"{self.label.rstrip('/')}/{name}"

    def names(self) -> Iterator[Listed]:
        """Yield the files of the folder by name; none if it does not exist.

        Raises:
            OSError: the folder cannot be listed.
        """
        selector = fs.FileSelector(self.root, allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        for info in sorted(found, key=lambda each: each.base_name):
            if info.type == fs.FileType.File:
                yield Listed(info.base_name, info.size, info.mtime_ns or 0)

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name."""
        return bool(self.filesystem.get_file_info(self._path(name)).is_file)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it does not exist.

        Raises:
            OSError: it cannot be read.
        """
        try:
            with self.opened(name) as file:
                content: bytes = file.read()
        except FileNotFoundError:
            return None
        return content

    def opened(self, name: str) -> pa.NativeFile:
        """Return a file opened for reading at any place; a context manager.

        Raises:
            OSError: it cannot be opened.
        """
        return self.filesystem.open_input_file(self._path(name))

    def put(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file; an old file of that name is replaced.

        On disk it is a temporary file that takes the name. In an object store, the object appears
        when it has been sent, which takes one request below 10 MiB in S3.

        Raises:
            OSError: it cannot be written; an old file of that name is intact.
        """
        if self.local is not None:
            with deferred():
                write_atomically(self.local / name, lambda file: file.write(content))
            return
        try:
            self._send(name, content)
        except OSError:
            # The folder or the bucket may be missing; to ask each time would take three requests.
            self.filesystem.create_dir(self.root, recursive=True)
            self._send(name, content)

    def put_new(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one of that name; return whether it was written.

        Raises:
            OSError: it cannot be written.
        """
        if self.local is None:
            if self.read(name) is not None:
                return False
            self.put(name, content)
            return True
        self.local.mkdir(parents=True, exist_ok=True)
        tidy(self.local)
        with deferred(), temporary(self.local / name) as work:
            try:
                os.write(work.handle, content)
                os.fsync(work.handle)
                os.link(work.path, self.local / name)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if (self.local / name).exists():
                    return False
                os.replace(work.path, self.local / name)
            finally:
                work.path.unlink(missing_ok=True)
        sync_folder(self.local)
        return True

    def delete(self, name: str) -> None:
        """Delete a file, if it exists.

        Raises:
            OSError: it cannot be deleted.
        """
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self._path(name))

    def _send(self, name: str, content: bytes | pa.Buffer) -> None:
        with self.filesystem.open_output_stream(self._path(name)) as file:
            file.write(content)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"


def file_system(place: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or URL, and the path in it.

    Raises:
        InvalidInput: the URL cannot be read, or its scheme is unknown.
        BackendUnavailable: the scheme needs a package that is not installed.
    """
    scheme = urlsplit(place).scheme if "://" in place else ""
    if not scheme:
        return fs.LocalFileSystem(), os.path.abspath(place)
    shown = without_credentials(place)
    try:
        if scheme in _OWN:
            return _own(place)
        from fsspec.core import url_to_fs

        inner, path = url_to_fs(place)
        return fs.PyFileSystem(fs.FSSpecHandler(inner)), path
    except ImportError as error:
        raise BackendUnavailable(
            f"{shown}: needs the package of the scheme {scheme!r} for fsspec: pip install fsspec, "
            f"and the package that its documentation names"
        ) from error
    except (ValueError, NotImplementedError, pa.ArrowException) as error:
        raise InvalidInput(
            f"{shown}: expected a path or a URL such as s3://bucket/folder, got one that cannot "
            f"be opened ({type(error).__name__})"
        ) from None


def _own(place: str) -> tuple[fs.FileSystem, str]:
    """Return pyarrow's file system of a URL; in S3 it sends a small object with one request."""
    parts = urlsplit(place)
    if parts.scheme == "s3":
        query = "&".join(filter(None, (parts.query, "allow_delayed_open=true")))
        # Older versions of pyarrow lack the option.
        with contextlib.suppress(pa.ArrowInvalid):
            found, path = fs.FileSystem.from_uri(urlunsplit(parts._replace(query=query)))
            return found, path
    found, path = fs.FileSystem.from_uri(place)
    return found, path


def without_credentials(place: str) -> str:
    """Return a URL without user, password and query; a path as it is.

    >>> without_credentials("s3://key:secret@bucket/folder?endpoint_override=localhost:5000")
    's3://bucket/folder'
    """
    if "://" not in place:
        return place
    parts = urlsplit(place)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
