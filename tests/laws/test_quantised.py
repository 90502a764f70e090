"""Laws of quantised bundles: steps, samples and rows, and the faults that the known answers find.

Their activations are in float32, or rounded to 8 bits. Each law is the one of all toys, with the
limits of the bundle's own entry in the parity table.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.engine.noise import Noise
from ancestral.export.weights import PREFIX
from ancestral.step_tensors import REDRAWN
from tests.conftest import Load
from tests.quantised_toys import WAYS, any_size
from tests.tamper import Edit, change_manifest, copied, edited, set_attribute, sign

from .laws import assert_close, assert_same_draws, limits, start_values
from .test_rows import check_batch_of_one, check_ragged
from .test_samples import SEED, N, check_evaluated_again, draw, labels
from .test_steps import check_block, check_steps

Bundles = Callable[..., Path]
TOYS = [
    ("llama", "int4"),
    ("startless", "int8.rounded"),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (("tiny", "int8"), ("gru", "int4"), ("pixelcnn", "int8"), ("wavenet", "int4"))
    ),
]
EACH = pytest.mark.parametrize(("toy", "way"), TOYS)


@pytest.fixture
def quantised(load: Load, toy: str, way: str, backend: str) -> AutoregressiveEngine:
    """A quantised toy on a backend."""
    engine = load(toy, backend, way)
    assert isinstance(engine, AutoregressiveEngine)
    return engine


@EACH
def test_steps_of_codes(quantised: AutoregressiveEngine) -> None:
    """Steps, one by one or as a block, give the parallel graph's log p."""
    check_steps(quantised)
    if quantised.bundle.manifest.components["model"].family == "transformer":
        check_block(quantised)


@EACH
def test_rows_of_codes(quantised: AutoregressiveEngine) -> None:
    """A row of a batch is a batch of one, also if its neighbours are at other positions."""
    check_batch_of_one(quantised)
    check_ragged(quantised, dirty=3.0)


@EACH
def test_samples_of_codes(quantised: AutoregressiveEngine) -> None:
    """A sample, evaluated again, has the same log p, and is a fixed point of `redraw`."""
    check_evaluated_again(quantised)
    x, u, _, margin = drawn(quantised)
    redrawn = quantised.parallel("redraw", labels(quantised), x=x, u=u)[REDRAWN]
    first = quantised.first_position
    assert_same_draws(redrawn[:, first:], x[:, first:], margin[:, first:], limits(quantised).cdf)


def drawn(engine: AutoregressiveEngine) -> tuple[np.ndarray, ...]:
    """Return samples and their uniforms, [n, t]; log p [n]; and distances to edges, [n, t]."""
    samples = draw(engine, observed=start_values(engine, N))
    x, u = engine.data.in_order(samples.x), Noise(SEED, 0).uniforms(N, engine.data.length)
    logits = engine.parallel("logits", samples.labels, x=x)["logits"].astype(np.float64)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    edges = (p / p.sum(axis=-1, keepdims=True)).cumsum(axis=-1)[..., :-1]
    return x, u, samples.log_prob, np.abs(edges - u[..., None]).min(axis=-1)


@EACH
def test_backends_of_codes(load: Load, toy: str, way: str) -> None:
    """Both backends draw the same samples, with the same log p, except for near ties."""
    torch, other = (load(toy, backend, way) for backend in ("torch", "onnxruntime"))
    assert isinstance(torch, AutoregressiveEngine)
    assert isinstance(other, AutoregressiveEngine)
    (x, _, log_p, margin), (y, _, log_p_of_y, _) = drawn(torch), drawn(other)
    assert_same_draws(y, x, margin, 2 * limits(torch).cdf)
    same = (x == y).all(axis=1)
    assert same.any()
    assert_close(log_p_of_y[same], log_p[same], 2 * limits(torch).nats, "log p of both")


def portable(bundle: Path, folder: Path) -> Path:
    """Return a copy in which ONNX Runtime has only the portable form of each graph."""
    copy = copied(bundle, folder)

    def only(manifest: dict[str, Any]) -> None:
        for entry in manifest["graphs"].values():
            for form in [each for each in entry["files"] if each != "portable"]:
                del manifest["files"][entry["files"].pop(form)]

    change_manifest(copy, only)
    return copy


@EACH
def test_portable_form(bundles: Bundles, tmp_path: Path, toy: str, way: str) -> None:
    """The form of other runtimes, which has standard operators only, agrees too."""
    copy = portable(bundles(toy, way), tmp_path)
    assert Engine.load(copy, backend="onnxruntime", threads=1).compare().failures == ()


def without_the_third_part(graph: onnx.GraphProto) -> None:
    """Multiply with the first 16 bits of the activations only."""
    for node in [node for node in graph.node if node.op_type == "Concat"]:
        if len(node.input) == 3 and _is_rest(graph, node):
            graph.node.append(
                onnx.helper.make_node("Sub", [node.input[2]] * 2, [f"{node.output[0]}.none"])
            )
            node.input[2] = f"{node.output[0]}.none"
    _sort(graph)


