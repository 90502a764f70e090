"""`verify`, `info` and `bound` of bundles that `train` and `export` made.

The other commands are tested on the toys.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ancestral.cli.present.bound_table import DRAWS
from ancestral.train.data import load_npz

from .conftest import Cli, Runs, invoke, numbers, saved

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(latent_runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Export both models, the prior without its slowest graphs; keep what `export` printed."""
    folder = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        graphs = ("log_prob", "logits", "redraw", "step")
        patch.setattr("ancestral.export.bundle.graphs_of", lambda _: graphs)
        yield {
            model: (folder / model, invoke("export", run, "-o", folder / model, "--threads", 1))
            for model, (run, _) in latent_runs.items()
        }


def test_export_and_verify(cli: Cli, exported: Runs) -> None:
    for model, words in (
        (
            "vae",
            [
                "sampled events: max |delta log w|, nats",
                "8 latents of each",
                "max |delta E[x | z]|, levels",
            ],
        ),
        (
            "vq",
            ["events of noise: max |delta log p(x | z)|", "Its prior over codes", "argmax flips"],
        ),
    ):
        bundle, result = exported[model]
        assert result.code == 0, result.err
        for word in (*words, "torch cpu", "onnxruntime cpu", "unexplained"):
            assert word in result.out
        verified = cli("verify", bundle, "--backend", "onnxruntime", "--threads", 1, "--json")
        assert verified.code == 0, verified.err
        document = json.loads(verified.out)
        fields = {"max_abs_nats", "max_abs_term_nats", "max_abs_mean", "near_ties", "unexplained"}
        assert set(document) >= fields | {"passed", "mean_abs_nats", "mean_signed_nats"}
        assert "max_kl" not in document
        (report,) = document["backends"]
        assert 0 < report["max_abs_nats"] == document["max_abs_nats"]
        assert (report["prior"] is not None) == (model == "vq")


def test_bounds_equal_those_of_training(
    cli: Cli,
    latent_runs: Runs,
    exported: Runs,
    images: Path,
    tmp_path: Path,
) -> None:
    """`bound` of a bundle gives the bound that `train` printed: same events, noise and prior."""
    test = load_npz(images).test
    file = saved(tmp_path, x=test.x, y=test.label)
    for model, row in (("vae", "IWAE of"), ("vq", "log p(x|z) p(z), lower bound")):
        options = ["-k", DRAWS, "--threads", 1, "--json"]
        result = cli("bound", exported[model][0], file, *options)
        assert result.code == 0, result.err
        nats = json.loads(result.out)["nats"]["iwae"]
        _, _, mean, error = numbers(latent_runs[model][1].out, row)
        assert nats["mean"] == pytest.approx(mean, abs=2e-3)
        assert nats["error"] == pytest.approx(error, abs=2e-3)


def test_info(cli: Cli, exported: Runs) -> None:
    document = json.loads(cli("info", exported["vae"][0], "--json").out)
    assert document["kind"] == "latent_variable"
    assert document["latent"] == {
        "shape": [3],
        "posterior": "gaussian",
        "prior": "standard",
        "continuous": False,
    }
    assert document["prior"] is None
    bundle = exported["vq"][0]
    document = json.loads(cli("info", bundle, "--json").out)
    assert document["latent"]["posterior"] == "codes"
    assert document["prior"]["kind"] == "autoregressive"
    assert "step" in document["prior"]["graphs"]
    assert document["prior"]["components"]["model"]["family"] == "transformer"
    files = [file for file in bundle.rglob("*") if file.is_file()]
    assert document["bytes"] == sum(
        file.stat().st_size for file in files if file != bundle / "manifest.json"
    )
    text = cli("info", bundle).out
    for word in ("z [4], q(z | x) codes, p(z) autoregressive", "0 .. 1, of the prior"):
        assert word in text
    assert f"in {len(files) - 1} files" in text
