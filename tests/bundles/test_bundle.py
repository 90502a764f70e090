"""A bundle opens completely or not at all, and one error lists every problem."""

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from pydantic import ValidationError

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.hashes import Fingerprint
from ancestral.bundles.manifest import FORMAT_VERSION, check_label_prior
from ancestral.errors import BundleError, InvalidInput
from ancestral.signature import Carried, Update
from tests.tamper import change_manifest, copied, edited, sign

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return copied(tiny_bundle, tmp_path)


def refused(bundle: Path, *patterns: str, rehash: bool = False) -> str:
    """Check that opening fails with every pattern in the message; return the message."""
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle, rehash=rehash)
    message = str(caught.value)
    for pattern in patterns:
        assert pattern in message, f"expected {pattern!r} in: {message}"
    return message


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(BundleError, match=r"cannot be read.*File name too long"):
        Bundle.open("x" * 300)


def test_sound(tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle, rehash=True)
    on_disk = {str(f.relative_to(tiny_bundle)) for f in tiny_bundle.rglob("*") if f.is_file()}
    assert on_disk == {*opened.manifest.files, "manifest.json"}


def test_one_bit_of_every_file(bundle: Path) -> None:
    """A flipped bit at the start, middle or end of each file: one report counts every file."""
    names = list(Bundle.open(bundle).manifest.files)
    for i, name in enumerate(names):
        spoilt = bytearray((bundle / name).read_bytes())
        spoilt[(0, len(spoilt) // 2, len(spoilt) - 1)[i % 3]] ^= 1 << (i % 8)
        (bundle / name).write_bytes(spoilt)
    message = refused(bundle, "altered (its SHA-256")
    reported = re.findall(r"\n  - (\S+): altered", message)
    assert len(reported) > 10
    assert reported == names[: len(reported)]
    assert message.endswith(f"\n  - and {len(names) - len(reported)} more")


def test_change_hidden_by_a_remembered_hash(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that a remembered hash hides is found with `rehash`."""
    before = Bundle.open(bundle)
    monkeypatch.setattr(
        "ancestral.bundles.hashes.fingerprint", lambda status: Fingerprint(status.st_size, 0, 0, 0)
    )
    Bundle.open(bundle)
    file = before.path / "graphs" / "step.onnx"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    Bundle.open(bundle)
    refused(bundle, "graphs/step.onnx: altered", rehash=True)


def test_every_problem_at_once(bundle: Path) -> None:
    (bundle / "graphs" / "step.onnx").unlink()
    weights = bundle / "graphs" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    answers = bundle / "known_answers.safetensors"
    answers.write_bytes(answers.read_bytes()[:-1] + b"\xff")
    message = refused(
        bundle,
        "graphs/step.onnx: missing",
        "weights.safetensors: expected ",
        "known_answers.safetensors: altered",
        "export it again",
    )
    assert message.count("\n  - ") == 3


def test_no_bundle(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such directory; pass the directory of a bundle")
    refused(tmp_path, "no file manifest.json")
    (tmp_path / "manifest.json").write_text('{"name": "a web app", "icons": []}')
    refused(tmp_path, "manifest, version: missing", "manifest, icons: unknown field")
    (tmp_path / "manifest.json").write_text("[1, 2]")
    refused(tmp_path, "manifest, top level")


def test_altered_manifest(bundle: Path) -> None:
    """A manifest is refused if one digit changes of a number that nothing else depends on."""
    file = bundle / "manifest.json"
    text = file.read_text()
    altered = re.sub(r'("parameters": \d+)', r"\g<1>0", text)
    assert altered != text
    file.write_text(altered)
    refused(bundle, "manifest.json: altered")


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_truncated_manifest(bundle: Path, kept: int) -> None:
    file = bundle / "manifest.json"
    file.write_bytes(file.read_bytes()[:kept])
    refused(bundle, "truncated or altered")


def test_version_from_the_future(bundle: Path) -> None:
    def newer(manifest: dict[str, Any]) -> None:
        manifest.update(version=FORMAT_VERSION + 1, news="unknown today")

    change_manifest(bundle, newer)
    message = refused(bundle, f"got {FORMAT_VERSION + 1}", "pip install --upgrade")
    assert "unknown today" not in message, "the fields of a newer format are not judged"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("weights"), "manifest, weights: missing"),
        (lambda m: m.update(surprise=1), "manifest, surprise: unknown field"),
        (lambda m: m["data"].update(levels=0), "manifest, data.levels"),
        (lambda m: m.update(dtype="float8"), "manifest, dtype"),
        (lambda m: m["files"]["graphs/step.onnx"].update(sha256="0"), "sha256"),
        (
            lambda m: m["files"].pop("graphs/step.onnx"),
            "graphs/step.onnx: used, but not in the files",
        ),
        (
            lambda m: m["graphs"]["step"]["files"].pop("portable"),
            "expected .onnx files, one of them portable",
        ),
        (lambda m: m.update(version="1.0.0"), "manifest, version"),
    ],
    ids=["missing", "extra", "levels", "dtype", "hash", "unhashed", "portable", "version"],
)
def test_wrong_manifest(bundle: Path, change: Change, message: str) -> None:
    change_manifest(bundle, change)
    refused(bundle, message)


def test_two_wrong_fields(bundle: Path) -> None:
    change_manifest(bundle, lambda m: (m.pop("weights"), m.update(surprise=1)))
    refused(bundle, "weights: missing", "surprise: unknown field")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../outside",
        "graphs/../../outside",
        "graphs\\..\\x",
        "./graphs/a",
        "graphs//a",
    ],
)
def test_path_that_leaves(bundle: Path, name: str) -> None:
    (bundle.parent / "outside").write_text("secret")
    entry = {"size": 6, "sha256": "0" * 64}
    change_manifest(bundle, lambda m: m["files"].update({name: entry}))
    refused(bundle, "expected a plain path inside the bundle")


@pytest.mark.parametrize("which", ["weights", "known_answers"])
def test_path_in_another_field(bundle: Path, which: str) -> None:
    change_manifest(bundle, lambda m: m.update({which: "../outside"}))
    refused(bundle, "../outside: used, but not in the files")


def test_link_that_leaves(bundle: Path) -> None:
    """A link out of the bundle is refused, even if its target has the right content."""
    outside = bundle.parent / "outside"
    shutil.move(bundle / "known_answers.safetensors", outside)
    (bundle / "known_answers.safetensors").symlink_to(outside)
    refused(bundle, "known_answers.safetensors: a link out of the bundle")


@pytest.mark.parametrize("location", ["/etc/passwd", "../outside", "other.bin", "./../outside"])
def test_external_data_that_leaves(tiny_bundle: Path, tmp_path: Path, location: str) -> None:
    def lead_away(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location

    copy = edited(tiny_bundle, tmp_path, lead_away, "step.onnxruntime")
    refused(copy, f"graphs/step.onnxruntime.onnx: external data in {location!r}")


def test_no_onnx_file(bundle: Path) -> None:
    (bundle / "graphs" / "step.onnx").write_bytes(b"\xff" * 50)
    sign(bundle)
    refused(bundle, "graphs/step.onnx: not a valid ONNX file")


def test_changed_since_it_was_opened(bundle: Path) -> None:
    """A file that was written again after the bundle was opened is refused."""
    opened = Bundle.open(bundle)
    weights = opened.weights_file
    weights.write_bytes(weights.read_bytes())
    with pytest.raises(BundleError, match="changed since the bundle was opened"):
        opened.weights_file  # noqa: B018 - a property that checks


def test_graph_that_is_not_there(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="no graph 'encode', only"):
        Bundle.open(tiny_bundle).graph_file("encode", "portable")


def test_known_answers_of_another_format(bundle: Path) -> None:
    (bundle / "known_answers.safetensors").write_bytes(b"not safetensors")
    sign(bundle)
    refused(bundle, "known_answers.safetensors: not a safetensors file")


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "prior",
    [(NAN, 1.0), (1.0, NAN), (NAN, NAN), (INF, 0.0), (INF, -INF), (1.5, -0.5), (0.5, 0.6), (1.0,)],
)
def test_label_prior_that_is_not_a_distribution(bundle: Path, prior: tuple[float, ...]) -> None:
    """A prior that is not a distribution is refused; NaN would pass any check of `x > limit`."""
    change_manifest(bundle, lambda values: values.update(label_prior=prior))
    finite = all(map(math.isfinite, prior))
    refused(bundle, "label_prior: expected" if finite else "expected finite numbers")
    with pytest.raises(InvalidInput, match="label_prior: expected"):
        check_label_prior(prior, 2)


def test_label_prior_that_was_rounded(bundle: Path) -> None:
    change_manifest(bundle, lambda values: values.update(label_prior=(0.3333333, 0.6666664)))
    assert Bundle.open(bundle).manifest.label_prior == (0.3333333, 0.6666664)


@pytest.mark.parametrize("initial", [NAN, INF])
def test_initial_value_that_is_not_finite(bundle: Path, initial: float) -> None:
    """A cache may not start as NaN or infinity, which would be read even where it is masked."""
    change_manifest(
        bundle,
        lambda values: [
            pair.update(initial=initial)
            for pair in values["graphs"]["step"]["signature"]["carried"]
        ],
    )
    refused(bundle, "expected finite numbers")
    with pytest.raises(ValidationError, match="initial"):
        Carried(input="a", output="b", update=Update.APPEND, initial=initial)
