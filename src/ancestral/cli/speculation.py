"""Options of speculation, for the commands that draw or measure: who proposes values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ancestral.cli.options import panel
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

if TYPE_CHECKING:
    from ancestral.engine import AutoregressiveEngine
    from ancestral.engine.speculation import Proposer, Speculate, Speculated

_option = panel("Speculation")
_NAMES = ("auto", "jacobi", "ngram", "table", "draft", "whole")
_EVENTS = (".npy", ".npz")

Name = Annotated[
    str | None,
    _option(
        "--speculate",
        metavar="NAME",
        help="Propose values and draw them in blocks: the same samples in fewer calls, for few "
        "samples at a time. auto: what suits the model, for one sample; jacobi: what the last "
        "block drew; ngram: what followed the same values before; table: counts of --corpus "
        "(images); draft: a smaller bundle; whole: all positions at the same time, for small "
        "PixelCNNs.",
    ),
]
DraftBundle = Annotated[
    Path | None,
    _option(
        metavar="BUNDLE",
        help="Smaller bundle of the same data, which proposes values; implies --speculate draft.",
    ),
]
Corpus = Annotated[
    list[Path] | None,
    _option(
        metavar="FILE",
        help="Data that proposals are taken from: UTF-8 texts, or .npz or .npy events (x, for "
        "table perhaps labels y). May be repeated. For ngram and table.",
    ),
]
Block = Annotated[
    int | None,
    _option(
        metavar="N",
        help="Positions of each block. Default: chosen by measured cost and by how often "
        "proposals are right.",
    ),
]


@dataclass(frozen=True, slots=True)
class Given:
    """The options of speculation as they were given.

    Attributes:
        name: kind of proposer; None without speculation.
        draft: folder of the smaller bundle.
        corpus: files of data.
        block: positions of each block.
    """

    name: str | None = None
    draft: Path | None = None
    corpus: Sequence[Path] = ()
    block: int | None = None

    @property
    def any(self) -> bool:
        """Whether an option was given."""
        return self != Given()

    def speculate(self, engine: "AutoregressiveEngine") -> "Speculate":
        """Return the proposer for an engine.

        Raises:
            InvalidInput: the options do not belong together, a file cannot be read, or the
                proposer does not fit the model.
            BundleError: the smaller bundle is damaged.
        """
        from ancestral.engine.speculation import Speculation, WholeEvents

        name = "draft" if self.name is None and self.draft is not None else self.name
        self._check(name)
        if name is None:
            return None
        if name == "auto" and not self.corpus:
            return "auto" if self.block is None else Speculation("auto", self.block)
        if name == "whole":
            if self.block is not None:
                raise InvalidInput("--block: not used with --speculate whole; leave it out")
            return WholeEvents()
        return Speculation(self._proposer(name, engine), self.block)

    def _check(self, name: str | None) -> None:
        if name is None and (self.corpus or self.block is not None):
            raise InvalidInput("--corpus and --block are only used with --speculate; add it")
        if name is not None and name not in _NAMES:
            raise InvalidInput(
                f"--speculate: expected one of {', '.join(_NAMES)}, got {quoted(name)}"
            )
        if (name == "draft") != (self.draft is not None):
            raise InvalidInput(
                "--draft: expected with --speculate draft, and only with it"
                if self.draft is not None
                else "--speculate draft: expected --draft BUNDLE, a smaller bundle of the same data"
            )
        if self.corpus and name not in ("ngram", "table"):
            raise InvalidInput(
                f"--corpus: only used with --speculate ngram or table, got {quoted(str(name))}"
            )
        if name == "table" and not self.corpus:
            raise InvalidInput("--speculate table: expected --corpus FILE, events to count")

    def _proposer(self, name: str, engine: "AutoregressiveEngine") -> "Proposer":
        from ancestral.engine import AutoregressiveEngine
        from ancestral.engine.speculation import Draft, Jacobi, Ngram, Table

        if name == "ngram":
            return Ngram(self._texts(engine))
        if name == "table":
            events, labels = self._events(engine)
            return Jacobi(Table(events, engine.data, labels))
        if name == "draft":
            assert self.draft is not None
            backend = engine.backend
            return Draft(
                AutoregressiveEngine.load(
                    self.draft,
                    backend=backend.name,
                    device=backend.device,
                    threads=backend.threads(1),
                )
            )
        return Jacobi()

    def _texts(self, engine: "AutoregressiveEngine") -> list[Any]:
        """Return the sequences of values in the files, by positions."""
        from ancestral.cli.text_input import encode_texts, read_text

        found: list[Any] = []
        for file in self.corpus:
            if file.suffix in _EVENTS:
                found += list(engine.data.in_order(self._read(file, engine)[0]))
            elif engine.data.tokenizer is None:
                raise InvalidInput(
                    f"--corpus {file}: expected .npz or .npy events, because the bundle has no "
                    f"tokenizer"
                )
            else:
                text = read_text(file, "--corpus")
                found += encode_texts(engine.tokenizer(), [text], f"--corpus {file}")
        return found

    def _events(self, engine: "AutoregressiveEngine") -> tuple[Any, Any]:
        """Return the events in the files, [n, *event_shape], and their labels if all have some."""
        import numpy as np

        for file in self.corpus:
            if file.suffix not in _EVENTS:
                raise InvalidInput(f"--corpus {file}: expected .npz or .npy events for table")
        parts = [self._read(file, engine) for file in self.corpus]
        labels = [label for _, label in parts if label is not None]
        whole = np.concatenate([events for events, _ in parts])
        known = len(labels) == len(parts) and engine.data.num_classes is not None
        return whole, np.concatenate(labels) if known else None

    def _read(self, file: Path, engine: "AutoregressiveEngine") -> tuple[Any, Any]:
        from ancestral.arrays import integers
        from ancestral.cli.events import labels_in
        from ancestral.files.array_file import ArrayFile

        arrays = ArrayFile.open(file)
        x = integers(f"--corpus {file}: x", arrays.pick("x"))
        if x.shape[1:] != engine.data.event_shape:
            raise InvalidInput(
                f"--corpus {file}: expected events {list(engine.data.event_shape)}, got "
                f"{list(x.shape[1:])}"
            )
        return x, labels_in(arrays)


def described(speculated: "Speculated | None") -> str:
    """Return what speculation did, for the line about samples; empty without it."""
    if speculated is None:
        return ""
    if speculated.proposer is None:
        return f"; drawn step by step: {speculated.remark}"
    shares = speculated.kept.total() - speculated.calls
    proposed = sum((block - 1) * calls for block, calls in speculated.blocks.items())
    right = f", {shares / proposed:.0%} of the proposals right" if proposed else ""
    remark = "" if speculated.remark is None else f" ({speculated.remark})"
    return (
        f"; {speculated.proposer}: {speculated.calls:,} calls for {speculated.positions:,} "
        f"positions{right}{remark}"
    )
