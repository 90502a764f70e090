"""The check for causality passes causal models, and names the leaks of planted faults."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.causality import (
    CausalityReport,
    Leak,
    check_causality,
    check_outputs,
    positions_to_test,
)
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import build_model
from ancestral.train.models.pixelcnn import PixelCNN, PixelCNNConfig
from ancestral.train.models.transformer_config import TransformerConfig
from tests.laws.faults import faulty_model
from tests.toys import TOYS, make, widen

Pairs = set[tuple[int, int]]
IMAGES_28 = DataSpec(name="images", event_shape=(28, 28), levels=256)


def by(how: str, report: CausalityReport) -> Pairs:
    return {(leak.output, leak.input) for leak in report.leaks if leak.how == how}


def assert_leaks(report: CausalityReport, expected: Pairs) -> None:
    """Check that both tests find exactly these leaks."""
    assert not report.passed
    assert by("value", report) == expected
    assert by("derivative", report) == expected


@pytest.mark.parametrize("toy", TOYS)
def test_toys_pass(toy: str) -> None:
    model = make(toy)
    report = check_causality(model)
    assert report.passed, report.sentence
    assert report.leaks == ()
    assert report.positions == tuple(range(model.data.length))
    fed_above = toy in {"tiny", "lstm", "wavenet"}
    assert report.embeddings == (0 if toy == "table" else 1 + fed_above)


def test_leaves_model_and_random_state_alone() -> None:
    """A model with dropout in training mode is tested without dropout, and not changed."""
    config = TransformerConfig(width=8, layers=2, heads=2, dropout=0.5, attention_dropout=0.5)
    model = build_model(config, DataSpec(name="toy", event_shape=(5,), levels=3)).train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    assert check_causality(model).passed
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_is_a_function_of_its_seed() -> None:
    model = faulty_model("shift missing", "llama")
    assert check_causality(model, most=4, seed=3) == check_causality(model, most=4, seed=3)
    assert len({positions_to_test(model.data, 4, seed) for seed in range(8)}) > 1


def own(length: int, first: int = 0) -> Pairs:
    """Return the leaks of a model in which each output sees its own value."""
    return {(t, t) for t in range(first, length)}


def test_mask_shifted() -> None:
    # One layer without a start symbol: what predicts t has consumed x_(t-1), and sees x_t too.
    assert_leaks(check_causality(faulty_model("mask shifted", "startless")), own(6, first=1))
    # Two layers, each of which sees the next slot.
    next_two = {(t, s) for t in range(9) for s in (t, t + 1) if s < 8}
    assert_leaks(check_causality(faulty_model("mask shifted", "tiny")), next_two)


@pytest.mark.parametrize("toy", ["tiny", "llama", "startless"])
def test_shift_missing(toy: str) -> None:
    model = faulty_model("shift missing", toy)
    assert_leaks(check_causality(model), own(model.data.length, first=1))


def test_order_swapped() -> None:
    report = check_causality(faulty_model("order swapped", "tiny"))
    assert_leaks(report, {(t, s) for t in range(9) for s in range(t + 1, 9)})


def test_convolution_sees_a_later_row() -> None:
    data = DataSpec(name="images", event_shape=(3, 3), levels=3)
    torch.manual_seed(7)
    model = widen(build_model(PixelCNNConfig(width=8, layers=1, first_kernel=3, hidden=12), data))
    assert isinstance(model, PixelCNN)
    assert check_causality(model).passed
    vertical = model.layers[0].vertical
    parallel = vertical.parallel
    vertical.parallel = lambda x: parallel(nn.functional.pad(x, (0, 0, 0, 0, 0, 2))[:, 2:])
    # The first row gets zeros from above, and the last one would see below the image: no leaks.
    expected = {(3, 6), (3, 7), (4, 6), (4, 7), (4, 8), (5, 7), (5, 8)}
    assert_leaks(check_causality(model), expected)


LEVELS, LENGTH = 4, 7


def causal(x: Tensor) -> Tensor:
    """Return the counts of each level before each position, [b, t, v]."""
    past = nn.functional.one_hot(x, LEVELS).float().cumsum(dim=1)
    return nn.functional.pad(past, (0, 0, 1, 0))[:, :-1]


def test_any_function() -> None:
    report = check_outputs(causal, LENGTH, LEVELS)
    assert report.passed
    assert report.embeddings == 0
    assert check_outputs(lambda x: causal(x)[..., 0], LENGTH, LEVELS).passed, "outputs [b, t]"


@pytest.mark.parametrize("value", range(LEVELS))
@pytest.mark.parametrize("seed", range(3))
def test_a_leak_of_one_value_is_seen(value: int, seed: int) -> None:
    """A leak is found even if most changes of a value leave the bits unchanged."""

    def outputs(x: Tensor) -> Tensor:
        return causal(x) + 1e-6 * (x == value)[..., None]

    x = torch.full((1, LENGTH), (value + 1) % LEVELS)
    assert torch.equal(outputs(x)[:, 0], outputs((x + 1) % LEVELS)[:, 0]), "one change is not seen"
    report = check_outputs(outputs, LENGTH, LEVELS, seed=seed)
    assert by("value", report) == own(LENGTH)


def test_place_between_tested_positions_is_found() -> None:
    def outputs(x: Tensor) -> Tensor:
        result = causal(x)
        result[:, 3] += x[:, 27:28]
        return result

    report = check_outputs(outputs, 40, LEVELS, positions=(0, 20, 39))
    assert report.leaks == (Leak(3, 27, "value"),)
    assert report.positions == (0, 20, 39)


def test_leaks_of_a_long_event_are_found() -> None:
    def outputs(x: Tensor) -> Tensor:
        return causal(x) + x.flip(1).cumsum(dim=1).flip(1)[..., None]

    report = check_outputs(outputs, 300, LEVELS, positions=tuple(range(0, 300, 50)))
    assert by("value", report) >= {(t, s) for s in range(0, 300, 50) for t in range(s + 1)}
    assert all(leak.output <= leak.input for leak in report.leaks)


def test_edge_of_a_row_is_tested() -> None:
    """A leak at the first position of each row is found, as from padding a flattened image."""
    edges = range(0, 784, 28)

    def outputs(x: Tensor) -> Tensor:
        result = nn.functional.pad(x, (1, 0))[:, :-1].float()
        result[:, edges] += x[:, edges]
        return result

    positions = positions_to_test(IMAGES_28, 64, seed=0)
    report = check_outputs(outputs, 784, 256, positions)
    assert by("value", report) == {(t, t) for t in edges}


class Own(nn.Module):
    """A module that sums embeddings before each position, and adds a trace of later ones."""

    def __init__(self, trace: Callable[[Tensor], Tensor] = torch.zeros_like) -> None:
        super().__init__()
        self.value, self.position = nn.Embedding(LEVELS, 5), nn.Embedding(LENGTH, 5)
        self.trace = trace

    def forward(self, x: Tensor) -> Tensor:
        h = self.value(input=nn.functional.pad(x, (1, 0))[:, :-1])
        h += self.position(torch.arange(x.shape[1], device=x.device))
        return h.cumsum(dim=1) + self.trace(h)


def check_own(trace: Callable[[Tensor], Tensor]) -> CausalityReport:
    torch.manual_seed(0)
    module = Own(trace)
    return check_outputs(module, LENGTH, LEVELS, module=module)


def following(h: Tensor) -> Tensor:
    """Return what is at the next position, where a value is embedded: [b, t, d]."""
    return nn.functional.pad(h, (0, 0, 0, 1))[:, 1:]


def test_too_small_for_a_bit_has_a_derivative() -> None:
    report = check_own(lambda h: 1e-30 * following(h))
    assert by("derivative", report) == own(LENGTH - 1)
    assert by("value", report) == set()
    assert not report.passed


def test_without_a_derivative_changes_bits() -> None:
    report = check_own(lambda h: following(h).sign())
    assert by("value", report) <= own(LENGTH - 1)
    assert by("value", report)
    assert by("derivative", report) == set()


def test_a_derivative_of_nan_is_not_zero() -> None:
    report = check_own(lambda h: 0 * (following(h).detach() - following(h)).abs().sqrt())
    assert by("derivative", report) >= own(LENGTH - 1)
    assert by("value", report) == set()


@contextmanager
def no_graph(module: Own) -> Iterator[None]:
    forward = module.forward
    module.forward = torch.no_grad()(forward)
    yield
    module.forward = forward


class NoDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()


def test_a_model_without_derivatives_is_tested_by_values() -> None:
    module = Own(NoDerivative.apply)
    report = check_outputs(module, LENGTH, LEVELS, module=module)
    assert (report.passed, report.embeddings) == (True, 0)
    with no_graph(module := Own()):
        report = check_outputs(module, LENGTH, LEVELS, module=module)
    assert (report.passed, report.embeddings) == (True, 0)
    assert check_outputs(module, LENGTH, LEVELS, module=module).embeddings == 1


def test_nan_equals_nan() -> None:
    assert check_outputs(lambda x: causal(x) * float("nan"), LENGTH, LEVELS).passed


def test_one_level_has_nothing_to_see() -> None:
    assert check_outputs(lambda x: x.float(), LENGTH, 1).passed


def test_random_outputs_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(InvalidInput, match="independent of random numbers"):
        check_outputs(lambda x: torch.rand(x.shape, generator=generator), LENGTH, LEVELS)


def test_rows_that_see_each_other_are_refused() -> None:
    model = faulty_model("rows mixed", "tiny").train()
    with pytest.raises(InvalidInput, match="and other rows"):
        check_causality(model)
    assert model.training


@pytest.mark.parametrize("outputs", [lambda x: causal(x)[:, 1:], lambda x: x[0].float()])
def test_other_shapes_are_refused(outputs: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(
        InvalidInput, match=r"outputs: expected shape \[b, t, ...\] with \[b, t\] = \[2, 7\]"
    ):
        check_outputs(outputs, LENGTH, LEVELS)


@pytest.mark.parametrize("positions", [(), (-1,), (LENGTH,)])
def test_positions_outside_are_refused(positions: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"positions: expected one or more of 0 .. 6"):
        check_outputs(causal, LENGTH, LEVELS, positions)
    with pytest.raises(InvalidInput, match="positions: expected an integer >= 1, got 0"):
        check_causality(make("tiny"), most=0)


def test_positions_of_a_long_event() -> None:
    chosen = positions_to_test(IMAGES_28, 64, seed=0)
    assert len(chosen) == 64
    assert list(chosen) == sorted(set(chosen))
    edges = {t for row in range(28) for t in (28 * row, 28 * row + 27)}
    assert {0, 1, 783} | edges <= set(chosen)
    assert set(chosen) != set(positions_to_test(IMAGES_28, 64, seed=1))
    few = positions_to_test(IMAGES_28, 6, seed=0)
    assert {0, 1, 783} < set(few)
    assert set(few) & edges - {0, 783}
    assert set(few) - edges - {1}
    columns = DataSpec(name="c", event_shape=(20, 30), levels=2, ordering="column")
    assert set(positions_to_test(columns, 80, 0)) >= {20 * column for column in range(30)}
    text = DataSpec(name="text", event_shape=(1000,), levels=2)
    assert {0, 1, 999} <= set(positions_to_test(text, 10, 0))
    shuffled = DataSpec(name="r", event_shape=(20, 30), levels=2, ordering="random:1")
    assert len(positions_to_test(shuffled, 12, 0)) == 12


def test_large_model_is_tested_at_fewer_positions() -> None:
    config = TransformerConfig(width=16, layers=1, heads=2, hidden=1_500_000)
    model = build_model(config, DataSpec(name="t", event_shape=(40,), levels=4))
    calls: list[int] = []

    def predict(x: Tensor, label: Tensor | None) -> Tensor:
        calls.append(len(x))
        return causal(x)

    model.predict = predict
    report = check_causality(model)
    assert report.passed
    assert 4 <= len(report.positions) < 20
    assert {0, 1, 39} <= set(report.positions)
    assert sum(calls) < 12 * len(report.positions)


def leaky(model: AutoregressiveModel, outputs: range, inputs: range) -> AutoregressiveModel:
    """Make outputs of a model depend on inputs, without a derivative."""
    predict = model.predict

    def seeing(x: Tensor, label: Tensor | None) -> Tensor:
        predicted = predict(x, label).detach().clone()
        seen = x[:, inputs.start : inputs.stop].sum(dim=1)
        predicted[:, outputs.start : outputs.stop] += seen[:, None, None]
        return predicted

    model.predict = seeing
    return model


def test_sentence() -> None:
    passed = check_causality(make("gru"))
    assert passed.sentence == (
        "no output sees its own value or a later one: values were changed at all 6 positions, and "
        "derivatives taken through 1 embedding"
    )
    assert check_causality(make("lstm"), most=4).sentence.endswith(
        "changed at 4 of 9 positions, and derivatives taken through 2 embeddings"
    )
    assert check_causality(make("table")).sentence.endswith(
        "no derivatives taken, because no nn.Embedding connects the values to an output"
    )
    failed = check_causality(leaky(make("tiny"), range(2), range(4, 5)))
    assert failed.sentence == (
        "2 of 9 outputs see their own value or a later one: output 0 sees x at 4 (value); output 1 "
        "sees x at 4 (value); values were changed at all 9 positions, and no derivatives taken, "
        "because no nn.Embedding connects the values to an output"
    )
    many = check_causality(faulty_model("order swapped", "tiny"))
    assert "output 0 sees x at 1, 2, 3, 4 and 4 more (value, derivative); output 1" in many.sentence
    assert "8 of 9 outputs see" in many.sentence
    assert "output 3 sees x at 4, 5, 6, 7 and 1 more (value, derivative); and 4" in many.sentence


def test_to_json() -> None:
    report = check_causality(leaky(make("tiny"), range(1), range(4, 5)))
    assert report.to_json() == {
        "passed": False,
        "sentence": report.sentence,
        "length": 9,
        "positions": list(range(9)),
        "embeddings": 0,
        "leaks": [{"output": 0, "input": 4, "how": "value"}],
    }
