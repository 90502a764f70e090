"""Training of models with latents: objectives, both stages of a VQ-VAE, binary data, resuming."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ancestral.errors import InvalidInput
from ancestral.train.bounds import active_units, bound, encoded, log_likelihood
from ancestral.train.checkpoint import PRIOR
from ancestral.train.config import ElboConfig, Recipe, TrainingConfig
from ancestral.train.models.vae import VAE, VAEConfig
from ancestral.train.models.vqvae import VQVAE, VQVAEConfig
from ancestral.train.optimisation import kl_weight, loss
from ancestral.train.recipes import TINY
from ancestral.train.state import Batch, Batches
from ancestral.train.training import train

from .test_training import Killed, stripes

DATA = stripes().without_labels()
TRAINING = TrainingConfig(steps=30, batch_size=32, warmup=2, average_decay=0.8, evaluate_every=10)
SMALL = Recipe(
    name="small-vae",
    source="digits",
    model=VAEConfig(body="conv", widths=(8, 8), latent=3, dropout=0.1),
    training=TRAINING,
)
CODES = replace(SMALL, name="small-vq", model=VQVAEConfig(widths=(8, 8), codes=6, code_width=3))


def objective(model: VAE, config: ElboConfig, step: int = 0) -> float:
    """Return the objective of a fixed batch, with the same noise each time."""
    x = torch.from_numpy(DATA.train.x[:64])
    torch.manual_seed(3)
    training = replace(TRAINING, elbo=config)
    return loss(model, Batch(x, x, None), training, step).item()


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(1)
    config = VAEConfig(widths=(16,), latent=3)
    made = VAE(config, DATA.spec)
    with torch.no_grad():
        made.encoder.layers[-1].weight.mul_(3.0)
    return made.eval()


def test_one_event_has_no_active_latents(model: VAE) -> None:
    assert active_units(model, DATA.train.x[:1]) == 0
    assert active_units(model, DATA.train.x[:64]) > 0


def test_objectives_are_bounds(model: VAE) -> None:
    """With many samples, both losses are what `bound` reports, and IWAE's is the smaller one."""
    found = bound(model, DATA.train.x[:64], 2000)
    elbo = objective(model, ElboConfig(samples=500, importance=False))
    iwae = objective(model, ElboConfig(samples=500))
    assert math.isclose(elbo, -found.elbo.mean(), abs_tol=0.15)
    assert math.isclose(iwae, -bound(model, DATA.train.x[:64], 500).iwae.mean(), abs_tol=0.1)
    assert iwae < elbo
    assert objective(model, ElboConfig()) > iwae


def test_weight_of_the_kl(model: VAE) -> None:
    """The weight warms up and scales the KL, free bits floor it; reported bounds have neither."""
    config = ElboConfig(beta=0.5, warmup=10)
    assert [round(kl_weight(config, step), 3) for step in (0, 4, 9, 50)] == [0.05, 0.25, 0.5, 0.5]
    found = bound(model, DATA.train.x[:64], 200)
    assert found.kl_closed is not None
    kl = found.kl_closed.mean()
    free = objective(model, ElboConfig(samples=50, importance=False, beta=0.0))
    whole = objective(model, ElboConfig(samples=50, importance=False))
    double = objective(model, ElboConfig(samples=50, importance=False, beta=2.0))
    assert math.isclose(whole - free, kl, rel_tol=1e-3)
    assert math.isclose(double - free, 2 * kl, rel_tol=1e-3)
    floored = objective(model, ElboConfig(samples=50, importance=False, free_bits=100.0))
    assert math.isclose(floored - free, 300.0, rel_tol=1e-3)
    assert np.array_equal(bound(model, DATA.train.x[:64], 200).elbo, found.elbo)


