"""The search for a plan within a budget: what was measured of a model's weights, and what fits."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ancestral.bundles.cost import CONFIDENCE
from ancestral.bundles.quantisation import Compute, Quantisation, QuantisedTensor, Weights
from ancestral.errors import InvalidInput
from ancestral.paired_mean import PairedMean, too_little
from ancestral.precision.calibration import Calibration
from ancestral.precision.choice import Form, Plan, plans, tensors_of
from ancestral.precision.feedback import error_feedback
from ancestral.precision.forms import stored_bytes, tried
from ancestral.precision.sensitivity import Sensitivities, change_of, sensitivities
from ancestral.train.models.families import Model
from ancestral.train.quantisation.places import places
from ancestral.train.quantisation.quantise import Rounding, planned, quantise, round_nearest

SECONDS = 120.0
"""Time after which no further pass over the weights begins; the first is always finished."""
GROUPS: Mapping[Weights, tuple[int, ...]] = {"int4": (128, 64, 32), "int8": (128, 32)}
"""Sizes of groups that the search tries; see `forms.tried`."""
KEPT = "kept by the budget"
"""Reason why a weight that could be quantised is not."""
_PLANS = 12
"""Most plans that are measured before the search gives up."""
_TIGHTER = 0.8
"""Largest factor between two targets."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user restricts.

    Attributes:
        weights: type of quantised weights; None for both.
        compute: type of the activations in products.
        half_scales: whether scales are stored in float16.
        symmetric: whether the zero point of maps is the middle of the codes.
        error_feedback: whether maps of 4 bits are rounded with error feedback, not to the nearest.
        seconds: time after which no further pass over the weights begins.
    """

    weights: Weights | None = None
    compute: Compute = "float32"
    half_scales: bool = False
    symmetric: bool = True
    error_feedback: bool = False
    seconds: float = SECONDS

    def planned(self, model: Model, weights: Weights, group: int) -> Quantisation:
        """Return the plan that quantises every weight in the same way."""
        return planned(
            model,
            weights,
            group=group,
            symmetric=self.symmetric,
            compute=self.compute,
            half_scales=self.half_scales,
        )


class Search:
    """The search: a model, the forms of its weights, and what was measured of them."""

    def __init__(
        self,
        model: Model,
        budget: float,
        settings: Settings,
        data: Calibration,
        held_out: tuple[int, int],
    ) -> None:
        """List the forms.

        Args:
            model: model in float32.
            budget: largest loss, in nats per position.
            settings: what is restricted.
            data: the calibration half.
            held_out: number of units of the held-out half, and of their positions.

        Raises:
            InvalidInput: the model has no weight that can be quantised.
        """
        self.budget = budget
        self._target = budget
        self._model, self._half, self._data = model, settings.half_scales, data
        self._seconds, self._held_out = settings.seconds, held_out
        self.rounding: Rounding = (
            error_feedback(model, data, settings.seconds)
            if settings.error_feedback
            else round_nearest
        )
        self.uniform = {
            f"all {weights}, groups of {group}": settings.planned(model, weights, group)
            for weights, groups in GROUPS.items()
            if settings.weights in {None, weights}
            for group in groups
        }
        """Plans that quantise every weight in the same way, by name."""
        *_, self._finest = self.uniform.values()
        self._matrices = {
            place.name: place.matrix
            for place in places(model)
            if place.name in self._finest.tensors
        }

    def measure(self, forwards: Callable[[int, int], object]) -> None:
        """Measure every weight in every form, and check that the data suffice.

        Args:
            forwards: called with the number of finished forwards, and of all.

        Raises:
            InvalidInput: the data are too few to decide about the budget.
        """
        tensors = {
            name: tried(matrix, (plan.tensors[name] for plan in self.uniform.values()), self._half)
            for name, matrix in self._matrices.items()
        }
        self._costs: Sensitivities = sensitivities(
            self._model,
            tensors,
            self._data,
            lambda name, matrix, how: self.rounding(name, matrix, how, self._half),
            self._seconds,
            forwards,
        )
        self.units = len(self._costs.positions)
        self.plans = list(plans({name: self._forms(name, tensors[name]) for name in tensors}))
        self._precise = self.measured(self._finest)
        mean, error, _ = self._precise
        unit = f"{self._data.unit} (half of them held out)"
        few = too_little(PairedMean(mean, error, 2 * self._held_out[0]), self.budget, unit)
        if few is not None:
            raise InvalidInput(f"data: with all weights in {self._finest.weights}, the {few}")

    def _forms(self, name: str, tensors: list[QuantisedTensor]) -> list[Form]:
        """Return the forms of a weight; one whose loss is not finite is left out."""
        matrix = self._matrices[name]
        found = [
            Form(how, stored_bytes(matrix, how, self._half), self._costs.cost(name, how))
            for how in tensors
        ]
        finite = [form for form in found if np.isfinite(form.cost)]
        return [*finite, Form(None, stored_bytes(matrix, None, self._half), 0.0)]

    def next(self) -> Plan:
        """Return the smallest plan that is predicted, and found in PyTorch, within the budget.

        Raises:
            InvalidInput: only float32 is.
        """
        for _ in range(_PLANS):
            plan = next(each for each in self.plans if self._upper(each) <= self._target)
            if not tensors_of(plan):
                break
            upper = upper_nats(self.measured(self.quantisation(plan)))
            if upper <= self.budget:
                return plan
            self.tighten(plan, upper)
        raise self.hopeless()

    def tighten(self, plan: Plan, upper: float) -> None:
        """Lower the target, after a plan turned out to be over the budget.

        Args:
            plan: the plan.
            upper: its mean loss plus 2 standard errors.
        """
        factor = min(_TIGHTER, self.budget / upper) if upper > 0 else 0.0
        self._target = min(self._target, self._upper(plan)) * factor

    def hopeless(self) -> InvalidInput:
        """Return the error for a budget that no plan is within."""
        mean, error, _ = self._precise
        return InvalidInput(
            f"budget: expected a loss that some quantised weight keeps, got {self.budget:.3g} "
            f"nats/position, where all weights in {self._finest.weights} lose {mean:.2e} +- "
            f"{error:.1e}; raise the budget, pass more data, or export in float32"
        )

    def quantisation(self, plan: Plan) -> Quantisation:
        """Return a plan as a bundle records it; at least one of its weights is quantised."""
        tensors = tensors_of(plan)
        kept = {name: KEPT for name in plan if name not in tensors}
        return self._finest.model_copy(
            update={"tensors": tensors, "kept": {**self._finest.kept, **kept}}
        )

    def _upper(self, plan: Plan) -> float:
        return upper_nats(self._costs.predicted(tensors_of(plan), self._held_out[1]))

    def measured(self, plan: Quantisation) -> PairedMean:
        """Return the loss of a whole plan in PyTorch, on the calibration half.

        The mean is of the units that the search used; its standard error is the one that is
        expected on the held-out half.
        """
        changed = copy.deepcopy(self._model)
        quantise(changed, plan, self.rounding)
        change, positions = change_of(self._model, changed, self._data, self.units)
        return change.estimate(positions, self._held_out[1])

    def size(self, tensors: Mapping[str, QuantisedTensor]) -> int:
        """Return the bytes of all weights of the model, if some are quantised."""
        # Tensors that are shared are stored once.
        stored = {tensor.data_ptr(): tensor.nbytes for tensor in self._model.state_dict().values()}
        saved = sum(
            stored_bytes(self._matrices[name], None, self._half)
            - stored_bytes(self._matrices[name], how, self._half)
            for name, how in tensors.items()
        )
        return int(sum(stored.values()) - saved)


def upper_nats(found: PairedMean) -> float:
    """Return the loss that is compared with a budget: the mean plus 2 standard errors."""
    return found.nats + CONFIDENCE * found.error
