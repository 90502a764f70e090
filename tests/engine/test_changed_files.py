"""Files that change under a loaded engine: it uses only checked contents, or raises an error."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from ancestral.bundles import bundle as bundle_module
from ancestral.bundles.bundle import Bundle
from ancestral.engine import AutoregressiveEngine, LatentEngine, draw_checks
from ancestral.engine import verify as verify_module
from ancestral.engine.backends.onnxruntime_session import OnnxRuntimeSession
from ancestral.errors import BundleError, NotADistribution
from ancestral.plans.store import PlanStore
from ancestral.train import stored_model
from tests.engine.simulated_plans import engine as compiled_engine
from tests.engine.threads import BOTH, assert_same
from tests.laws.laws import assert_close
from tests.laws.test_bounds import limit
from tests.tamper import copied, scale_weights
from tests.toys import BACKENDS

WEIGHTS = "graphs/weights.safetensors"
CHANGED = "changed since the bundle was opened"


@pytest.fixture
def path(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy of a bundle that may be changed."""
    return copied(tiny_bundle, tmp_path)


def load(path: Path, backend: str) -> AutoregressiveEngine:
    return AutoregressiveEngine.load(path, backend=backend, threads=1)


def with_time_restored(file: Path, change: Callable[[Path], None]) -> None:
    """Change a file, and restore its modification time."""
    before = file.stat()
    change(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_rename(file: Path) -> None:
    other = file.with_name("other")
    shutil.copyfile(file, other)
    other.replace(file)


CHANGES: dict[str, Callable[[Path], None]] = {
    "in place": scale_weights,
    "in place, time restored": lambda file: with_time_restored(file, scale_weights),
    "by rename": replace_by_rename,
    "by rename, time restored": lambda file: with_time_restored(file, replace_by_rename),
    "longer": lambda file: os.truncate(file, file.stat().st_size + 1),
    "removed": lambda file: file.unlink(),
}


@pytest.mark.parametrize("when", ["before a session", "after"])
@pytest.mark.parametrize(
    ("backend", "change"), [("torch", "in place"), *(("onnxruntime", each) for each in CHANGES)]
)
def test_weights(path: Path, backend: str, when: str, change: str) -> None:
    engine = load(path, backend)
    x = np.zeros((1, 3, 3), np.int64)
    calls: list[Callable[[], object]] = [
        lambda: engine.sample(1, 0),
        lambda: list(engine.sample_batches(1, 0)),
        lambda: engine.generate([[0]], labels=0),
        lambda: engine.complete(np.full((3, 3), -1), 2, 0),
        lambda: engine.log_prob(x, 0),
        lambda: engine.classify(x),
        lambda: engine.redraw(x, np.full((1, 9), 0.5, np.float32), 0),
    ]
    if when == "after":
        engine.log_prob(engine.sample(1, 0).x, 0)
    CHANGES[change](path / WEIGHTS)
    for call in calls:
        with pytest.raises(BundleError, match=f"{WEIGHTS}: {CHANGED}.*; load the bundle again"):
            call()


@pytest.mark.parametrize("backend", BACKENDS)
def test_between_two_batches(path: Path, backend: str) -> None:
    batches = load(path, backend).sample_batches(4, 0, batch=2)
    next(batches)
    scale_weights(path / WEIGHTS)
    with pytest.raises(BundleError, match=CHANGED):
        next(batches)


@pytest.mark.parametrize("backend", BACKENDS)
def test_within_a_call(path: Path, backend: str) -> None:
    """A call during which the weights change fails: some steps may have used the new ones."""
    engine = load(path, backend)
    with pytest.raises(BundleError, match=CHANGED):
        engine.sample(1, 0, progress=lambda *_: scale_weights(path / WEIGHTS))


@pytest.mark.parametrize("backend", BACKENDS)
def test_within_the_last_loop_of_verify(
    path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`verify` returns no report if the weights change during it."""
    real = verify_module._half

    def half(*arguments: Any) -> Any:
        (path / WEIGHTS).touch()
        return real(*arguments)

    monkeypatch.setattr(verify_module, "_half", half)
    with pytest.raises(BundleError, match=CHANGED):
        load(path, backend).verify()


def test_weights_that_become_nan(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN from changed weights is reported as a change, not as NaN of the model."""
    engine = load(path, "onnxruntime")

    def check(*_: object) -> None:
        scale_weights(path / WEIGHTS)
        raise NotADistribution("logits")

    monkeypatch.setattr(draw_checks, "check", check)
    with pytest.raises(BundleError, match=CHANGED):
        engine.sample(1, 0)


@pytest.mark.parametrize("call", ["bound", "bound by the prior", "log_weights", "encode"])
def test_within_a_graph(
    bundles: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A change while the last graph of a call runs is found."""
    path = copied(bundles("bernoulli"), tmp_path)
    engine = LatentEngine.load(path, threads=1)
    x = engine.sample(2).x
    real = OnnxRuntimeSession.run

    def run(session: OnnxRuntimeSession, inputs: Any) -> Any:
        found = real(session, inputs)
        if ("mean" if call == "encode" else "log_likelihood") in found:
            scale_weights(path / WEIGHTS)
        return found

    calls: dict[str, Callable[[], object]] = {
        "bound": lambda: engine.bound(x, 2),
        "bound by the prior": lambda: engine.bound(x, 2, proposal="prior"),
        "log_weights": lambda: engine.log_weights(x, np.zeros((2, 1, *engine.latent.shape))),
        "encode": lambda: engine.encode(x),
    }
    calls[call]()
    monkeypatch.setattr(OnnxRuntimeSession, "run", run)
    with pytest.raises(BundleError, match=CHANGED):
        calls[call]()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_change_during_a_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, when: str, backend: str
) -> None:
    """A change just before or just after the runtime reads the file is found."""

    def changing(real: Callable[..., Any]) -> Callable[..., Any]:
        def read(*args: Any, **kwargs: Any) -> Any:
            if when == "before":
                scale_weights(path / WEIGHTS)
            found = real(*args, **kwargs)
            if when == "after":
                scale_weights(path / WEIGHTS)
            return found

        return read

    place, name = {
        "onnxruntime": (onnxruntime, "InferenceSession"),
        "torch": (stored_model, "SafetensorsFile"),
    }[backend]
    monkeypatch.setattr(place, name, changing(getattr(place, name)))
    with pytest.raises(BundleError, match=CHANGED):
        load(path, backend).backend.session("step")


@pytest.mark.parametrize("backend", BOTH)
def test_no_change(path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of only the file's change time, the file is hashed again, once."""
    engine = load(path, backend)
    expected = engine.sample(2, 0)
    real, hashed = bundle_module.sha256, []
    monkeypatch.setattr(bundle_module, "sha256", lambda file: (hashed.append(file), real(file))[1])
    assert_same(engine.sample(2, 0), expected)
    assert not hashed
    (path / WEIGHTS).chmod(0o440)
    assert_same(engine.sample(2, 0), expected)
    assert_same(engine.sample(2, 0), expected)
    assert hashed == [str(path / WEIGHTS)]
    os.link(path / WEIGHTS, path / "another name")
    assert_same(engine.sample(2, 0), expected)
    assert len(hashed) == 2


def test_second_graph(path: Path) -> None:
    """A changed graph is refused when it is first loaded; graphs loaded before still run."""
    engine = load(path, "onnxruntime")
    expected = engine.sample(2, 0)
    file = path / Bundle.open(path).graph_name("log_prob", "onnxruntime")
    file.write_bytes(file.read_bytes().replace(b"log_prob", b"log_prod"))
    with pytest.raises(BundleError, match=rf"{file.name}: {CHANGED}"):
        engine.log_prob(expected.x, 0)
    assert_same(engine.sample(2, 0), expected)


def test_known_answers(path: Path) -> None:
    engine = load(path, "onnxruntime")
    file = path / "known_answers.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match=r"known_answers\.safetensors: altered"):
        engine.verify()
    with pytest.raises(BundleError, match=f"known_answers.safetensors: {CHANGED}"):
        engine.compare()


def test_tokenizer(bundles: Callable[[str], Path], tmp_path: Path) -> None:
    path = copied(bundles("text"), tmp_path)
    engine, other = load(path, "onnxruntime"), load(path, "onnxruntime")
    ids = other.tokenizer().encode("a")
    (file,) = (path / name for name in ("tokenizer.json", "vocab.txt") if (path / name).exists())
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(BundleError, match=rf"{file.name}: {CHANGED}"):
        engine.tokenizer()
    assert other.tokenizer().encode("a") == ids


@pytest.fixture
def codes(bundles: Callable[[str], Path], tmp_path: Path) -> Path:
    return copied(bundles("codes"), tmp_path)


@pytest.mark.parametrize("backend", BOTH)
def test_prior(codes: Path, backend: str) -> None:
    """A change to the prior, a bundle of its own, stops only the calls that need the prior."""
    engine = LatentEngine.load(codes, backend=backend, threads=1)
    drawn = engine.sample(2, 0)
    mean = engine.reconstruct(drawn.x)
    scale_weights(codes / "prior" / WEIGHTS)
    with pytest.raises(BundleError, match=f"prior/{WEIGHTS}: {CHANGED}"):
        engine.sample(2, 0)
    assert_same(engine.reconstruct(drawn.x), mean)
    scale_weights(codes / WEIGHTS)
    for call in (lambda: engine.reconstruct(drawn.x), lambda: engine.encode(drawn.x)):
        with pytest.raises(BundleError, match=f"copy/{WEIGHTS}: {CHANGED}"):
            call()


def test_replaced_prior(codes: Path, bundles: Callable[[str], Path]) -> None:
    """A prior that is valid, but not the one that was checked, is refused."""
    engine = LatentEngine.load(codes, threads=1)
    shutil.rmtree(codes / "prior")
    shutil.copytree(bundles("text"), codes / "prior")
    with pytest.raises(BundleError, match=f"prior/manifest.json: {CHANGED}"):
        engine.sample(2, 0)


# Relative paths


@pytest.mark.parametrize("backend", BOTH)
def test_another_directory(
    codes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Graphs, the prior and known answers are found after a change of directory."""
    monkeypatch.chdir(codes.parent)
    engine = LatentEngine.load(codes.name, backend=backend, threads=1)
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    got = engine.sample(2, 0)
    expected = LatentEngine.load(codes, backend=backend, threads=1).sample(2, 0)
    assert np.array_equal(got.x, expected.x)
    assert np.array_equal(got.z, expected.z)
    most = limit(engine)
    assert_close(got.log_prior, expected.log_prior, most, "log p(z)")
    assert got.log_likelihood is not None
    assert expected.log_likelihood is not None
    assert_close(got.log_likelihood, expected.log_likelihood, most, "log p(x | z)")
    assert engine.verify().passed


def test_another_directory_of_text(
    bundles: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundles("text")
    monkeypatch.chdir(path.parent)
    engine = load(Path(path.name), "onnxruntime")
    os.chdir(tmp_path)
    assert engine.tokenizer().size <= engine.data.levels
    assert engine.bundle.path == path


def test_another_directory_of_plans(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = compiled_engine(tiny_bundle, Path("relative"))
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    assert isinstance(engine, AutoregressiveEngine)
    engine.sample(2, 0)


def test_removed_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(BundleError, match="the current directory no longer exists"):
        Bundle.open("bundle")


def test_link_to_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    """A link that leads to another bundle after the load is refused."""
    copies = [Path(shutil.copytree(tiny_bundle, tmp_path / name)) for name in ("one", "two")]
    (tmp_path / "current").symlink_to(copies[0])
    engine = load(tmp_path / "current", "onnxruntime")
    assert engine.bundle.path == tmp_path / "current"
    engine.sample(1, 0)
    (tmp_path / "next").symlink_to(copies[1])
    (tmp_path / "next").replace(tmp_path / "current")
    with pytest.raises(BundleError, match=f"current/{WEIGHTS}: {CHANGED}"):
        engine.sample(1, 0)


def test_bytes_of_a_plan(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of a plan that are loaded are those that were hashed, read only once."""
    from ancestral.errors import PlanError
    from tests.engine.simulated_plans import compiled

    store = PlanStore(tmp_path / "plans")
    record = compiled(Bundle.open(tiny_bundle), store, graphs=("log_prob",))[0]
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda file: real(file)[:-1] + b"!")
    with pytest.raises(PlanError, match="altered"):
        store.read(record)
