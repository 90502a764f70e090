"""Commands on bundles with latents: they write every form of file, with the engine's numbers."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.cli.present.events_file import Shown, tiles_of
from ancestral.dataspec import DataSpec
from ancestral.engine import LatentEngine, Sampling
from tests.tamper import change_manifest, copied

from .conftest import Bundles, Cli, saved

RANDOM = np.random.default_rng(0)
BINARY = RANDOM.integers(0, 2, (5, 3, 3))
IMAGES = RANDOM.integers(0, 3, (6, 4, 4))
LEVELS = RANDOM.integers(0, 4, (3, 5))


def size(picture: Path) -> tuple[int, int]:
    """Return the number of tiles in a row, and of rows."""
    with Image.open(picture) as image:
        width, height = image.size
    tile = 50
    assert (width - 2) % tile == (height - 2) % tile == 0, (width, height)
    return (width - 2) // tile, (height - 2) // tile


def test_samples(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    options = ["-n", 4, "--seed", 3, "--first-index", 2, "--threads", 1]
    result = cli("sample", bundles("bernoulli"), *options, "--temperature", 0.5, "-o", out)
    assert (result.code, result.out) == (0, ""), result.err
    assert "mean log p(z)" in result.err
    assert "log p(x | z)" in result.err
    got = np.load(out)
    expected = LatentEngine.load(bundles("bernoulli")).sample(6, seed=3, sampling=Sampling(0.5))
    assert set(got.files) == {"x", "z", "log_prior", "log_likelihood", "seed", "first_index"}
    for name in ("x", "z", "log_prior", "log_likelihood"):
        np.testing.assert_allclose(got[name], getattr(expected, name)[2:], atol=1e-5)
    assert (int(got["seed"]), int(got["first_index"])) == (3, 2)


def test_samples_of_codes(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """The prior's classes take turns, and filters apply to the codes."""
    out, bundle = tmp_path / "out.npz", bundles("codes")
    result = cli("sample", bundle, "-n", 5, "--first-index", 1, "--threads", 1, "-o", out)
    assert result.code == 0, result.err
    assert "labels 0 .. 1 in a cycle" in result.err
    got = np.load(out)
    assert got["labels"].tolist() == [1, 0, 1, 0, 1]
    expected = LatentEngine.load(bundle).sample(5, got["labels"], first_index=1)
    np.testing.assert_array_equal(got["z"], expected.z)
    np.testing.assert_array_equal(got["x"], expected.x)
    options = ["-n", 3, "--label", 1, "--top-k", 1, "--threads", 1]
    assert cli("sample", bundle, *options, "-o", out).code == 0
    got = np.load(out)
    assert len(np.unique(got["z"], axis=0)) == 1
    assert got["labels"].tolist() == [1, 1, 1]
    picture = tmp_path / "out.png"
    assert cli("sample", bundle, "-n", 6, "--threads", 1, "-o", picture).code == 0
    assert size(picture) == (2, 3)


