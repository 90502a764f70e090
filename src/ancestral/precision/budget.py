"""Quantise a bundle so that its loss on held-out data is within a budget, in the fewest bytes.

The search begins with every weight in its fewest bytes, and walks along the plans of `choice` to
the first whose predicted loss is within the budget. That plan is measured as a whole, first in
PyTorch on the calibration half, then exported and measured on the held-out half. If it loses too
much, the next plan is chosen for a smaller target. A bundle over the budget never gets its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.cost import Cost
from ancestral.bundles.quantisation import Quantisation
from ancestral.engine import Engine
from ancestral.engine.losses import compare
from ancestral.errors import InvalidInput
from ancestral.export.place import check_target
from ancestral.export.quantise import quantise_bundle
from ancestral.export.recast import check_source
from ancestral.paired_mean import checked_budget
from ancestral.precision.calibration import calibration, units
from ancestral.precision.pareto import Point, points, step_ms
from ancestral.precision.search import Search, Settings
from ancestral.precision.split import Data, halves
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Codes
from ancestral.train.stored_model import bundled_model

DEFAULT = Settings()
_EXPORTS = 3
"""Most bundles that are exported and measured before the search gives up."""


class _OverBudget(Exception):
    """A bundle, finished but without its name, loses too much."""

    def __init__(self, upper: float) -> None:
        super().__init__(f"{upper} nats")
        self.upper = upper


@dataclass(frozen=True, slots=True)
class Within:
    """A bundle within a budget.

    Attributes:
        path: its folder.
        plan: what is quantised.
        cost: what it loses on the held-out half.
        budget: the budget, in nats per position.
        calibrated: number of events or windows that the plan was chosen by.
        points: plans with their bytes and losses, the largest first.
    """

    path: Path
    plan: Quantisation
    cost: Cost
    budget: float
    calibrated: int
    points: list[Point]


def quantise_within(  # noqa: PLR0913 - what a user may choose
    bundle: str | Path,
    out: str | Path,
    budget: float,
    data: Data,
    settings: Settings = DEFAULT,
    *,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
    forwards: Callable[[int, int], object] = lambda done, total: None,
) -> Within:
    """Write the quantised bundle of a float32 bundle whose loss is within a budget.

    The data are cut into two halves (`split.halves`). The loss on the held-out half, the mean plus
    2 standard errors, is at most the budget, as the bundle runs on ONNX Runtime. It is stored in
    the manifest.

    Args:
        bundle: directory of a float32 bundle.
        out: directory of the new bundle.
        budget: largest loss, in nats per position.
        data: data of the bundle, at least 4 events or windows.
        settings: what is restricted.
        overwrite: whether to replace an existing bundle.
        progress: called with a short text before each stage.
        forwards: called with the number of finished forwards of the search, and of all.

    Raises:
        InvalidInput: the budget is not a finite number above 0; the data are not the bundle's, or
            too few to decide; no plan is within the budget; the bundle is quantised, not in
            float32, a VQ-VAE, of your own class, or does not pass its own verification; or `out`
            exists and may not be replaced.
        BundleError: the bundle is missing, altered or damaged.
        ExportError: a graph could not be made or breaks a rule.
        OSError: the bundle could not be written; a bundle at `out` is unchanged.
    """
    budget = checked_budget(budget)
    opened = Bundle.open(bundle)
    check_source(opened)
    check_target(Path(out).resolve(), overwrite)
    source = Engine.load(bundle)
    model = bundled_model(opened)
    if isinstance(model, LatentVariableModel) and isinstance(model.posterior, Codes):
        raise InvalidInput(
            "budget: expected a model with its own prior, got a VQ-VAE, whose weights are not "
            "searched; use --weights, and --data to measure the loss"
        )
    unit, counts = units(source, data)
    chosen_by, held_out = halves(len(counts), unit)
    progress("verifying the source")
    _check_verified(source)
    calibrating = calibration(source, model, data.part(chosen_by))
    size = (len(held_out), int(counts[held_out].sum()))
    search = Search(model, budget, settings, calibrating, size)
    progress("measuring each weight")
    search.measure(forwards)
    written = _Written(source, data.part(held_out), budget)
    plan = _export(search, written, Path(out).resolve(), overwrite, progress)
    progress("plans for the table")
    ms = (step_ms(source), written.ms)
    table = points(search, plan, written.cost, ms)
    return Within(Path(out).resolve(), plan, written.cost, budget, search.units, table)


def _check_verified(source: Engine) -> None:
    """Check that the source keeps its own probabilities.

    Raises:
        InvalidInput: a check of `verify` fails.
    """
    report = source.verify()
    if not report.passed:
        raise InvalidInput(
            f"{source.bundle.path}: expected a bundle that passes `ancestral verify`, got one that "
            f"fails on {source.backend.name} ({report.failures[0]}); export it again"
        )


class _Written:
    """Measures finished bundles on the held-out half; the last one within the budget is kept."""

    cost: Cost
    ms: float

    def __init__(self, source: Engine, held_out: Data, budget: float) -> None:
        self.source, self._data, self._budget = source, held_out, budget

    def measure(self, folder: Path) -> Cost:
        """Return what the bundle in a folder loses.

        Raises:
            _OverBudget: it loses too much.
        """
        engine, data = Engine.load(folder), self._data
        found = compare(engine, self.source, data.x, data.labels, lengths=data.lengths)
        self.cost = found.cost(data.name, data.sha256)
        if not self.cost.upper_nats <= self._budget:
            raise _OverBudget(self.cost.upper_nats)
        self.ms = step_ms(engine)
        return self.cost


def _export(
    search: Search,
    written: _Written,
    out: Path,
    overwrite: bool,
    progress: Callable[[str], None],
) -> Quantisation:
    """Export plans until one is within the budget, and return it.

    Raises:
        InvalidInput: none is.
    """
    for _ in range(_EXPORTS):
        progress("choosing the types of the weights")
        plan = search.next()
        chosen = search.quantisation(plan)
        try:
            quantise_bundle(
                written.source.bundle.path,
                out,
                lambda _, chosen=chosen: chosen,  # type: ignore[misc]
                rounding=search.rounding,
                measure=written.measure,
                overwrite=overwrite,
                progress=progress,
            )
        except _OverBudget as over:
            progress(f"{over.upper:.3g} nats on the held-out half, over the budget: next plan")
            search.tighten(plan, over.upper)
        else:
            return chosen
    raise search.hopeless()
