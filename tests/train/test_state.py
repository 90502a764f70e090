"""The state of a run is written completely and with a hash at any time; others are refused."""

import copy
import errno
import io
import os
import random
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ancestral.errors import CheckpointError
from ancestral.train.data.dataset import Dataset
from ancestral.train.recipes import Recipe, recipe
from ancestral.train.state import Evaluation, TrainingState
from ancestral.train.state_file import StateFile
from ancestral.train.training import STATE, train
from tests.limited import bounded

from .states import KIND, read_state, write_state
from .test_latent_training import CODES, DATA
from .test_training import SHORT, Killed, kill_at, stripes

Edit = Callable[[dict[str, Any]], object]
DATA_WITH_LABELS = stripes()
STEPS = SHORT.training.steps


def same(a: object, b: object) -> bool:
    """Return whether two contents are equal to the bit, except for `seconds`."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a if k != "seconds")
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def without_seconds(content: dict[str, Any]) -> dict[str, Any]:
    evaluations = [(step, *rest) for step, _, *rest in content["history"]]
    return content | {"history": evaluations}


@pytest.mark.parametrize(
    ("recipe", "data"), [(SHORT, DATA_WITH_LABELS), (CODES, DATA)], ids=["transformer", "vq"]
)
def test_saving_does_not_change_the_run_and_each_state_resumes(
    tmp_path: Path, recipe: Recipe, data: Dataset
) -> None:
    """Saved at each step or only at evaluations, killed anywhere, a run ends in the same state."""
    short = replace(recipe, training=replace(recipe.training, steps=STEPS))

    def run_to(step: int, name: str, save_every: float, resume: bool = False) -> None:
        # Killed at the last step too: the checkpoint and its curves are not needed here.
        with pytest.raises(Killed):
            train(
                short,
                data,
                tmp_path / name,
                save_every=save_every,
                resume=resume,
                progress=kill_at(step),
            )

    run_to(STEPS, "evaluations", 1e9)
    run_to(STEPS, "steps", 0.0)
    whole = without_seconds(read_state(tmp_path / "evaluations" / STATE))
    assert same(whole, without_seconds(read_state(tmp_path / "steps" / STATE)))
    for step in range(1, STEPS) if recipe is SHORT else (3, 9):
        out = tmp_path / str(step)
        run_to(step, out.name, 0.0)
        assert read_state(out / STATE)["step"] == step
        run_to(STEPS, out.name, 1e9, resume=True)
        assert same(whole, without_seconds(read_state(out / STATE))), step


def test_time_decides_when_a_state_is_written(tmp_path: Path) -> None:
    """A state is due after a minute, or later if writing takes long."""
    now, took, written = 0.0, 0.0, []
    state = TrainingState.__new__(TrainingState)  # its content does not matter here

    def save(path: Path, state: object, identity: object) -> None:
        nonlocal now
        now += took
        written.append(now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ancestral.train.state_file.save_state", save)
        file = StateFile(tmp_path / STATE, {}, 60.0, lambda: now)
        now = 59.0
        assert not file.due
        now = 60.0
        assert file.due
        file.save(state)
        assert not file.due
        took, now = 20.0, 120.0
        file.save(state)
        now = 140.0 + 179.0
        assert not file.due
        now = 140.0 + 180.0
        assert file.due


def test_ctrl_c_between_two_steps_writes_the_state(tmp_path: Path) -> None:
    data = DATA_WITH_LABELS

    def interrupt(step: int, evaluation: object) -> None:
        if step == 7:
            raise KeyboardInterrupt

    train(SHORT, data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(SHORT, data, tmp_path / "broken", progress=interrupt)
    assert read_state(tmp_path / "broken" / STATE)["step"] == 7
    train(SHORT, data, tmp_path / "broken", resume=True)
    states = [without_seconds(read_state(tmp_path / n / STATE)) for n in ("whole", "broken")]
    assert same(*states)


def test_a_full_disk_is_reported_and_the_old_state_stays(tmp_path: Path) -> None:
    """The disk's error is raised, not torch.save's, at whichever byte the disk is full."""
    data = DATA_WITH_LABELS
    with pytest.raises(Killed):
        train(SHORT, data, tmp_path, progress=kill_at(5))
    before = (tmp_path / STATE).read_bytes()

    class Full(io.FileIO):
        left = 0

        def write(self, data: Any) -> int:
            Full.left -= len(data)
            if Full.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data) or 0

    real = os.fdopen

    def opened(handle: int, mode: str, closefd: bool = True) -> io.IOBase:
        if mode == "rb":
            return real(handle, mode)
        return Full(handle, mode, closefd=closefd)

    for room in (0, 100, 5000, len(before) - 10):
        Full.left = room
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.fdopen", opened)
            with pytest.raises(OSError, match="No space left"):
                train(SHORT, data, tmp_path, resume=True)
        assert (tmp_path / STATE).read_bytes() == before, room
        assert [path.name for path in tmp_path.iterdir()] == [STATE]


# -------------------------------------------------------------------------------- refused states


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was killed after its first evaluation. Do not change it."""
    folder = tmp_path_factory.mktemp("broken")
    with pytest.raises(Killed):
        train(SHORT, DATA_WITH_LABELS, folder, progress=kill_at(5))
    return folder