def _is_rest(graph: onnx.GraphProto, concat: onnx.NodeProto) -> bool:
    made = {output: node.op_type for node in graph.node for output in node.output}
    return [made.get(name) for name in concat.input] == ["Mul", "Mul", "Sub"]


def _sort(graph: onnx.GraphProto) -> None:
    """Put each node after those that make its inputs."""
    nodes, ready = list(graph.node), {value.name for value in (*graph.input, *graph.initializer)}
    ready.add("")
    del graph.node[:]
    while nodes:
        node = next(each for each in nodes if set(each.input) <= ready)
        nodes.remove(node)
        graph.node.append(node)
        ready |= set(node.output)


def without_zero_points(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.op_type == "MatMulNBits" and len(node.input) == 4:
            del node.input[3]


IN_GRAPHS: dict[str, tuple[str, str, Edit]] = {
    "a part of the activations": ("llama", "int4", without_the_third_part),
    "no zero points": ("llama", "int4", without_zero_points),
    "activations in float32": (
        "startless",
        "int8.rounded",
        set_attribute("MatMulNBits", "accuracy_level", 0),
    ),
}
"""Toy, way, and a change of the step graph that reads codes."""


@pytest.mark.parametrize("fault", IN_GRAPHS)
def test_planted_in_graphs(bundles: Bundles, tmp_path: Path, fault: str) -> None:
    toy, way, edit = IN_GRAPHS[fault]
    faulty = edited(bundles(toy, way), tmp_path, edit, "step.onnxruntime")
    report = Engine.load(faulty, backend="onnxruntime", threads=1).compare()
    assert any("step" in failure for failure in report.failures), report.failures


Stored = dict[str, np.ndarray]
"""Tensors by their names in the model."""
UP = "blocks.0.up.weight"


def swapped_halves(stored: Stored) -> None:
    codes = stored[f"{UP}_codes"]
    stored[f"{UP}_codes"] = codes >> 4 | codes << 4


def next_scale(stored: Stored) -> None:
    stored[f"{UP}_scale"] = np.roll(stored[f"{UP}_scale"], 1, axis=1)


def next_zero(stored: Stored) -> None:
    stored[f"{UP}_zero"] = stored[f"{UP}_zero"] + np.uint8(1)


def next_row(stored: Stored) -> None:
    for name in ("inputs.token.weight_codes", "inputs.token.weight_scale"):
        stored[name] = np.roll(stored[name], 1, axis=0)


def next_code(stored: Stored) -> None:
    stored[f"{UP}_codes"] = stored[f"{UP}_codes"] ^ np.uint8(16)


IN_TENSORS = {
    "the other half of each byte": swapped_halves,
    "the scale of the next group": next_scale,
    "zero points off by one": next_zero,
    "rows of a table": next_row,
    "codes off by one": next_code,
}


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("fault", IN_TENSORS)
def test_planted_in_tensors(bundles: Bundles, tmp_path: Path, backend: str, fault: str) -> None:
    """Codes, scales and zero points of one weight are wrong: in the file, or in the step graph."""
    source, change = bundles("llama", "int4"), IN_TENSORS[fault]
    if backend == "onnxruntime":
        # Small tensors are inside the graphs too.
        copy = edited(source, tmp_path, lambda graph: _in_graph(graph, change), "step.onnxruntime")
    else:
        copy = copied(source, tmp_path)
        file = copy / "graphs" / "weights.safetensors"
        stored = load_file(file)
        change(stored)
        save_file(stored, file)
        sign(copy)
    report = Engine.load(copy, backend=backend, threads=1).compare()
    assert any("step" in failure for failure in report.failures), report.failures


def _in_graph(graph: onnx.GraphProto, change: Callable[[Stored], None]) -> None:
    tensors = {each.name.removeprefix(PREFIX): each for each in graph.initializer}
    stored = {
        name: onnx.numpy_helper.to_array(each)
        for name, each in tensors.items()
        if not each.external_data
    }
    before = dict(stored)
    change(stored)
    for name, array in stored.items():
        if array is not before[name]:
            tensors[name].CopyFrom(onnx.numpy_helper.from_array(array, tensors[name].name))


def test_rounding_left_out_is_found(bundles: Bundles) -> None:
    """On PyTorch: without the rounding of activations, the known answers are not met."""
    bundle = bundles("startless", "int8.rounded")
    report = Engine.load(bundle, backend="torch", threads=1).compare()
    assert any("log p" in failure for failure in report.failures), report.failures
    with any_size(WAYS["int8.rounded"]):
        report = Engine.load(bundle, backend="torch", threads=1).compare()
    assert report.failures == ()
