"""Quantised bundles of every family keep their probabilities, and store each weight once as codes.

The toys are quantised in the ways of `tests/quantised_toys.py`.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file

from ancestral.bundles.bundle import Bundle
from ancestral.cli.present.parity_table import parity_tables
from ancestral.engine import Engine
from ancestral.errors import BundleError, InvalidInput
from ancestral.export import quantise as module
from ancestral.export.quantise import quantise_bundle
from ancestral.export.recast import recast
from ancestral.export.weights import INLINE
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.quantisation import modules
from ancestral.train.quantisation.quantise import planned
from ancestral.train.stored_model import bundled_model
from tests.conftest import Load
from tests.quantised_toys import WAYS, any_size, quantise_toy
from tests.tamper import change_manifest, copied

Bundles = Callable[..., Path]
QUICK = [("llama", "int4"), ("startless", "int8.rounded"), ("bernoulli", "int8.loaded")]
"""Toys and ways of every run of the tests: tied tables, zero points and scales of float16 that
ONNX Runtime reads as they are stored; rounded activations; and matrices that are dequantised when a
graph is loaded."""
SLOW = [
    ("tiny", "int4"),
    ("tiny", "int8.loaded"),
    ("tiny", "int8.rounded"),
    ("llama", "int8"),
    ("llama", "int4.rounded"),
    ("startless", "int4.loaded"),
    ("gru", "int4"),
    ("lstm", "int8"),
    ("wavenet", "int4"),
    ("wavenet", "int8.rounded"),
    ("pixelcnn", "int8"),
    ("pixelcnn", "int4.rounded"),
    ("linear", "int4.loaded"),
    ("convolved", "int4"),
    ("codes", "int8"),
    ("diffusion", "int8"),
]
EACH = [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
LARGE = 2**10
"""Bytes above which nothing is stored twice."""


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize(("toy", "way"), EACH)
def test_verify(load: Load, toy: str, way: str, backend: str) -> None:
    """Every graph agrees with float64 PyTorch of the numbers that the codes stand for."""
    report = load(toy, backend, way).compare()
    assert report.failures == ()
    rounded = WAYS[way].compute == "int8"
    assert report.dtype == ("float32+int8" if rounded else "float32")
    assert report.to_json()["dtype"] == report.dtype
    head = str(parity_tables([report])[0].columns[1].header)
    assert head == f"{backend} cpu" + " float32+int8" * rounded


@pytest.mark.parametrize(("toy", "way"), EACH)
def test_stored(bundles: Bundles, toy: str, way: str) -> None:
    """Each weight of the manifest is in the file as codes, and nothing large is there twice."""
    bundle = Bundle.open(bundles(toy, way))
    plan = bundle.manifest.quantisation
    assert plan is not None
    assert bundle.manifest.version == 2
    stored = load_file(bundle.weights_file)
    for name, how in plan.tensors.items():
        assert name not in stored
        codes, scale = stored[f"{name}_codes"], stored[f"{name}_scale"]
        assert codes.dtype == np.uint8
        assert codes.shape == (*scale.shape, how.group * how.bits // 8)
        assert scale.dtype == (np.float16 if WAYS[way].half_scales else np.float32)
        assert (f"{name}_zero" in stored) == (not how.symmetric)
    large = [array.tobytes() for array in stored.values() if array.nbytes > LARGE]
    assert len(set(large)) == len(large)
    for entry in bundle.manifest.graphs.values():
        for file in entry.files.values():
            graph = onnx.load(bundle.path / file, load_external_data=False).graph
            inside = [
                *(each for each in graph.initializer if not each.external_data),
                *(part.t for node in graph.node for part in node.attribute if part.HasField("t")),
            ]
            assert all(each.ByteSize() <= INLINE + LARGE for each in inside), file
    assert bundle.manifest.components["model"].parameters == (
        Bundle.open(bundles(toy)).manifest.components["model"].parameters
    )


def test_forms(bundles: Bundles) -> None:
    """ONNX Runtime's form of a step reads codes in products and in look-ups; the others dequantise.

    The two kinds of products are never mixed up: with activations in float32, each has three parts.
    """
    for toy, way, maps, tables in (("llama", "int4", 9, 1), ("startless", "int8.rounded", 5, 2)):
        bundle = Bundle.open(bundles(toy, way))
        counts = {
            form: Counter(node.op_type for node in onnx.load(bundle.path / file).graph.node)
            for form, file in bundle.manifest.graphs["step"].files.items()
        }
        packed = counts["onnxruntime"]
        # A tied table is in both: the look-up, and the head.
        assert (packed["MatMulNBits"], packed["GatherBlockQuantized"]) == (maps, tables)
        assert (packed["DequantizeLinear"], packed["MatMul"]) == (0, 0)
        parts = packed["ReduceMax"] - counts["portable"]["ReduceMax"]
        if WAYS[way].compute == "float32":
            assert parts > 0
        else:
            assert packed["ReduceMax"] < counts["portable"]["ReduceMax"]
        portable = counts["portable"]
        assert portable["MatMulNBits"] == portable["GatherBlockQuantized"] == 0
        assert portable["DequantizeLinear"] >= maps


def answered(bundle: Bundle) -> float:
    """Return the largest error of the known answers against float64 PyTorch with the file."""
    answers = bundle.known_answers()
    model = bundled_model(bundle).double()
    assert isinstance(model, AutoregressiveModel)
    with torch.no_grad():
        found = model.position_log_prob(torch.from_numpy(answers["x"]), None).numpy()
    return float(np.abs(found - answers["log_prob"]).max())


@pytest.mark.parametrize(("toy", "way"), QUICK[:2])
def test_known_answers(bundles: Bundles, toy: str, way: str) -> None:
    """Known answers are those of the numbers that the codes stand for, in float64.

    They are not those of the source, nor, if activations are rounded, those of float32 activations.
    """
    bundle, source = Bundle.open(bundles(toy, way)), Bundle.open(bundles(toy))
    with any_size(WAYS[way]):
        assert answered(bundle) < 1e-12
    apart = bundle.known_answers()["log_prob"] - source.known_answers()["log_prob"]
    assert np.abs(apart[source.known_answers()["x"] == bundle.known_answers()["x"]]).max() > 1e-3
    if WAYS[way].compute == "int8":
        assert answered(bundle) > 1e-4, "rounding that is left out is found"


def test_float32_bundles_have_no_new_field(bundles: Bundles) -> None:
    """A bundle in float32 keeps format version 1, which an older reader opens."""
    for toy in ("llama", "bernoulli"):
        text = (bundles(toy) / "manifest.json").read_text()
        assert '"version": 1' in text
        assert "quantisation" not in text
        assert "cost" not in text


def tensors(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["quantisation"]["tensors"]
    return found


HEAD = "head.weight"
COST = {
    "quantity": "log_prob",
    "unit": "events",
    "events": 4,
    "positions": 24,
    "data": "x.npz",
    "data_sha256": None,
    "source_sha256": None,
    "backend": "onnxruntime cpu float32",
    "source_backend": None,
    "seed": 0,
    "loss_nats": 0.1,
    "loss_error": 0.01,
    "bits_per_dim": 1.0,
    "source_bits_per_dim": 1.0,
    "worst": [],
}
LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "bits": (lambda m: tensors(m)[HEAD].update(bits=4), r"expected codes U8 \[n, groups, 8\]"),
    "group": (lambda m: tensors(m)[HEAD].update(group=32), r"groups, 32\], got U8 \[4, 1, 16\]"),
    "no group": (lambda m: tensors(m)[HEAD].update(group=0), "expected a number >= 2"),
    "odd group": (lambda m: tensors(m)[HEAD].update(group=17), "multiple of 2"),
    "three bits": (lambda m: tensors(m)[HEAD].update(bits=3), "expected 4 or 8"),
    "zero points": (
        lambda m: tensors(m)[HEAD].update(symmetric=False),
        r"expected zero U8 \[4, 1\], but it is missing",
    ),
    "scales": (lambda m: m["quantisation"].update(scales="float16"), "expected scale F16"),
    "another tensor": (
        lambda m: tensors(m).update(mine=tensors(m).pop(HEAD)),
        "'mine': the weights file has no codes of it",
    ),
    "no tensors": (lambda m: tensors(m).clear(), "tensors: expected at least 1 item"),
    "kept": (lambda m: m["quantisation"]["kept"].update({HEAD: "x"}), "both quantised and kept"),
    "compute": (lambda m: m["quantisation"].update(compute="int4"), "expected 'float32' or 'int8'"),
    "version": (lambda m: m.update(version=1), "version: expected 2 with quantised weights"),
    "an unknown field": (lambda m: m["quantisation"].update(more=1), "more: unknown field"),
    "a cost that is NaN": (lambda m: m.update(cost=COST | {"loss_nats": "nan"}), "loss_nats"),
}
"""Changes of a manifest, and the words of the message on opening the bundle."""


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies(bundles: Bundles, tmp_path: Path, lie: str) -> None:
    copy = copied(bundles("startless", "int8.rounded"), tmp_path)
    change, words = LIES[lie]
    change_manifest(copy, change)
    with pytest.raises(BundleError, match=words):
        Bundle.open(copy)


def test_zero_points_that_are_not_announced(bundles: Bundles, tmp_path: Path) -> None:
    copy = copied(bundles("llama", "int4"), tmp_path)
    change_manifest(copy, lambda m: tensors(m)["blocks.0.up.weight"].update(symmetric=True))
    with pytest.raises(BundleError, match=r"expected no zero, because it is symmetric, got U8"):
        Bundle.open(copy)


def test_a_cost_of_a_plain_bundle(bundles: Bundles, tmp_path: Path) -> None:
    copy = copied(bundles("startless"), tmp_path)
    change_manifest(copy, lambda manifest: manifest.update(version=2, cost=COST))
    with pytest.raises(BundleError, match="cost: expected none in a bundle without quantised"):
        Bundle.open(copy)


def test_weights_that_the_model_does_not_have(bundles: Bundles, tmp_path: Path) -> None:
    """A plan that fits the file but not the model is refused when PyTorch loads the bundle."""
    copy = copied(bundles("startless", "int8.rounded"), tmp_path)
    change_manifest(copy, lambda m: tensors(m).pop(HEAD))
    with pytest.raises(BundleError, match="the weights do not fit the model; export the model"):
        Engine.load(copy, backend="torch", threads=1)


def test_refused(bundles: Bundles, tmp_path: Path) -> None:
    """A bundle that is quantised, in 16 bits, or of a user's own class is refused in a sentence."""
    quantised, out = bundles("startless", "int8.rounded"), tmp_path / "out"
    words = "expected a float32 bundle, got one with weights in int8; use the float32 bundle"
    with pytest.raises(InvalidInput, match=words):
        recast(quantised, out, "float16")
    with pytest.raises(InvalidInput, match=words):
        quantise_bundle(quantised, out, WAYS["int8"].plan)
    own = copied(bundles("startless"), tmp_path)
    change_manifest(own, lambda manifest: manifest["components"]["model"].update(family="Mine"))
    with pytest.raises(InvalidInput, match="got 'Mine', a model of your own class"):
        quantise_bundle(own, out, WAYS["int8"].plan)
    with pytest.raises(InvalidInput, match="the bundle exists"):
        quantise_bundle(bundles("startless"), own, WAYS["int8"].plan)
    with pytest.raises(InvalidInput, match="at least 4,096 numbers to quantise, got smaller"):
        quantise_bundle(bundles("startless"), out, lambda model: planned(model, "int8"))
    assert not out.exists()