def refused(tmp_path: Path, content: object, words: str = r"not a valid training state \(") -> None:
    write_state(tmp_path / STATE, content)
    with pytest.raises(CheckpointError, match=words) as caught:
        train(SHORT, DATA_WITH_LABELS, tmp_path, resume=True)
    sentence = str(caught.value)
    assert sentence.startswith(str(tmp_path / STATE))
    assert "\n" not in sentence
    assert len(sentence) < 1000


def test_any_flipped_bit_is_refused(broken: Path, tmp_path: Path) -> None:
    whole, draw = (broken / STATE).read_bytes(), random.Random(0)
    others = [draw.randrange(len(whole)) for _ in range(60)]
    for place in [0, len(KIND) + 5, len(whole) - 1, *others]:
        data = bytearray(whole)
        data[place] ^= 1 << draw.randrange(8)
        (tmp_path / STATE).write_bytes(data)
        with pytest.raises(CheckpointError, match="delete it to start again"):
            train(SHORT, DATA_WITH_LABELS, tmp_path, resume=True)


def test_a_state_without_its_hash_is_refused(broken: Path, tmp_path: Path) -> None:
    torch.save(read_state(broken / STATE), tmp_path / STATE)
    with pytest.raises(CheckpointError, match="expected a file that begins with"):
        train(SHORT, DATA_WITH_LABELS, tmp_path, resume=True)


