"""Bad input for bundles with latents: exit code 2, a message, and no file is written."""

from pathlib import Path

import numpy as np
import pytest

from .conftest import Bundles, Cli, refused, saved

X = np.zeros((2, 3, 3), np.int64)
LEVELS = np.zeros((2, 5), np.int64)
LATENT = ("bound", "encode", "decode", "reconstruct", "interpolate", "latent-grid")


@pytest.fixture
def vae(bundles: Bundles) -> Path:
    return bundles("bernoulli")


@pytest.mark.parametrize("command", LATENT)
def test_no_latents(cli: Cli, tiny_bundle: Path, tmp_path: Path, command: str) -> None:
    file = [] if command == "latent-grid" else [saved(tmp_path, x=X)]
    out = tmp_path / "out.npz"
    result = cli(command, tiny_bundle, *file, "-o", out, "--threads", 1)
    refused(result, "expected a bundle of kind latent_variable, got autoregressive", "log_prob")
    assert not out.exists()


@pytest.mark.parametrize(("command", "word"), [("log-prob", "ancestral bound"), ("classify", "")])
def test_no_exact_probabilities(
    cli: Cli, vae: Path, tmp_path: Path, command: str, word: str
) -> None:
    result = cli(command, vae, saved(tmp_path, x=X), "--threads", 1)
    refused(result, "bound", "latent variable model", word)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--observed", "nowhere.npy"], ["--observed", "a latent variable model"]),
        (["--particles", "4"], ["--particles", "a latent variable model"]),
        (["--batch", "4", "--particles", "4"], ["--particles and --batch"]),
        (["--label", "1"], ["the model has no classes"]),
        (["--top-k", "2"], ["expected only a temperature"]),
        (["--temperature", "-1"], ["temperature: expected a number in [0"]),
        (["-n", "0"], ["n: expected an integer"]),
        (["--seed", "-1"], ["seed"]),
        (["--first-index", "-1"], ["--first-index"]),
    ],
)
def test_samples(cli: Cli, vae: Path, tmp_path: Path, options: list[str], words: list[str]) -> None:
    out = tmp_path / "out.npz"
    refused(cli("sample", vae, "-o", out, "--threads", 1, *options), *words)
    assert not out.exists()


def test_means_of_an_autoregressive_model(cli: Cli, tiny_bundle: Path) -> None:
    refused(cli("sample", tiny_bundle, "--mean"), "--mean", "an autoregressive model")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["-k", "0"], "k: expected an integer in 1 .."),
        (["--seed", "-1"], "seed"),
        (["--proposal", "mode"], "'mode' is not one of"),
        (["--label", "1"], "the model has no classes"),
        (["--labelled"], "--labelled: expected an array y or labels"),
        (["--labelled", "--label", "1"], "not used with --label"),
        (["-o", "bound.txt"], ".npz"),
    ],
)
def test_bounds(cli: Cli, vae: Path, tmp_path: Path, options: list[str], word: str) -> None:
    refused(cli("bound", vae, saved(tmp_path, x=X), "--threads", 1, *options), word)