class _Stopped(Exception):
    pass


def test_a_measurement_that_fails(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If measuring the cost raises, no bundle is left, not even its temporary folder."""

    def fail(folder: Path) -> Any:
        raise _Stopped

    def short(*arguments: Any) -> None:
        folder = arguments[3]
        (folder / "manifest.json").write_text("{}")

    monkeypatch.setattr(module, "_write", short)
    with any_size(WAYS["int8"]), pytest.raises(_Stopped):
        quantise_bundle(bundles("startless"), tmp_path / "out", WAYS["int8"].plan, measure=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_same_bytes(bundles: Bundles, tmp_path: Path) -> None:
    """The same bundle, quantised twice in the same way, gives the same bytes."""
    source = bundles("startless")
    first, second = (
        quantise_toy(source, tmp_path / name, "int8.rounded") for name in ("first", "second")
    )
    files = [each.relative_to(first) for each in first.rglob("*") if each.is_file()]
    digests = [
        {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files}
        for folder in (first, second)
    ]
    assert digests[0] == digests[1]


def test_large_maps_only(bundles: Bundles) -> None:
    """Without the lower limit of the tests, a small map does not round its activations."""
    bundle = Bundle.open(bundles("startless", "int8.rounded"))
    small = bundled_model(bundle)
    flags = [each._stored["weight"][3] for each in small.modules() if is_quantised(each)]
    assert flags
    assert not any(flags)
    with any_size(WAYS["int8.rounded"]):
        model = bundled_model(bundle)
    flags = [each._stored["weight"][3] for each in model.modules() if is_quantised(each)]
    assert any(flags)


def is_quantised(layer: torch.nn.Module) -> bool:
    return isinstance(layer, modules.QuantisedModule)