def test_a_pipe_in_its_place_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / STATE)
    with pytest.raises(CheckpointError, match="expected a regular file, got a pipe"):
        train(SHORT, DATA_WITH_LABELS, tmp_path, resume=True)


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), OSError(5, "I/O error")]
)
def test_a_sound_state_that_cannot_be_read_is_to_be_kept(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """If memory or the disk fails, the error does not advise to delete the file."""

    def load(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", load)
    shutil.copy(broken / STATE, tmp_path)
    with pytest.raises(CheckpointError, match="keep the file") as caught:
        train(SHORT, DATA_WITH_LABELS, tmp_path, resume=True)
    assert "delete" not in str(caught.value)


def test_a_state_is_read_without_a_copy_of_its_file(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading takes less memory through Python than half of the file's size."""
    content = read_state(broken / STATE)
    content["identity"]["note"] = "x" * 2
    size = 2**24
    write_state(tmp_path / STATE, content | {"best": {"weight": torch.zeros(size // 4)}})
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"another run \(note"):
            train(SHORT, DATA_WITH_LABELS, tmp_path, resume=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size // 2


def put(*path: Any, value: object) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        inner: Any = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return edit


def entry(**changes: object) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        names = [field.name for field in fields(Evaluation)]
        values = dict(zip(names, content["history"][0], strict=True)) | changes
        content["history"][0] = tuple(values.values())

    return edit


WEIGHT = "head.bias"
EDITS: dict[str, tuple[Edit, str]] = {
    "step negative": (put("step", value=-1), "step: expected an integer in 0 .. 12, got -1"),
    "step beyond": (put("step", value=13), "step: expected an integer in 0 .. 12, got 13"),
    "step later": (put("step", value=12), "history: expected evaluations at 3 steps"),
    "step NaN": (put("step", value=float("nan")), "step: expected int, got float"),
    "step True": (put("step", value=True), "step: expected int, got bool"),
    "step huge": (put("step", value=10**400), "step: expected an integer"),
    "step tensor": (put("step", value=torch.tensor(4)), "step: expected int, got Tensor"),
    "seconds NaN": (put("seconds", value=float("nan")), "seconds: expected a number >= 0"),
    "seconds text": (put("seconds", value="long"), "seconds: expected float, got str"),
    "loss NaN": (put("loss", value=torch.tensor(torch.nan, dtype=torch.float64)), "loss: expected"),
    "loss float32": (put("loss", value=torch.tensor(0.0)), "loss: expected torch.float64"),
    "loss long": (put("loss", value=torch.zeros(3, dtype=torch.float64)), "loss: expected"),
    "history empty": (put("history", value=[]), "history: expected evaluations at 1 steps"),
    "history of lists": (put("history", value=[[4, 1.0]]), r"history\[0\]: expected 7 values"),
    "history of numbers": (put("history", value=[4]), r"history\[0\]: expected 7 values, got int"),
    "entry at another step": (entry(step=3), "history: expected evaluations"),
    "entry without bits": (
        entry(validation_bits=None),
        r"history\[0\].validation_bits: expected",
    ),
    "entry of text": (
        entry(train_bits="2"),
        r"history\[0\].train_bits: expected float, got str",
    ),
    "entry of a tensor": (entry(kl=torch.zeros(9)), r"history\[0\].kl: expected float"),
    "model without a tensor": (
        lambda content: content["model"].pop(WEIGHT),
        "model: expected the names of this run, missing",
    ),
    "model with another": (
        put("model", "x", value=torch.zeros(1)),
        "model: expected the names of this run, missing or unknown are x",
    ),
    "model of another shape": (put("model", WEIGHT, value=torch.zeros(7)), f"model.{WEIGHT}"),
    "model of another type": (put("model", WEIGHT, value=torch.zeros(3).half()), "float16"),
    "model of NaN": (put("model", WEIGHT, value=torch.full((3,), torch.nan)), "finite values"),
    "model of a list": (put("model", WEIGHT, value=[0.0] * 3), "expected a tensor, got list"),
    "model sparse": (put("model", WEIGHT, value=torch.zeros(3).to_sparse()), "a dense tensor"),
    "model meta": (put("model", WEIGHT, value=torch.zeros(3, device="meta")), "a dense tensor"),
    "model huge": (
        put("model", WEIGHT, value=torch.zeros(1).expand(2**50)),
        "expected torch.float",
    ),
    "model by number": (lambda content: content["model"].update({3: 0}), "model: expected the n"),
    "average of a list": (put("average", value=[]), "average: expected dict, got list"),
    "average nested": (put("average", WEIGHT, value={"a": {}}), "expected a tensor, got dict"),
    "best empty": (put("best", value={}), "best: expected the names of this run, missing"),
    "optimiser empty": (put("optimiser", value={}), "fields: expected the names of this run"),
    "optimiser groups": (put("optimiser", "param_groups", value=[]), "param_groups: expected 2"),
    "optimiser group": (put("optimiser", "param_groups", 0, value=None), "expected settings"),
    "optimiser rate": (
        put("optimiser", "param_groups", 0, "weight_decay", value=5.0),
        r"param_groups\[0\].weight_decay: expected 0.1",
    ),
    "optimiser state": (put("optimiser", "state", value={}), "moments after 4 steps"),
    "optimiser another": (put("optimiser", "state", 10**6, value={}), "expected a parameter in"),
    "optimiser by text": (put("optimiser", "state", "0", value={}), "expected a parameter in"),
    "moments of another shape": (
        put("optimiser", "state", 0, "exp_avg", value=torch.zeros(2, 2)),
        r"optimiser.state\[0\].exp_avg: expected",
    ),
    "moments negative": (
        lambda content: content["optimiser"]["state"][0]["exp_avg_sq"].sub_(1.0),
        "exp_avg_sq: expected values >= 0",
    ),
    "moments at no step": (
        put("optimiser", "state", 0, "step", value=torch.tensor(0.0)),
        "step: expected a number in 1 .. 4",
    ),
    "moments at NaN": (
        put("optimiser", "state", 0, "step", value=torch.tensor(torch.nan)),
        "finite values",
    ),
    "moments missing": (
        lambda content: content["optimiser"]["state"][0].pop("exp_avg"),
        "missing or unknown are exp_avg",
    ),
    "order repeated": (
        lambda content: content["batches"]["order"].fill_(0),
        "batches.order: expected a permutation",
    ),
    "order of others": (put("batches", "order", value=torch.arange(3)), "batches.order: expected"),
    "next beyond": (put("batches", "next", value=10**6), "batches.next: expected an integer in"),
    "next negative": (put("batches", "next", value=-1), "batches.next: expected an integer in"),
    "generator short": (
        put("batches", "generator", value=torch.zeros(16, dtype=torch.uint8)),
        "batches.generator: expected torch.uint8",
    ),
    "generator of zeros": (
        lambda content: content["batches"]["generator"].zero_(),
        "not a valid training state",
    ),
    "random short": (put("random", value=torch.zeros(7, dtype=torch.uint8)), "random: expected"),
    "random floats": (put("random", value=torch.zeros(5056)), "random: expected torch.uint8"),
    "random of zeros": (lambda content: content["random"].zero_(), "not a valid training state"),
    "random_cuda of text": (put("random_cuda", value=["x"]), r"random_cuda\[0\]: expected"),
    "identity missing": (
        lambda content: content.pop("identity"),
        "missing or unknown are identity",
    ),
    "identity of a list": (put("identity", value=[]), "identity: expected dict, got list"),
    "identity by numbers": (put("identity", value={1: 2, "a": 3}), "not a valid"),
    "unknown field": (put("note", value="mine"), "missing or unknown are note"),
}


@pytest.mark.parametrize("name", EDITS)
def test_contents_that_no_run_writes_are_refused(broken: Path, tmp_path: Path, name: str) -> None:
    edit, words = EDITS[name]
    content = read_state(broken / STATE)
    edit(content)
    refused(tmp_path, content, words)


@pytest.mark.parametrize("content", [None, 3, [], "state", torch.zeros(3), {"step": 1}, {}])
def test_other_contents_are_refused(tmp_path: Path, content: object) -> None:
    refused(tmp_path, content)


def places(content: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to every value of a content."""
    found = [path] if path else []
    if isinstance(content, dict):
        for key, value in content.items():
            found += places(value, (*path, key))
    elif isinstance(content, list):
        for i, value in enumerate(content):
            found += places(value, (*path, i))
    return found


def junk(draw: random.Random) -> object:
    values: list[object] = [
        None, True, -1, 0, 2**70, -(10**300), 1.5, float("inf"), float("nan"), "", "x" * 5000,
        b"y", [], {}, (), [[[]]], {"a": {1: ()}}, torch.zeros(0), torch.zeros(()),
        torch.tensor(torch.nan),
        torch.zeros(3, dtype=torch.complex64), torch.zeros(2, 3, dtype=torch.bool),
        torch.zeros(1).expand(2**40), torch.nn.Parameter(torch.ones(3)), torch.Size([3]),
    ]  # fmt: skip
    return copy.deepcopy(draw.choice(values))


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_fuzz_of_contents(broken: Path, tmp_path: Path, count: int) -> None:
    """A state with any value replaced or left out is refused, or the run ends as others do.

    A wrong weight, for example, is not a malformed state: the hash was made to fit.
    """
    draw = random.Random(count)
    whole = read_state(broken / STATE)
    every = places({name: value for name, value in whole.items() if name != "identity"})
    ended = 0
    for _ in range(count):
        content = copy.deepcopy(whole)
        path = draw.choice(every)
        inner: Any = content
        for key in path[:-1]:
            inner = inner[key]
        if draw.random() < 0.2:
            del inner[path[-1]]
        else:
            inner[path[-1]] = junk(draw)
        write_state(tmp_path / STATE, content)
        with pytest.raises((Killed, CheckpointError)) as caught:
            train(SHORT, DATA_WITH_LABELS, tmp_path, resume=True, progress=kill_at(STEPS))
        ended += caught.type is Killed
        assert caught.type is Killed or str(caught.value).startswith(str(tmp_path / STATE)), path
    assert ended < count / 4


def test_a_state_of_another_recipe_is_named(broken: Path) -> None:
    longer = replace(SHORT, training=replace(SHORT.training, steps=99))
    with pytest.raises(CheckpointError, match="the state belongs to another run") as caught:
        train(longer, DATA_WITH_LABELS, broken, resume=True)
    words = f" (training.steps: this run has 99, the file has {STEPS}); train into another folder"
    assert words in str(caught.value), "only the values that differ"
    with pytest.raises(CheckpointError, match=r"and \d+ more\); train into") as caught:
        train(recipe("digits"), DATA_WITH_LABELS, broken, resume=True)
    assert len(str(caught.value)) < 1000


def test_a_state_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / STATE)
    with bounded(), pytest.raises(CheckpointError, match="expected a regular file, got a pipe"):
        train(SHORT, DATA_WITH_LABELS, tmp_path, resume=True)
