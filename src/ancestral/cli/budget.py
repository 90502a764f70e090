"""Quantise the source of `ancestral export` under a budget of likelihood."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ancestral.cli.output import check_target, say
from ancestral.cli.quantise import QuantiseOptions, read_data
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.bundles.quantisation import Quantisation


@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """Options about a budget, as typed.

    Attributes:
        nats: largest loss in nats per position.
        bits: the same in bits per dimension; at most one of the two is given.
        report: file of the JSON document.
        plot: file of the picture.
    """

    nats: float | None = None
    bits: float | None = None
    report: Path | None = None
    plot: Path | None = None

    @property
    def budget(self) -> float | None:
        """The budget in nats per position; None without one."""
        return self.nats if self.bits is None else self.bits * math.log(2)

    def check(self, precision: QuantiseOptions, dtype: str, keep: Iterable[Path | None]) -> None:
        """Check these options, and those about weights that are given with them.

        Args:
            precision: options about weights.
            dtype: type of the bundle.
            keep: files and folders that the command reads or writes.

        Raises:
            InvalidInput: an option is invalid, or does not fit another one.
        """
        from ancestral.cli.installed import require
        from ancestral.paired_mean import checked_budget

        if self.budget is None:
            for option, given in (("--report", self.report), ("--plot", self.plot)):
                if given is not None:
                    raise InvalidInput(f"{option}: only used with --budget; add --budget 1e-3")
            precision.check(dtype)
            return
        if self.nats is not None and self.bits is not None:
            raise InvalidInput("--budget, --budget-bits-per-dim: expected one of the two, got both")
        if self.nats is not None:
            checked_budget(self.nats, "--budget")
        elif self.bits is not None:
            checked_budget(self.bits, "--budget-bits-per-dim", "bits")
        precision.check_dtype(dtype, "--budget")
        if precision.data is None:
            raise InvalidInput(
                "`--data` is required with --budget; pass a file of events or texts: half of it is "
                "used to choose, half to measure"
            )
        precision.check_rounding()
        if precision.group is not None:
            raise InvalidInput("--group: not used with --budget, which tries groups; leave it out")
        if self.plot is not None:
            require("export --plot", ("matplotlib",), "plot")
        others = tuple(keep)
        check_target(self.report, (".json",), "--report", others)
        check_target(self.plot, (".png",), "--plot", others)


def export_within(
    bundle: Path,
    out: Path,
    options: BudgetOptions,
    precision: QuantiseOptions,
    overwrite: bool,
    progress: Callable[[str], None],
    at: Callable[[str], None],
) -> "Quantisation":
    """Write the bundle of a float32 bundle that is within a budget; print what was found.

    Args:
        bundle: folder of the float32 bundle.
        out: folder of the new bundle.
        options: the budget.
        precision: data, and what is restricted.
        overwrite: whether to replace an existing bundle.
        progress: called with the name of each stage.
        at: called with a text for the next line of progress.

    Raises:
        AncestralError: as in `quantise_within`.
        OSError: a file could not be written.
    """
    from ancestral.cli.output import json_text, show
    from ancestral.cli.present.cost_table import cost_table
    from ancestral.cli.present.pareto_picture import pareto_picture
    from ancestral.cli.present.pareto_table import pareto_document, pareto_table
    from ancestral.files.atomic import write_atomically
    from ancestral.precision.budget import quantise_within
    from ancestral.precision.search import Settings

    assert options.budget is not None
    data = read_data(bundle, precision)
    settings = Settings(
        weights=precision.weights,
        compute=precision.compute or "float32",
        half_scales=precision.scales == "float16",
        symmetric=not precision.asymmetric,
        error_feedback=precision.feeds_back,
    )
    found = quantise_within(
        bundle,
        out,
        options.budget,
        data,
        settings,
        overwrite=overwrite,
        progress=progress,
        forwards=lambda done, total: at(f"measuring each weight, {done}/{total} forwards"),
    )
    show(cost_table(out, bundle, found.cost), pareto_table(found))
    if options.report is not None:
        document = pareto_document(bundle, found)
        write_atomically(options.report, json_text(document).encode() + b"\n")
        say(f"-> {options.report}")
    if options.plot is not None:
        write_atomically(options.plot, pareto_picture(found, out.name))
        say(f"-> {options.plot}")
    return found.plan