def test_bounds_of_codes(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    bundle, file = bundles("codes"), saved(tmp_path, x=np.zeros((2, 4, 4), np.int64))
    refused(
        cli("bound", bundle, file, "--proposal", "prior"),
        "expected 'posterior' for a model with codes",
    )
    refused(cli("bound", bundle, file, "--label", 2), "0 .. 1, got 2")
    for command in ("interpolate", "latent-grid"):
        given = [file] if command == "interpolate" else []
        result = cli(command, bundle, *given, "-o", tmp_path / "out.png")
        refused(result, "with real latents, got one with codes")
    np.savez(tmp_path / "codes.npz", codes=np.full((1, 4), 4))
    refused(cli("decode", bundle, tmp_path / "codes.npz", "-o", tmp_path / "o.npz"), "got 4")


@pytest.mark.parametrize("command", ["bound", "encode", "reconstruct", "interpolate"])
@pytest.mark.parametrize(
    ("x", "word"),
    [
        (np.zeros((2, 3, 4), np.int64), "x: expected events [n, 3, 3]"),
        (np.zeros((2, 3, 3)), "x: expected integers, got float64"),
        (np.where(np.arange(18).reshape(2, 3, 3) == 13, np.nan, 0), "nan at index (1, 1, 1)"),
        (np.full((2, 3, 3), 2), "x: expected values in 0 .. 1, got 2 at index (0, 0, 0)"),
    ],
    ids=["shape", "real", "nan", "level"],
)
def test_events(
    cli: Cli, vae: Path, tmp_path: Path, command: str, x: np.ndarray, word: str
) -> None:
    out = tmp_path / "out.npz"
    refused(cli(command, vae, saved(tmp_path, x=x), "-o", out, "--threads", 1), word)
    assert not out.exists()


def test_events_of_a_density(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    bundle, x = bundles("linear"), LEVELS + 0.5
    x[1, 2] = np.inf
    refused(cli("bound", bundle, saved(tmp_path, x=x)), "got inf at index (1, 2)")
    refused(cli("bound", bundle, saved(tmp_path, x=LEVELS + 4)), "0 .. 3, got 4")
    result = cli("reconstruct", bundle, saved(tmp_path, x=LEVELS), "-o", tmp_path / "out.png")
    refused(result, "are not images", ".npz")


@pytest.mark.parametrize(
    ("z", "word"),
    [
        (np.zeros((2, 3), np.float32), "z: expected numbers of shape [any, 2]"),
        (np.full((1, 2), np.nan), "got nan at index (0, 0)"),
        (np.array([["a", "b"]]), "array 'z': expected integers or real numbers, got text"),
        (np.zeros((0, 2)), "z: expected numbers of shape"),
    ],
)
def test_latents(cli: Cli, vae: Path, tmp_path: Path, z: np.ndarray, word: str) -> None:
    out = tmp_path / "out.npz"
    refused(cli("decode", vae, saved(tmp_path, z=z), "-o", out, "--threads", 1), word)
    assert not out.exists()


@pytest.mark.parametrize(
    ("command", "options", "word"),
    [
        ("reconstruct", ["-n", "0"], "-n: expected an integer >= 1"),
        ("interpolate", ["-n", "0"], "-n: expected an integer >= 1"),
        ("interpolate", ["--steps", "1"], "steps: expected an integer in 2 .."),
        ("interpolate", ["--path", "curved"], "'curved' is not one of"),
        ("latent-grid", ["--side", "0"], "side: expected an integer in 1 .."),
        ("latent-grid", ["--dimensions", "0"], "two integers"),
        ("latent-grid", ["--dimensions", "0,-1"], "two integers"),
        ("latent-grid", ["--dimensions", "0,2"], "dimensions: expected values in 0 .. 1"),
        ("decode", ["-o", "out.txt"], ".png or .npz"),
        ("encode", ["-o", "out.png"], ".npz"),
        ("encode", ["--backend", "abacus"], "abacus"),
    ],
)
def test_options(
    cli: Cli, vae: Path, tmp_path: Path, command: str, options: list[str], word: str
) -> None:
    file = [] if command == "latent-grid" else [saved(tmp_path, x=X)]
    out = [] if "-o" in options else ["-o", tmp_path / "out.npz"]
    refused(cli(command, vae, *file, *out, *options), word)
    assert not (tmp_path / "out.npz").exists()


def test_one_event_has_no_partner(cli: Cli, vae: Path, tmp_path: Path) -> None:
    file = saved(tmp_path, x=X[:1])
    refused(cli("interpolate", vae, file, "-o", tmp_path / "out.png"), "at least 2 events, got 1")


def test_outputs_are_needed(cli: Cli, vae: Path, tmp_path: Path) -> None:
    for command in LATENT[1:]:
        file = [] if command == "latent-grid" else [saved(tmp_path, x=X)]
        refused(cli(command, vae, *file), "--out")