def test_free_bits_need_the_elbo() -> None:
    with pytest.raises(InvalidInput, match="no KL term to floor"):
        ElboConfig(samples=4, free_bits=0.1)
    with pytest.raises(InvalidInput, match="samples: expected a number >= 1, got 0"):
        ElboConfig(samples=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "likelihood"),
    [
        ("standard", "categorical"),
        ("mixture", "logistic_mixture"),
        ("vamp", "categorical"),
        ("standard", "gaussian"),
    ],
)
def test_learns(tmp_path: Path, prior: str, likelihood: str) -> None:
    """The validation bound rises; evaluations have both terms and the number of active latents."""
    config = replace(SMALL.model, prior=prior, prior_components=5, likelihood=likelihood)
    result = train(replace(SMALL, model=config), DATA, tmp_path)
    first, last = result.history[0], result.history[-1]
    assert last.validation_bits < first.validation_bits
    assert last.reconstruction is not None
    assert last.kl is not None
    found = bound(result.model, DATA.validation.x, 8)
    bits = -found.elbo.mean() / 16 / math.log(2)
    best = min(result.history, key=lambda each: each.validation_bits)
    assert math.isclose(bits, best.validation_bits, rel_tol=1e-5)
    assert math.isclose(
        best.validation_bits, -(best.reconstruction - best.kl) / 16 / math.log(2), rel_tol=1e-5
    )
    assert best.active == active_units(result.model, DATA.validation.x)


@pytest.mark.parametrize("recipe", [SMALL, CODES], ids=["vae", "vq"])
def test_killed_run_ends_in_the_same_bits(tmp_path: Path, recipe: Recipe) -> None:
    """A resumed run ends in the same bits, including noise, codebook and moving averages."""
    whole = train(recipe, DATA, tmp_path / "whole").model

    def kill(step: int, evaluation: object) -> None:
        if step == 17:
            raise Killed

    with pytest.raises(Killed):
        train(recipe, DATA, tmp_path / "killed", progress=kill)
    resumed = train(recipe, DATA, tmp_path / "killed", resume=True).model
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_both_stages(tmp_path: Path) -> None:
    """Codes have the labels and the split of their images, and a prior is trained on them."""
    labelled = stripes()
    model = train(CODES, DATA, tmp_path).model
    assert isinstance(model, VQVAE)
    codes = encoded(model, labelled)
    assert codes.spec.event_shape == (2, 2)
    assert codes.spec.num_classes == 2
    assert np.array_equal(codes.train.label, labelled.train.label)
    assert codes.split is labelled.split
    (again,) = model.encode(torch.from_numpy(DATA.test.x))
    assert np.array_equal(codes.test.x, again.numpy())
    prior = train(replace(TINY, training=TRAINING), codes, tmp_path / PRIOR).model
    assert prior.data == codes.spec
    nats = log_likelihood(model, DATA.test.x)
    assert nats.shape == (len(DATA.test),)
    assert (nats < 0).all()


def test_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="without labels"):
        train(SMALL, stripes(), tmp_path)


def test_binarised() -> None:
    """Training data are drawn anew for each batch by their chance of 1; other parts are fixed."""
    data = stripes().binarised()
    assert data.spec.levels == 2
    assert data.train.chance is not None
    assert data.validation.chance is None
    assert np.array_equal(data.test.x, stripes().binarised().test.x)
    assert not np.array_equal(data.test.x, stripes().binarised(seed=1).test.x)
    batches = Batches(data.train, data.spec, TrainingConfig(steps=1, batch_size=168), seed=0)
    first, second = batches.draw().x, batches.draw().x
    assert first.shape == second.shape
    drawn = torch.stack([batches.draw().x.float().mean(0) for _ in range(60)]).mean(0)
    expected = torch.from_numpy(data.train.chance).mean(0)
    assert (drawn - expected).abs().max() < 0.05
    with pytest.raises(InvalidInput, match="more than 2 levels"):
        data.binarised()
    assert data.fingerprint() != stripes().fingerprint()


@pytest.mark.parametrize("name", ["beta", "free_bits"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_weights_of_the_objective(name: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=f"{name}: expected a "):
        ElboConfig(**{name: value})  # type: ignore[arg-type]
