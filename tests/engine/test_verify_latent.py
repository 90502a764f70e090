"""`verify` of latent variable models finds every planted fault, and names the failed check."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch

from ancestral.engine import Engine
from ancestral.errors import BundleError
from ancestral.latent_parity import LatentParityReport
from ancestral.train.models import posteriors
from tests.conftest import Load
from tests.latent_toys import LATENT_TOYS, make_latent
from tests.tamper import copied, edited, sign

Bundles = Callable[[str], Path]


def failed(engine: Engine) -> LatentParityReport:
    report = engine.compare()
    assert isinstance(report, LatentParityReport)
    assert not report.passed, f"passed with {report}"
    return report


def scaled_weight(bundle: Path, folder: Path, name: str) -> Path:
    """Return a copy with the first number of a weight changed by 2%; its hashes are valid."""
    copy = copied(bundle, folder)
    file = copy / "graphs" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    size = int.from_bytes(data[:8], "little")
    at = 8 + size + json.loads(data[8 : 8 + size])[name]["data_offsets"][0]
    (value,) = struct.unpack_from("<f", data, at)
    struct.pack_into("<f", data, at, value * 1.02)
    file.write_bytes(data)
    sign(copy)
    return copy


@pytest.mark.parametrize(
    ("toy", "weight"),
    [
        ("bernoulli", "encoder.layers.0.weight"),
        ("bernoulli", "decoder.layers.2.bias"),
        ("convolved", "mixture.mean"),
        ("convolved", "encoder.out.weight"),
        ("colours", "decoder.body.body.head.bias"),
        ("linear", "head.log_scale"),
        ("codes", "decoder.body.head.weight"),
    ],
)
def test_weight_changed(bundles: Bundles, tmp_path: Path, toy: str, weight: str) -> None:
    """A changed weight is found on torch, which reads only the file; graphs hold small weights."""
    report = failed(Engine.load(scaled_weight(bundles(toy), tmp_path, weight), backend="torch"))
    assert any("log w" in failure for failure in report.failures), report.failures


def swapped(graph: onnx.GraphProto) -> None:
    """Swap log p(z) and log q(z | x)."""
    names = {"log_prior": "log_posterior", "log_posterior": "log_prior"}
    if {each.name for each in graph.output} >= set(names):
        for node in graph.node:
            node.output[:] = [names.get(name, name) for name in node.output]


def scale_forgotten(graph: onnx.GraphProto) -> None:
    """Let z be mean + noise: the exponential of the log scale becomes 1."""
    for node in graph.node:
        if node.op_type == "Exp" and len(graph.output) == 3:
            zero = onnx.helper.make_node("Sub", [node.input[0], node.input[0]], ["nothing"])
            node.input[0] = "nothing"
            graph.node.insert(list(graph.node).index(node), zero)
            return


@pytest.mark.parametrize("fault", [swapped, scale_forgotten])
def test_graph_changed(
    bundles: Bundles, tmp_path: Path, fault: Callable[[onnx.GraphProto], None]
) -> None:
    copy = edited(bundles("bernoulli"), tmp_path, fault, "log_weights")
    report = failed(Engine.load(copy, threads=1))
    assert report.max_abs_nats > 100 * report.limit_nats


def test_uniforms_reversed(bundles: Bundles, tmp_path: Path) -> None:
    """Planted: values are drawn with 1 - u, which gives equally good but different samples."""

    def reverse(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            if "u" in node.input:
                node.input[list(node.input).index("u")] = "reversed"
        one = onnx.helper.make_tensor("one", onnx.TensorProto.FLOAT, [], [1.0])
        graph.initializer.append(one)
        graph.node.insert(0, onnx.helper.make_node("Sub", ["one", "u"], ["reversed"]))

    copy = edited(bundles("bernoulli"), tmp_path, reverse, "draw")
    report = failed(Engine.load(copy, threads=1))
    assert report.unexplained > 10
    assert [failure for failure in report.failures if "unexplained" in failure]


@pytest.mark.parametrize("output", ["z", "parameters"])
def test_sign_lost(bundles: Bundles, tmp_path: Path, output: str) -> None:
    """Planted: latents of the prior, or parameters of `decode`, have the opposite sign.

    Opposite latents are as probable as before.
    """

    def negate(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            if output in node.output:
                node.output[list(node.output).index(output)] = "right"
        graph.node.append(onnx.helper.make_node("Neg", ["right"], [output]))

    graph = "prior" if output == "z" else "decode"
    report = failed(Engine.load(edited(bundles("bernoulli"), tmp_path, negate, graph), threads=1))
    assert [failure for failure in report.failures if "unexplained" in failure]
    assert report.max_abs_nats <= report.limit_nats


def test_entropy_forgotten(bundles: Bundles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted in the model: log q(z | x) lacks the scale."""
    model = make_latent("bernoulli")
    monkeypatch.setattr(
        posteriors.Diagonal,
        "draw",
        lambda self, q, noise: (
            q[0][:, None] + q[1].exp()[:, None] * noise,
            posteriors.standard_log_prob(noise),
        ),
    )
    failed(Engine.load(bundles("bernoulli"), backend="torch", model=model))


def test_prior_of_codes_changed(bundles: Bundles, tmp_path: Path) -> None:
    """A changed weight of the prior, the inner bundle, is found."""
    copy = copied(bundles("codes"), tmp_path)
    inner = scaled_weight(bundles("codes") / "prior", tmp_path / "inner", "blocks.0.qkv.weight")
    for file in ("graphs/weights.safetensors", "manifest.json"):
        (copy / "prior" / file).write_bytes((inner / file).read_bytes())
    with pytest.raises(BundleError, match=r"prior/manifest.json"):
        Engine.load(copy)
    sign(copy)
    report = failed(Engine.load(copy, backend="torch"))
    assert all(failure.startswith("prior: ") for failure in report.failures)


def test_prior_of_codes_altered(bundles: Bundles, tmp_path: Path) -> None:
    """Changed files of the prior and of the outer bundle are both named when it is opened."""
    copy = copied(bundles("codes"), tmp_path)
    for name in ("prior/graphs/step.onnx", "graphs/decode.onnx"):
        data = bytearray((copy / name).read_bytes())
        data[50] ^= 1
        (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=r"(?s)decode.onnx: altered.*graphs/step.onnx: altered"):
        Engine.load(copy)


@pytest.mark.parametrize("toy", LATENT_TOYS)
def test_report(load: Load, toy: str) -> None:
    """A report's JSON is plain, with the fields that users compare."""
    report = load(toy, "onnxruntime").verify()
    document = json.loads(json.dumps(report.to_json()))
    assert document["passed"] is True
    assert document["failures"] == []
    assert 0 < document["max_abs_nats"] <= document["limit_nats"]
    assert (document["prior"] is not None) == (toy == "codes")


def test_own_class(bundles: Bundles) -> None:
    """`model` on torch takes the bundle's weights; a model of other data is refused."""
    model = make_latent("bernoulli")
    with torch.no_grad():
        next(model.parameters()).zero_()
    engine = Engine.load(bundles("bernoulli"), backend="torch", model=model)
    assert engine.compare().passed, "the bundle's weights were not loaded into it"
    with pytest.raises(ValueError, match="expected data"):
        Engine.load(bundles("bernoulli"), backend="torch", model=make_latent("convolved"))
