"""Open a bundle: check everything, report all problems in one error, unpickle nothing."""

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
    """Checked bundle on disk.

    Attributes:
        path: absolute path of its directory; symbolic links in the path are not resolved.
        manifest: contents of its manifest.
        seen: fingerprint of each file at its last check.
    """

    path: Path
    manifest: Manifest
    seen: dict[str, Fingerprint]

    @classmethod
    def open(cls, path: str | Path, *, rehash: bool = False) -> "Bundle":
        """Check a bundle and read its manifest.

        Args:
            path: directory of the bundle.
            rehash: whether to hash every file, even if its hash is cached and it has not changed.

        Raises:
            BundleError: the bundle is not valid; the message lists every problem, one per line.
        """
        if not isinstance(path, str | os.PathLike):
            raise BundleError(f"path: expected the directory of a bundle, got {path!r}")
        return cls._open(_absolute(path), rehash, None)

    @classmethod
    def _open(cls, path: Path, rehash: bool, around: Manifest | None) -> "Bundle":
        """Open a bundle, or the prior inside one.

        Args:
            path: absolute path of the bundle.
            rehash: as in `open`.
            around: manifest of the bundle whose prior this one is; `None` if it is not a prior.
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
            # The prior's manifest is read only if its hash is right.
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
        """Return the path of a file after checking that it has not changed.

        A file has changed if its size, modification time or inode has. If only its change time has
        (chmod or a hard link changes it), the file is hashed again.

        Raises:
            BundleError: the file has changed or no longer exists.
        """
        self.check(name)
        return self.path / name

    def check(self, *names: str) -> None:
        """Check that files have not changed, as `file` does; takes a few microseconds per file.

        Raises:
            BundleError: a file has changed or no longer exists.
        """
        for name in names:
            # Path would take twice the time, and each call of an engine checks several times.
            file, seen = f"{self.path}/{name}", self.seen[name]
            try:
                now = fingerprint(os.stat(file))
                if now == seen:
                    continue
                touched = now._replace(ctime_ns=seen.ctime_ns) == seen
                same = touched and sha256(file) == self.manifest.files[name].sha256
            except OSError as error:
                raise BundleError(
                    f"{file}: changed since the bundle was opened, and cannot be read "
                    f"({error.strerror or error}); load the bundle again"
                ) from error
            if not same:
                raise BundleError(
                    f"{file}: changed since the bundle was opened; load the bundle again"
                )
            self.seen[name] = now

    @contextlib.contextmanager
    def reading(self, *names: str) -> Iterator[None]:
        """Context manager to read files: checks before and after that they have not changed.

        Raises:
            BundleError: a file has changed or no longer exists.
        """
        self.check(*names)
        yield
        self.check(*names)

    def read(self, name: str) -> bytes:
        """Return the content of a file that has not changed; raises as `file` does."""
        with self.reading(name):
            return (self.path / name).read_bytes()

    def graph_file(self, graph: str, form: str) -> Path:
        """Return the path of a graph's file; arguments and errors as in `graph_name` and `file`."""
        return self.file(self.graph_name(graph, form))

    def graph_name(self, graph: str, form: str) -> str:
        """Return the name of a graph's file in a form; without that form, of the portable one.

        Raises:
            BundleError: the bundle has no such graph.
        """
        if graph not in self.manifest.graphs:
            raise BundleError(
                f"{self.path}: no graph {graph!r}, only {sorted(self.manifest.graphs)}; "
                f"export the model again with it"
            )
        files = self.manifest.graphs[graph].files
        return files.get(form, files["portable"])

    def prior(self) -> "Bundle":
        """Open the bundle of the prior, which is inside this one.

        Raises:
            BundleError: the bundle has no autoregressive prior, or the prior is not valid.
        """
        if not self.manifest.has_prior:
            raise BundleError(
                f"{self.path}: no autoregressive prior in the bundle; export the model again with "
                f"prior=..."
            )
        # The prior's manifest is checked here; it has the hashes of the prior's other files.
        with self.reading(f"{PRIOR}/{MANIFEST}"):
            return Bundle.open(self.path / PRIOR)

    def tokenizer(self) -> Tokenizer:
        """Open the tokenizer, which turns text into values and back.

        Raises:
            InvalidInput: the bundle has no tokenizer: values are not text, or only ids are known.
            BackendUnavailable: the `tokenizers` library is needed and not installed.
            BundleError: the tokenizer's file has changed since the bundle was opened.
        """
        kind = self.manifest.data.tokenizer
        if kind is None:
            raise InvalidInput(f"{self.path}: no tokenizer in the bundle; pass ids instead of text")
        return open_tokenizer(kind, self._tokenizer_file())

    def unused_tokenizer_settings(self) -> list[str]:
        """List the settings in the tokenizer's file that are ignored: dropout, truncation, padding.

        Raises:
            BundleError: the file has changed since the bundle was opened.
        """
        kind = self.manifest.data.tokenizer
        return [] if kind is None else unused_settings(kind, self._tokenizer_file())

    def _tokenizer_file(self) -> bytes:
        name = self.manifest.data.tokenizer_file
        return b"" if name is None else self.read(name)

    @property
    def weights_file(self) -> Path:
        """Path of the weights, in safetensors, after checking that they have not changed."""
        return self.file(self.manifest.weights)

    def known_answers(self) -> dict[str, NDArray[np.generic]]:
        """Return the known answers by name.

        Raises:
            BundleError: the file has changed, is not safetensors, or has values out of range.
        """
        with self.reading(self.manifest.known_answers):
            try:
                answers = dict(load_file(self.path / self.manifest.known_answers))
            except (SafetensorError, OSError, ValueError) as error:
                raise BundleError(
                    f"{self.path}: the known answers cannot be read ({error}); export the model "
                    f"again"
                ) from error
        problems = value_problems(answers, self.manifest)
        if problems:
            raise unsound(self.path, (f"known answers: {each}" for each in problems))
        return answers

    def unlisted(self) -> list[str]:
        """List files in the bundle's folder that the manifest does not list, which are never read.

        The folder of a prior is left out. At most 1000 files are listed.
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
    """Return an absolute path, which os.chdir does not affect.

    Raises:
        BundleError: the path is relative and the current directory no longer exists, or it is not
            UTF-8.
    """
    try:
        found = Path(path).absolute()
        str(found).encode()
        return found
    except UnicodeEncodeError as error:
        raise BundleError(
            f"{os.fspath(path)!a}: expected a path in UTF-8, which the runtimes need; rename the "
            f"folder, or make a link to it elsewhere"
        ) from error
    except FileNotFoundError as error:
        raise BundleError(
            f"{path}: the current directory no longer exists; pass an absolute path"
        ) from error
