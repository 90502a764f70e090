"""`verify` compares draws at temperatures and with filters: a changed setting or set is found."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.cli.present.parity_table import parity_tables
from ancestral.dataspec import DataSpec
from ancestral.engine import Engine
from ancestral.engine.comparison import Draws
from ancestral.engine.session import Binding
from ancestral.errors import BundleError
from ancestral.export.bundle import export_bundle
from ancestral.parity import ParityReport
from ancestral.step_tensors import STEP_GRAPHS, takes_temperature
from ancestral.train.models.graphs import GraphName
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.triton_kernels.sample_token import filters
from tests.conftest import Load, device_of
from tests.engine.simulated_plans import engine as with_plans
from tests.engine.test_verify_halves import edited as with_answers
from tests.tamper import edited, set_attribute
from tests.toys import TOYS, widen

Bundles = Callable[[str], Path]
TOKEN = "ancestral.triton_kernels.sample_token"


@pytest.fixture(scope="module")
def wide_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small model of 17 levels, of which filters keep some."""
    torch.manual_seed(5)
    data = DataSpec(name="wide", event_shape=(8,), levels=17)
    model = widen(Transformer(TransformerConfig(width=16, layers=1, heads=2), data)).eval()
    folder = tmp_path_factory.mktemp("wide") / "bundle"
    graphs: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "step", "step_filtered")
    return export_bundle(model, folder, graphs=graphs)


def draws(engine: Engine, unexplained: bool = False) -> ParityReport:
    """Return the report, after comparing the number of draws with that of the steps."""
    report = engine.verify()
    assert isinstance(report, ParityReport)
    graphs = [name for name in STEP_GRAPHS if name in engine.bundle.manifest.graphs]
    drawn = sum(takes_temperature(engine.session(name).signature) for name in graphs)
    assert report.filtered_draws == drawn * report.events * report.positions
    assert (report.filtered_unexplained > 0) == unexplained, report.failures
    assert (report.unexplained > 0) == unexplained
    assert report.passed != unexplained
    return report


QUICK = ("tiny", "channels", "startless")
"""Toys of the quick tests."""


@pytest.mark.parametrize(
    "toy", [pytest.param(t, marks=() if t in QUICK else pytest.mark.slow) for t in TOYS]
)
def test_passes(load: Load, toy: str, backend: str) -> None:
    """None is unexplained; likelihoods without logits as parameters have no temperature in step."""
    assert (draws(load(toy, backend)).filtered_draws == 0) == (toy == "channels")


def test_simulated_tensorrt(tiny_bundle: Path, tmp_path: Path) -> None:
    assert draws(with_plans(tiny_bundle, tmp_path)).filtered_draws > 0


def test_rows_of_the_table(load: Load) -> None:
    report = draws(load("tiny", "torch"))
    names, values = ([str(cell) for cell in c.cells] for c in parity_tables([report])[0].columns)
    found = dict(zip(names, values, strict=True))
    assert found["of them at temperatures, with filters"] == f"{report.filtered_draws:,}"


