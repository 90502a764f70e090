"""Open a bundle: check everything, report every problem at once, unpickle nothing."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ancestral.bundles.answers import value_problems
from ancestral.bundles.hashes import Fingerprint, check_links, file_problems, fingerprint
from ancestral.bundles.manifest import MANIFEST, PRIOR, Manifest
from ancestral.bundles.manifest_file import read_manifest, unsound
from ancestral.bundles.soundness import content_problems, path_problems, prior_problems
from ancestral.errors import BundleError, InvalidInput
from ancestral.files.atomic import sha256
from ancestral.text.kinds import open_tokenizer, unused_settings
from ancestral.text.tokenizer import Tokenizer

_UNLISTED = 1000


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle on disk.

    Attributes:
        path: its directory, absolute; symbolic links in it are kept as they are.
        manifest: what it holds.
        seen: fingerprint of each file when it was last checked.
    """

    path: Path
    manifest: Manifest
    seen: dict[str, Fingerprint]

    @classmethod
    def open(cls, path: str | Path, *, rehash: bool = False) -> "Bundle":
        """Check a bundle and read its manifest.

        Args:
            path: the bundle's directory.
            rehash: hash every file, even one that was hashed before and has not changed since.

        Raises:
            BundleError: with every problem that was found, one a line.
        """
        if not isinstance(path, str | os.PathLike):
            raise BundleError(f"expected the path of a bundle, a folder, got {path!r}")
        return cls._open(_absolute(path), rehash, None)

    @classmethod
    def _open(cls, path: Path, rehash: bool, around: Manifest | None) -> "Bundle":
        """Open a bundle, or the prior inside one.

        Args:
            path: absolute.
            rehash: as in `open`.
            around: of the bundle that this one is the prior of.
        """
        manifest = read_manifest(path)
        problems = path_problems(manifest)
        if not problems:
            check_links(path, manifest)
        if around is not None:
            problems += prior_problems(manifest, around)
        seen: dict[str, Fingerprint] = {}
        if not problems:
            problems = file_problems(path, manifest, rehash, seen)
            # Only a manifest that is the one of the hash is read.
            prior = not any(problem.startswith(f"{PRIOR}/{MANIFEST}:") for problem in problems)
            if manifest.has_prior and prior:
                try:
                    cls._open(path / PRIOR, rehash, manifest)
                except BundleError as error:
                    problems += [f"{PRIOR}: {line}" for line in str(error).splitlines()]
        if not problems:
            problems = content_problems(path, manifest)
        if problems:
            raise unsound(path, problems)
        return cls(path, manifest, seen)

    def file(self, name: str) -> Path:
        """A file of the bundle, which is still the one that was checked.

        It has changed if its size, modification time or inode has. Where only its change time has,
        by chmod or a hard link say, it is hashed again.

        Raises:
            BundleError: it has changed since, or is gone.
        """
        self.check(name)
        return self.path / name

    def check(self, *names: str) -> None:
        """Refuse files that have changed, as `file` does; in some microseconds each.

        Raises:
            BundleError: one has changed since, or is gone.
        """
        for name in names:
            # Not by Path, which takes twice the time: each call of an engine checks several times.
            file, seen = f"{self.path}/{name}", self.seen[name]
            try:
                now = fingerprint(os.stat(file))
                if now == seen:
                    continue
                touched = now._replace(ctime_ns=seen.ctime_ns) == seen
                same = touched and sha256(file) == self.manifest.files[name].sha256
            except OSError as error:
                raise BundleError(
                    f"{file}: changed since the bundle was opened: it can no longer be read "
                    f"({error}): load the bundle again"
                ) from error
            if not same:
                raise BundleError(
                    f"{file}: changed since the bundle was opened: load the bundle again"
                )
            self.seen[name] = now

    @contextlib.contextmanager
    def reading(self, *names: str) -> Iterator[None]:
        """Within it files are read; before and after they are the ones that were checked.

        Raises:
            BundleError: one of them has changed.
        """
        self.check(*names)
        yield
        self.check(*names)

    def read(self, name: str) -> bytes:
        """The content of a file, which is still the one that was checked; errors as of `file`."""
        with self.reading(name):
            return (self.path / name).read_bytes()

    def graph_file(self, graph: str, form: str) -> Path:
        """The file of a graph; arguments and errors as of `graph_name`, and of `file`."""
        return self.file(self.graph_name(graph, form))

    def graph_name(self, graph: str, form: str) -> str:
        """The name of the file of a graph in a form, or in the portable one where they are one.

        Raises:
            BundleError: the bundle has no such graph.
        """
        if graph not in self.manifest.graphs:
            raise BundleError(
                f"{self.path}: expected a graph {graph!r}, got {sorted(self.manifest.graphs)}: "
                f"export the model again with it"
            )
        files = self.manifest.graphs[graph].files
        return files.get(form, files["portable"])

    def prior(self) -> "Bundle":
        """The bundle of the prior, inside this one.

        Raises:
            BundleError: there is none, or it is not sound.
        """
        if not self.manifest.has_prior:
            raise BundleError(f"{self.path}: expected an autoregressive prior, got none")
        # Its manifest holds the hashes of its other files, and is the one that was checked here.
        with self.reading(f"{PRIOR}/{MANIFEST}"):
            return Bundle.open(self.path / PRIOR)

    def tokenizer(self) -> Tokenizer:
        """How text becomes values.

        Raises:
            InvalidInput: the bundle has none: its values are no text, or ids alone are known.
            BackendUnavailable: it needs the `tokenizers` library, which is not installed.
            BundleError: its file has changed since the bundle was opened.
        """
        kind = self.manifest.data.tokenizer
        if kind is None:
            raise InvalidInput(f"{self.path}: expected a tokenizer, got none: give ids, no text")
        return open_tokenizer(kind, self._tokenizer_file())

    def unused_tokenizer_settings(self) -> list[str]:
        """Settings of the tokenizer's file that are switched off: dropout, truncation, padding.

        Raises:
            BundleError: its file has changed since the bundle was opened.
        """
        kind = self.manifest.data.tokenizer
        return [] if kind is None else unused_settings(kind, self._tokenizer_file())

    def _tokenizer_file(self) -> bytes:
        name = self.manifest.data.tokenizer_file
        return b"" if name is None else self.read(name)

    @property
    def weights_file(self) -> Path:
        """The weights, in safetensors."""
        return self.file(self.manifest.weights)

    def known_answers(self) -> dict[str, NDArray[np.generic]]:
        """The reference answers by name.

        Raises:
            BundleError: the file is no safetensors file.
        """
        with self.reading(self.manifest.known_answers):
            try:
                answers = dict(load_file(self.path / self.manifest.known_answers))
            except (SafetensorError, OSError, ValueError) as error:
                raise BundleError(
                    f"{self.path}: the known answers cannot be read: {error}"
                ) from error
        problems = value_problems(answers, self.manifest)
        if problems:
            raise unsound(self.path, (f"known answers: {each}" for each in problems))
        return answers

    def unlisted(self) -> list[str]:
        """Files in the bundle's folder that the manifest does not name: nothing reads them.

        Those of a prior are its own bundle's. At most 1000 are named.
        """
        prior = self.manifest.has_prior
        found = []
        for folder, inner, names in os.walk(self.path):
            place = Path(folder).relative_to(self.path)
            if prior and place == Path():
                inner[:] = [name for name in inner if name != PRIOR]
            links = [name for name in inner if os.path.islink(os.path.join(folder, name))]
            found += [str(place / name) for name in (*names, *links)]
            if len(found) > _UNLISTED + len(self.manifest.files):
                break
        return sorted(set(found) - {MANIFEST, *self.manifest.files})[:_UNLISTED]


def _absolute(path: str | Path) -> Path:
    """A path that os.chdir does not change.

    Raises:
        BundleError: it is relative to a directory that is gone, or is not UTF-8.
    """
    try:
        found = Path(path).absolute()
        str(found).encode()
        return found
    except UnicodeEncodeError as error:
        raise BundleError(
            f"{os.fspath(path)!a}: expected a path in UTF-8, as runtimes open no other: rename the "
            f"folder, or make a link to it elsewhere"
        ) from error
    except FileNotFoundError as error:
        raise BundleError(
            f"{path}: the directory that it is relative to is gone: give an absolute path"
        ) from error
