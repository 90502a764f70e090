"""Costs of single weights are those of models in which only that weight is quantised."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.bundles.quantisation import Quantisation, QuantisedTensor
from ancestral.engine.losses.sequences import Sequences
from ancestral.precision.calibration import LONGEST, BoundCalibration, SequenceCalibration
from ancestral.precision.sensitivity import Change, change_of, sensitivities
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.quantisation.places import places
from ancestral.train.quantisation.quantise import quantise
from ancestral.train.quantisation.rounding import Codes, nearest
from tests.latent_toys import make_latent
from tests.sharp_toy import make_sharp
from tests.toys import make

FORMS = [QuantisedTensor(bits=bits, group=32, symmetric=True) for bits in (4, 8)]


def whole_events(model: AutoregressiveModel, n: int) -> Sequences:
    """Return random events of a model."""
    x = np.random.default_rng(0).integers(0, model.data.levels, (n, model.data.length))
    return Sequences(x, np.full(n, model.data.length), "events")


def to_nearest(name: str, matrix: Tensor, how: QuantisedTensor) -> Codes:
    return nearest(matrix, how)


def only(name: str, how: QuantisedTensor) -> Quantisation:
    return Quantisation(compute="float32", scales="float32", tensors={name: how}, kept={})


@pytest.mark.parametrize("name", ["tiny", "llama", "startless", "gru", "wavenet", "pixelcnn"])
def test_cost_of_one_weight(name: str) -> None:
    """Losses and KL are those of a model that stores this weight in codes."""
    model = make(name)
    classes = model.data.num_classes
    label = None if classes is None else np.arange(8) % classes
    data = SequenceCalibration(whole_events(model, 8), label, model)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    chosen = {place.name: FORMS for place in places(model) if place.kind != "convolution"}
    done: list[tuple[int, int]] = []
    found = sensitivities(model, chosen, data, to_nearest, 60, lambda *each: done.append(each))
    assert done[-1] == (len(found.changes), len(found.changes))
    for weight, how in list(found.changes)[:: 3 if len(chosen) > 4 else 1]:
        changed = copy.deepcopy(model)
        quantise(changed, only(weight, how))
        expected, positions = change_of(model, changed, data, 8)
        change = found.changes[weight, how]
        assert positions.tolist() == found.positions.tolist()
        assert change.losses == pytest.approx(expected.losses, abs=2e-5)
        assert change.kl is not None
        assert change.kl == pytest.approx(expected.kl, abs=2e-6)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key


def test_kl_and_loss_against_their_definitions() -> None:
    """Log p and KL of a changed head, summed over the positions of a window that count."""
    model = make("startless")
    lengths = np.array([6, 3, 1])
    x = np.random.default_rng(1).integers(0, model.data.levels, (3, 6))
    data = SequenceCalibration(Sequences(x, lengths, "windows"), None, model)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.head.weight.mul_(1.1)
        change, positions = change_of(model, changed, data, 3)
        log_p, log_q = (
            each.logits(torch.from_numpy(x), None).double().log_softmax(-1)
            for each in (model, changed)
        )
    assert positions.tolist() == [5, 2, 0]
    assert change.kl is not None
    for i, length in enumerate(lengths):
        at = slice(1, length)
        kl = (log_p[i, at].exp() * (log_p[i, at] - log_q[i, at])).sum()
        assert change.kl[i] == pytest.approx(float(kl), abs=1e-5)
        loss = (log_p - log_q)[i, at].gather(1, torch.from_numpy(x[i, at, None])).sum()
        assert change.losses[i] == pytest.approx(float(loss), abs=1e-5)


def test_long_windows_are_cut() -> None:
    """Only the first values of a window take part, but all of an event."""
    model = make("tiny")
    x = np.zeros((2, LONGEST + 9), np.int64)
    model.data = model.data.model_copy(update={"event_shape": (LONGEST + 9,), "num_classes": None})
    lengths = np.array([LONGEST + 9, 5])
    windows = SequenceCalibration(Sequences(x, lengths, "windows"), None, model)
    assert windows.positions.tolist() == [LONGEST, 5]
    events = SequenceCalibration(Sequences(x, lengths, "events"), None, model)
    assert events.positions.tolist() == lengths.tolist()


def test_bounds() -> None:
    """The loss of a latent variable model is the difference of the bounds from the same noise."""
    model = make_latent("bernoulli")
    x = np.random.default_rng(0).integers(0, 2, (5, 9))
    name = next(place.name for place in places(model))
    data = BoundCalibration(x)
    found = sensitivities(model, {name: FORMS}, data, to_nearest, 60)
    changed = copy.deepcopy(model)
    quantise(changed, only(name, FORMS[0]))
    expected, _ = change_of(model, changed, data, 5)
    change = found.changes[name, FORMS[0]]
    assert change.kl is None
    assert change.losses == pytest.approx(expected.losses, abs=1e-5)
    assert found.positions.tolist() == [9] * 5


def test_time() -> None:
    """No pass begins that would end after the time; the first one always ends."""
    model = make_sharp()
    data = SequenceCalibration(whole_events(model, 3000), None, model)
    times: Iterator[float] = iter([0.0, 10.0, 20.0, 30.0])
    found = sensitivities(
        model, {"head.weight": FORMS}, data, to_nearest, 25.0, clock=lambda: next(times)
    )
    assert len(found.positions) == 2 * data.rows
    times = iter([0.0, 10.0])
    found = sensitivities(
        model, {"head.weight": FORMS}, data, to_nearest, 1.0, clock=lambda: next(times)
    )
    assert len(found.positions) == data.rows


def test_estimate() -> None:
    """The mean is of KL, which has less noise; the error is scaled to the data that measure."""
    losses, positions = np.tile([3.0, -1.0, 2.0, 0.0], 3), np.full(12, 2)
    change = Change(losses, np.tile([1.0, 1.2, 0.8, 1.0], 3))
    few, many = (change.estimate(positions, n) for n in (24, 96))
    assert few.nats == many.nats == pytest.approx(0.5)
    assert few.error == pytest.approx(np.std(losses, ddof=1) / np.sqrt(12) / 2)
    assert many.error == pytest.approx(few.error / 2)
    bound = Change(losses + 1, None).estimate(positions, 24)
    assert (bound.nats, bound.error) == (pytest.approx(1.0), pytest.approx(few.error))
    both = change + Change(losses, np.ones(12))
    assert both.losses.tolist() == (2 * losses).tolist()
    assert both.kl is not None
    assert both.kl[:4].tolist() == [2.0, 2.2, 1.8, 2.0]


def test_error_of_few_units() -> None:
    """With few units the error follows from KL, as for independent positions."""
    change = Change(np.array([1.0, 1.0]), np.array([0.02, 0.02]))
    found = change.estimate(np.array([100, 100]), 50)
    assert found.error == pytest.approx(np.sqrt(2 * 2e-4 / 50))


def test_a_weight_that_excludes_a_value_costs_infinitely_much() -> None:
    """A loss that is not finite is never taken for no loss."""
    model = make("tiny")
    data = SequenceCalibration(whole_events(model, 4), np.arange(4) % 2, model)
    found = sensitivities(model, {"head.weight": FORMS}, data, to_nearest, 60)
    key = ("head.weight", FORMS[0])
    for wrong in (np.nan, np.inf):
        change = Change(np.full(4, wrong), found.changes[key].kl)
        broken = type(found)(found.positions, {key: change})
        assert broken.cost(*key) == np.inf