def _settings(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, name: str, change: Callable[..., np.ndarray]
) -> None:
    """Let the loops of a backend change a setting."""
    made: type[Binding] = type(engine.session("step").bind({"b": 1, "s": 1}))
    write = made.write

    def wrong(self: Binding, each: str, array: np.ndarray, *rest: slice | None) -> None:
        write(self, each, change(array) if each == name else array, *rest)

    monkeypatch.setattr(made, "write", wrong)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "tensorrt"])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("temperature", np.ones_like),
        ("top_p", lambda old: np.where(old < 1, old * np.float32(0.8), old)),
        ("top_k", lambda old: np.where(old < 3, old + 1, old)),
        ("min_p", lambda old: np.where(old > 0, np.float32(0.6), old)),
    ],
)
def test_planted_settings(
    load: Load,
    tiny_bundle: Path,
    tmp_path: Path,
    backend: str,
    name: str,
    change: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backend that ignores the temperature, or takes another filter, draws other values."""
    tensorrt = backend == "tensorrt"
    engine = with_plans(tiny_bundle, tmp_path) if tensorrt else load("tiny", backend)
    _settings(monkeypatch, engine, name, change)
    draws(engine, unexplained=True)


def _fewer(z: Tensor, w: Tensor, given: filters.Filters) -> Tensor:
    """All values that the filters keep, but the last if others are dropped too."""
    kept = filters.kept(z, w, given)
    least = torch.where(kept, z, torch.inf).amin(dim=-1, keepdim=True)
    return kept & ((z > least) | (z == 0) | kept.all(dim=-1, keepdim=True))


def _more(z: Tensor, w: Tensor, given: filters.Filters) -> Tensor:
    """All values that the filters keep, and the next."""
    kept = filters.kept(z, w, given)
    following = torch.where(kept, -torch.inf, z).amax(dim=-1, keepdim=True)
    return z >= torch.minimum(following, torch.where(kept, z, torch.inf).amin(-1, keepdim=True))


def _inclusive(z: Tensor, w: Tensor, given: filters.Filters) -> Tensor:
    """The mass of a value itself counts for top-p."""
    kept = filters.kept(z, w, given._replace(top_p=torch.ones_like(given.top_p)))
    mass = torch.where(kept, w, 0)
    above = (z[..., None, :] >= z[..., None]) * mass[..., None, :]
    share = above.sum(dim=-1) / mass.sum(dim=-1, keepdim=True)
    inside = (share <= given.top_p[:, None, None]) | (z == 0)
    return kept & (inside | (given.top_p == 1)[:, None, None])


def _of_one(z: Tensor, w: Tensor, given: filters.Filters) -> Tensor:
    """Probabilities compared with min-p times the highest weight, which is not normalised."""
    kept = filters.kept(z, w, given._replace(min_p=torch.zeros_like(given.min_p)))
    return kept & ((z.softmax(dim=-1) >= given.min_p[:, None, None]) | (z == 0))


@pytest.mark.parametrize("fault", [_fewer, _more, _inclusive, _of_one])
def test_planted_sets(
    wide_bundle: Path, fault: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A threshold one value off, top-p with the value's own mass, min-p of another maximum."""
    engine = Engine.load(wide_bundle, backend="torch", threads=1)
    monkeypatch.setattr(f"{TOKEN}.kept", fault)
    report = draws(engine, unexplained=True)
    assert report.unexplained == report.filtered_unexplained, "filters that are off were changed"


def test_wide(wide_bundle: Path, backend: str) -> None:
    """Without a fault all draws of the bundle of the planted faults are explained."""
    draws(Engine.load(wide_bundle, backend=backend, device=device_of(backend), threads=1))


def test_planted_in_the_graph(wide_bundle: Path, tmp_path: Path) -> None:
    """Top-p with the value's own mass, in ONNX Runtime's graph."""
    edit = set_attribute("CumSum", "exclusive", 0)
    copy = edited(wide_bundle, tmp_path, edit, "step_filtered.onnxruntime")
    draws(Engine.load(copy, backend="onnxruntime", threads=1), unexplained=True)


def test_certified(tiny_bundle: Path, tmp_path: Path) -> None:
    """A different draw is explained by a tie of the reference, and by nothing else.

    The reference's own values are changed: at a tie the report counts a near tie, at a margin or a
    gap just beyond the limits an unexplained draw.
    """
    before = Engine.load(tiny_bundle, backend="torch", threads=1).verify()
    assert isinstance(before, ParityReport)
    assert before.near_ties == 0

    def changed(margin: float, gap: float) -> ParityReport:
        def edit(answers: dict[str, np.ndarray]) -> None:
            answers["filtered"][0, 5] = (answers["filtered"][0, 5] + 1) % 3
            answers["filtered_margin"][0, 5] = margin
            answers["filtered_gap"][0, 5] = gap

        copy = with_answers(tiny_bundle, tmp_path, "known_answers.safetensors", edit)
        return Engine.load(copy, backend="torch", threads=1).compare()

    limits = before.sampled
    for margin, gap, tie in [
        (0.9 * limits.limit_filtered, np.inf, True),
        (0.5, 0.9 * limits.limit_gap, True),
        (1.1 * limits.limit_filtered, np.inf, False),
        (0.5, 1.1 * limits.limit_gap, False),
    ]:
        report = changed(margin, gap)
        # Two graphs draw with filters.
        found = report.filtered_near_ties, report.filtered_unexplained
        assert found == ((2, 0) if tie else (0, 2))
        assert report.passed == tie


def test_a_tie_excuses_only_where_the_draws_differ() -> None:
    got, expected = np.array([0, 1, 2, 1]), np.array([0, 2, 2, 2])
    found = Draws.certified(got, expected, np.array([True, True, False, False]))
    assert (found.draws, found.near_ties, found.unexplained) == (4, 1, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda answers: answers.pop("filtered_gap"), r"'filtered_gap'.* missing"),
        (lambda answers: answers["temperature"].fill(-1), "temperature: expected values in 0 .."),
        (lambda answers: answers["top_k"].fill(0), r"top_k: expected values in 1 .. 3"),
        (lambda answers: answers["top_p"].fill(0), "top_p: expected"),
        (lambda answers: answers["min_p"].fill(np.nan), "min_p: expected"),
        (lambda answers: answers["tempered"].fill(3), r"tempered: expected values in 0 .. 2"),
    ],
)
def test_answers_are_checked(
    tiny_bundle: Path, tmp_path: Path, change: Callable[..., object], words: str
) -> None:
    """A bundle without these arrays has to be exported again; settings have their ranges."""
    copy = with_answers(tiny_bundle, tmp_path, "known_answers.safetensors", change)
    with pytest.raises(BundleError, match=words):
        Engine.load(copy, backend="torch")