def test_means(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    out, bundle = tmp_path / "out.npz", bundles("bernoulli")
    options = ["-n", 3, "--mean", "--threads", 1]
    assert cli("sample", bundle, *options, "-o", out).code == 0
    got, expected = np.load(out), LatentEngine.load(bundle).sample(3, mean=True)
    assert set(got.files) == {"x", "z", "log_prior", "seed", "first_index"}
    np.testing.assert_allclose(got["x"], expected.x, atol=1e-6)
    text = cli("sample", bundle, *options).out
    rows = np.loadtxt(io.StringIO(text))
    np.testing.assert_allclose(rows, expected.x.reshape(3, -1), rtol=1e-4)
    picture = tmp_path / "out.png"
    assert cli("sample", bundle, *options, "-o", picture).code == 0
    with Image.open(picture) as image:
        grey = np.asarray(image)[2 + 24, 2 + 24]
    assert grey == np.rint(255 * expected.x[0, 1, 1])
    assert 0 < grey < 255


def test_levels_and_real_values_as_lines(cli: Cli, bundles: Bundles) -> None:
    levels = cli("sample", bundles("bernoulli"), "-n", 2, "--threads", 1).out
    assert re.fullmatch(r"([01]( [01]){8}\n){2}", levels)
    real = cli("sample", bundles("linear"), "-n", 2, "--threads", 1).out
    rows = np.loadtxt(io.StringIO(real))
    np.testing.assert_allclose(rows, LatentEngine.load(bundles("linear")).sample(2).x, rtol=1e-4)


def rows(picture: Path) -> np.ndarray:
    """Return the greys of a column of tiles, each of one row of five values."""
    with Image.open(picture) as image:
        return np.asarray(image)[20::50, 2 + 24 : -2 : 48]


def shown(x: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(x), 0, 3) * 85


def shaded(x: np.ndarray) -> np.ndarray:
    """Return the greys of means; the middle of a level's interval has the grey of the level."""
    return np.rint(np.clip(x - 0.5, 0, 3) * 85)


def test_picture_of_a_density(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """A sample in [i, i + 1) is drawn as level i; a mean has a grey between those of levels."""
    bundle = copied(bundles("linear"), tmp_path)
    change_manifest(bundle, lambda values: values["data"].update(event_shape=[1, 5]))
    out = tmp_path / "out.png"
    assert cli("sample", bundle, "-n", 1, "--threads", 1, "-o", out).code == 0
    engine = LatentEngine.load(bundle)
    np.testing.assert_array_equal(rows(out), shown(engine.sample(1).x[0]))
    events = saved(tmp_path, x=LEVELS[:1, None] + 0.75)
    assert cli("reconstruct", bundle, events, "-o", out, "--threads", 1).code == 0
    mean = engine.reconstruct(LEVELS[:1, None] + 0.75)
    expected = np.concatenate([shown(LEVELS[:1]), shaded(mean[0])])
    np.testing.assert_array_equal(rows(out), expected)
    assert not np.isin(expected[1], shown(np.arange(4))).all()


def test_pictures_of_means_keep_their_greys(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """Every command draws a bit's mean as a grey, and events next to it in black and white."""
    bundle, engine = bundles("bernoulli"), LatentEngine.load(bundles("bernoulli"), threads=1)
    events, out = saved(tmp_path, x=BINARY), tmp_path / "out.png"
    np.save(tmp_path / "z.npy", np.zeros((1, 2), np.float32))
    mean = engine.reconstruct(BINARY[:2])
    for command, expected in {
        ("reconstruct", bundle, events, "-n", 2): np.concatenate([BINARY[:2], mean]),
        ("interpolate", bundle, events, "-n", 1, "--steps", 2): mean,
        ("decode", bundle, tmp_path / "z.npy"): engine.decode(np.zeros((1, 2), np.float32))[1],
        ("latent-grid", bundle, "--side", 1, "--dimensions", "0,1"): engine.latent_grid(1, (0, 1)),
        ("sample", bundle, "-n", 1, "--mean"): engine.sample(1, mean=True).x,
    }.items():
        assert cli(*command, "-o", out, "--threads", 1).code == 0
        with Image.open(out) as image:
            pixels = np.asarray(image)
        tiles = expected.reshape(-1, 3, 3)
        columns = 2 if len(tiles) > 1 else 1
        for i, tile in enumerate(tiles):
            top, left = (2 + 50 * each for each in divmod(i, columns))
            got = pixels[top + 8 : top + 48 : 16, left + 8 : left + 48 : 16]
            np.testing.assert_allclose(got, 255 * tile, atol=0.51)
    assert not np.isin(np.rint(255 * mean), (0, 255)).any()


def test_means_of_a_palette() -> None:
    """With a palette a mean is drawn in the colour of the nearest level."""
    colours = DataSpec(
        name="c", event_shape=(2, 2), levels=3, palette=[(0, 0, 9), (0, 9, 0), (9, 0, 0)]
    )
    means = np.array([[[0.2, 0.8], [1.6, 2.0]]])
    shown = Shown(means, means=True)
    assert tiles_of(shown, colours).tolist() == [[[0, 1], [2, 2]]]
    grey = colours.model_copy(update={"palette": None})
    np.testing.assert_array_equal(tiles_of(shown, grey), means)


@pytest.mark.parametrize(("toy", "x"), [("bernoulli", BINARY), ("codes", IMAGES)])
def test_encode_then_decode(
    cli: Cli, bundles: Bundles, tmp_path: Path, toy: str, x: np.ndarray
) -> None:
    """`decode` of the file that `encode` wrote gives the means of `reconstruct`."""
    bundle, engine, events = bundles(toy), LatentEngine.load(bundles(toy)), saved(tmp_path, x=x)
    q, means, both = (tmp_path / name for name in ("q.npz", "means.npz", "both.npz"))
    result = cli("encode", bundle, events, "-o", q, "--threads", 1)
    assert (result.code, result.out) == (0, ""), result.err
    expected = engine.encode(x)
    got = np.load(q)
    assert set(got.files) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, atol=1e-5)
    assert cli("decode", bundle, q, "-o", means, "--threads", 1).code == 0
    assert cli("reconstruct", bundle, events, "-n", 1, "-o", both, "--threads", 1).code == 0
    mean = engine.reconstruct(x)
    np.testing.assert_allclose(np.load(means)["x_mean"], mean, atol=1e-5)
    assert np.load(means)["parameters"].ndim == 3
    np.testing.assert_allclose(np.load(both)["x_mean"], mean, atol=1e-5)
    np.testing.assert_array_equal(np.load(both)["x"], x)
    np.save(tmp_path / "z.npy", engine.means(x))
    assert cli("decode", bundle, tmp_path / "z.npy", "-o", tmp_path / "z.png").code == 0
    assert size(tmp_path / "z.png") == (3, 2)


def test_reconstructions_are_below_their_events(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    bundle, out = bundles("bernoulli"), tmp_path / "pairs.png"
    events = saved(tmp_path, x=BINARY.reshape(5, 9))
    result = cli("reconstruct", bundle, events, "-n", 4, "-o", out, "--threads", 1)
    assert result.code == 0
    assert re.search(r"4 of \d+ events \(-n \d+ draws all\)", result.err), result.err
    assert size(out) == (4, 2)
    with Image.open(out) as image:
        grey = np.asarray(image)[2:, 2:][8::16, 8::16]
    upper = [grey[:3, 3 * i : 3 * i + 3] for i in range(4)]
    np.testing.assert_array_equal(upper[0], BINARY[0] * 255)
    many = saved(tmp_path, x=np.tile(BINARY, (4, 1, 1)))
    assert cli("reconstruct", bundle, many, "-o", out, "--threads", 1).code == 0
    assert size(out) == (16, 2)


def test_interpolate(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    bundle, events = bundles("bernoulli"), saved(tmp_path, x=BINARY)
    for path in ("linear", "spherical"):
        out = tmp_path / f"{path}.npz"
        options = ["--steps", 4, "--path", path, "--threads", 1]
        result = cli("interpolate", bundle, events, *options, "-o", out)
        assert result.code == 0, result.err
        assert "event 4 has no partner" in result.err
        expected = LatentEngine.load(bundle).interpolate(BINARY[[0, 2]], BINARY[[1, 3]], 4, path)
        np.testing.assert_allclose(np.load(out)["x_mean"], expected, atol=1e-5)
    out = tmp_path / "out.png"
    assert cli("interpolate", bundle, events, "-o", out, "--threads", 1).code == 0
    assert size(out) == (8, 2)
    assert cli("interpolate", bundle, events, "-n", 1, "-o", out, "--threads", 1).code == 0
    assert size(out) == (8, 1)


def test_latent_grid(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    bundle, out = bundles("bernoulli"), tmp_path / "grid.npz"
    options = ["--side", 4, "--dimensions", "1,0", "--threads", 1]
    assert cli("latent-grid", bundle, *options, "-o", out).code == 0
    expected = LatentEngine.load(bundle).latent_grid(4, (1, 0))
    np.testing.assert_allclose(np.load(out)["x_mean"], expected, atol=1e-5)
    result = cli("latent-grid", bundle, "-o", tmp_path / "grid.png", "--threads", 1)
    assert result.code == 0, result.err
    assert size(tmp_path / "grid.png") == (10, 10)
