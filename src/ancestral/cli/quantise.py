"""Quantise the source of `ancestral export`, and measure what it costs."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ancestral.cli.output import say
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.bundles.cost import Cost
    from ancestral.cli.checkpoint_folder import CheckpointOptions
    from ancestral.precision.split import Data

_GROUP = {"int8": 128, "int4": 32}
"""Numbers that share a scale, unless the user chooses: 8 bits lose little in long groups."""


@dataclass(frozen=True, slots=True)
class QuantiseOptions:
    """Options about quantised weights, as typed; None for the default.

    Attributes:
        weights: type of the weights.
        group: numbers that share a scale.
        asymmetric: whether codes have zero points.
        compute: type of the activations in products.
        scales: type of the scales in the file.
        data: file on which the cost is measured.
        n: number of first events or windows of the data.
        rounding: rule that rounds maps of 4 bits.
    """

    weights: Literal["int8", "int4"] | None = None
    group: int | None = None
    asymmetric: bool | None = None
    compute: Literal["float32", "int8"] | None = None
    scales: Literal["float32", "float16"] | None = None
    data: Path | None = None
    n: int | None = None
    rounding: Literal["nearest", "gptq"] | None = None

    @property
    def feeds_back(self) -> bool:
        """Whether maps of 4 bits are rounded with error feedback."""
        return self.rounding == "gptq"

    def refuse(self) -> None:
        """Check that no option is given without --weights.

        Raises:
            InvalidInput: an option was given.
        """
        for field in fields(self):
            if field.name != "weights" and getattr(self, field.name) is not None:
                option = "-n" if field.name == "n" else f"--{field.name}"
                raise InvalidInput(f"{option}: only used with --weights; add --weights int8")

    def check(self, dtype: str) -> None:
        """Check the options against each other.

        Raises:
            InvalidInput: an option does not fit another one.
        """
        from ancestral.bundles.quantisation import GROUPS

        if self.weights is None:
            self.refuse()
            return
        if self.group is not None and self.group not in GROUPS:
            raise InvalidInput(f"--group: expected one of {list(GROUPS)}, got {self.group}")
        self.check_dtype(dtype, f"--weights {self.weights}")
        if self.n is not None and self.data is None:
            raise InvalidInput("-n: only used with --data; name a file of events or texts")
        self.check_rounding()

    def check_rounding(self) -> None:
        """Check the rule that rounds weights.

        Raises:
            InvalidInput: it has no maps of 4 bits, or no data to follow.
        """
        if self.rounding is None:
            return
        if self.weights == "int8":
            raise InvalidInput("--rounding: only used with 4 bits; add --weights int4")
        if self.feeds_back and self.data is None:
            raise InvalidInput(
                "`--data` is required with --rounding gptq; pass a file of events or texts, half "
                "to round by, half to measure on"
            )

    def check_dtype(self, dtype: str, option: str) -> None:
        """Check the type of a bundle whose weights are quantised because of an option.

        Raises:
            InvalidInput: it is not float32.
        """
        if dtype != "float32":
            raise InvalidInput(
                f"--dtype: expected float32 with {option}, because no CPU runtime has a kernel for "
                f"{dtype} activations with such weights, got {dtype}"
            )


def export_quantised(
    bundle: Path,
    out: Path,
    options: QuantiseOptions,
    overwrite: bool,
    progress: Callable[[str], None],
) -> None:
    """Write the quantised bundle of a float32 bundle, with its cost if data are given.

    Raises:
        AncestralError: as in `quantise_bundle`, or the data do not fit the bundle.
        OSError: the bundle could not be written.
    """
    from ancestral.export.quantise import quantise_bundle
    from ancestral.precision.feedback import halved
    from ancestral.train.quantisation.quantise import Rounding, planned, round_nearest

    weights = options.weights
    assert weights is not None
    group = _GROUP[weights] if options.group is None else options.group
    given = None if options.data is None else read_data(bundle, options)
    rounding: Rounding = round_nearest
    if given is not None and options.feeds_back:
        progress("inputs of the maps")
        rounding, given = halved(bundle, given)
    quantise_bundle(
        bundle,
        out,
        lambda model: planned(
            model,
            weights,
            group=group,
            symmetric=not options.asymmetric,
            compute=options.compute or "float32",
            half_scales=options.scales == "float16",
        ),
        rounding=rounding,
        measure=None if given is None else lambda made: measured(made, bundle, out, given),
        overwrite=overwrite,
        progress=progress,
    )


def read_data(bundle: Path, options: QuantiseOptions) -> "Data":
    """Read the data of the options as a bundle takes them.

    Raises:
        InvalidInput: the file cannot be read, or does not fit the bundle; or the bundle is not in
            float32, or quantised.
    """
    import numpy as np

    from ancestral.bundles.bundle import Bundle
    from ancestral.cli import options as shared
    from ancestral.cli.compared_data import ComparedData, DataOptions
    from ancestral.engine.losses import compare
    from ancestral.export.recast import check_source
    from ancestral.files.atomic import sha256
    from ancestral.precision.split import Data

    assert options.data is not None
    check_source(Bundle.open(bundle))
    wanted = DataOptions(options.n, None, None, binarise=False, levels=None)
    engine = shared.load(bundle, "onnxruntime", "cpu", None, None)
    given = ComparedData.read(options.data, engine, wanted)
    if not engine.bundle.manifest.has_prior:
        # An export takes minutes, so data that cannot be compared are refused first.
        labels = given.labels[:2] if isinstance(given.labels, np.ndarray) else given.labels
        lengths = None if given.lengths is None else given.lengths[:2]
        compare(engine, engine, given.x[:2], labels, lengths=lengths)
    return Data(given.x, given.lengths, given.labels, options.data.name, sha256(options.data))


def measured(bundle: Path, source: Path, out: Path, data: "Data") -> "Cost":
    """Measure, and show, what a bundle that will be `out` loses on data."""
    from ancestral.cli import options as shared
    from ancestral.cli.output import show
    from ancestral.cli.present.cost_table import cost_table
    from ancestral.engine.losses import compare
    from ancestral.progress import progress_bar

    engines = [shared.load(each, "onnxruntime", "cpu", None, None) for each in (bundle, source)]
    with progress_bar("comparing") as progress:
        found = compare(
            engines[0], engines[1], data.x, data.labels, 0, progress, lengths=data.lengths
        )
    cost = found.cost(data.name, data.sha256)
    show(cost_table(out, source, cost))
    return cost


@contextmanager
def float32_bundle(
    source: Path,
    out: Path,
    options: "CheckpointOptions",
    progress: Callable[[str], None],
) -> Iterator[Path]:
    """Yield the float32 bundle of a source: the source, or a temporary export of a checkpoint."""
    from ancestral.bundles.manifest import MANIFEST
    from ancestral.export.bundle import export_bundle

    if (source / MANIFEST).is_file():
        options.refuse(source)
        yield source
        return
    found = options.open(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ancestral-", dir=out.parent) as folder:
        bundle = Path(folder) / "float32"
        say("exporting in float32 first, as the source of the quantised bundle")
        export_bundle(
            found.model,
            bundle,
            prior=found.prior,
            label_prior=found.label_prior,
            files=found.files,
            ignored_fields=found.ignored_fields,
            own=True,
            progress=progress,
        )
        yield bundle
