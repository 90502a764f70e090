"""Models whose export takes long are exported, verified and bounded."""

from pathlib import Path

import numpy as np
import pytest

from ancestral.dataspec import DataSpec
from ancestral.engine import LatentEngine
from ancestral.export.bundle import export_bundle
from tests.latent_toys import LARGE_TOYS, make_latent
from tests.laws.test_streams import excess


def export(toy: str, out: Path) -> DataSpec:
    model = make_latent(toy)
    export_bundle(model, out)
    return model.data


@pytest.mark.slow
@pytest.mark.parametrize("toy", LARGE_TOYS)
def test_export_verify_sample_and_bound(tmp_path: Path, toy: str) -> None:
    data = export(toy, tmp_path / "bundle")
    x = np.random.default_rng(0).integers(0, data.levels, (3, *data.event_shape))
    bounds = []
    for backend in ("torch", "onnxruntime"):
        engine = LatentEngine.load(tmp_path / "bundle", backend=backend, threads=1)
        report = engine.verify()
        assert report.passed, report.failures
        assert engine.reconstruct(x).shape == x.shape
        drawn = engine.sample(4)
        again = engine.parallel("log_likelihood", x=drawn.x.reshape(4, -1), z=drawn.z[:, None])
        assert drawn.log_likelihood is not None
        apart = drawn.log_likelihood - again["log_likelihood"][:, 0]
        assert np.abs(apart).max() < report.limit_nats
        bounds.append(engine.bound(x, k=4))
    assert np.abs(bounds[0].iwae - bounds[1].iwae).max() < report.limit_nats
    for proposal, size in (("posterior", (400, 1)), ("prior", (100, 4))):
        mean, most = excess(engine, proposal, size)
        assert abs(mean) <= most, f"{proposal}: {mean:.3g} nats over {most:.3g}"
