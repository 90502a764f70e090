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
    """

    weights: Literal["int8", "int4"] | None = None
    group: int | None = None
    asymmetric: bool | None = None
    compute: Literal["float32", "int8"] | None = None
    scales: Literal["float32", "float16"] | None = None
    data: Path | None = None
    n: int | None = None

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
        if self.weights is None:
            self.refuse()
            return
        self.check_dtype(dtype, f"--weights {self.weights}")
        if self.n is not None and self.data is None:
            raise InvalidInput("-n: only used with --data; name a file of events or texts")

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
    from ancestral.train.quantisation.quantise import planned

    weights = options.weights
    assert weights is not None
    group = _GROUP[weights] if options.group is None else options.group
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
        measure=None if options.data is None else lambda made: measured(made, bundle, out, options),
        overwrite=overwrite,
        progress=progress,
    )


def measured(bundle: Path, source: Path, out: Path, options: QuantiseOptions) -> "Cost":
    """Measure, and show, what a bundle that will be `out` loses on the data of the options."""
    from ancestral.cli import options as shared
    from ancestral.cli.compared_data import ComparedData, DataOptions
    from ancestral.cli.output import show
    from ancestral.cli.present.cost_table import cost_table
    from ancestral.engine.losses import compare
    from ancestral.files.atomic import sha256
    from ancestral.progress import progress_bar

    assert options.data is not None
    engines = [shared.load(each, "onnxruntime", "cpu", None, None) for each in (bundle, source)]
    wanted = DataOptions(options.n, None, None, binarise=False, levels=None)
    given = ComparedData.read(options.data, engines[0], wanted)
    with progress_bar("comparing") as progress:
        found = compare(
            engines[0], engines[1], given.x, given.labels, 0, progress, lengths=given.lengths
        )
    cost = found.cost(options.data.name, sha256(options.data))
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
