"""A user's model that cannot be exported is refused with what is wrong, where, and what to do."""

import re
from pathlib import Path

import pytest
import torch
from torch._dynamo.exc import UserError
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from ancestral.dataspec import DataSpec
from ancestral.errors import ExportError
from ancestral.export.bundle import export_bundle
from ancestral.export.model_state import check_ready
from ancestral.export.own.agreement import check_agreement
from ancestral.export.own.contract import check_contract, check_declared
from ancestral.export.own.latent_contract import check_latent_contract
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import build_model
from ancestral.train.models.transformer_config import TransformerConfig
from tests.export import own_models
from tests.toys import TOYS, make
from tests.wheel import ROOT

BEFORE_GRAPHS = {
    "WholeEvents": r"predict takes whole events of 6 positions, but not the first 3 of them "
    r"\(AssertionError: all of them \(line \d+ of own_models.py, in pre.*`takes_prefixes = False`",
    "OtherPrefix": r"predict\(x\[:, :3\]\) to equal predict\(x\)\[:, :3\].*`takes_prefixes = F",
    "OneValueOnly": r"extend\(int64 \[2, 3\].*blocks of one value work, so set `takes_blocks = F",
    "CountsCalls": r"predict changes 'calls' of the model.*entry of cache_spec",
    "HiddenState": r"extend changes 'window' of the model.*entry of cache_spec",
    "Dropout": r"predict gave different numbers .*training=self.training",
    "DropoutInExtend": r"extend gave different numbers .*training=self.training",
    "AlwaysTrains": r"got 'AlwaysTrains', 'value', 'hidden' and 2 more in training mode",
    "NotDeclared": r"extend\(.*\) raised KeyError: 'window' .*exactly the entries of cache_spec",
    "NotReturned": r"extend: expected a cache with the entries of .*, \['window'\], got \[\]",
    "OtherShape": r"cache\['window'\]: expected int64 \[2, 3\] .*, got int64 \[2, 2\]",
    "OtherType": r"cache\['window'\]: expected int64 \[2, 3\] .*, got int32 \[2, 3\]",
    "TakenName": r"cache_spec: 'values': expected a .* not the name of another tensor of a step",
    "NoRows": r"cache_spec: 'window': expected the axis 'b' .* and then fixed sizes",
    "Method": r"cache_spec: expected a property .*, got method",
    "Meta": r"got 'more.weight', 'more.bias' on the meta device or lazy",
    "Complex": r"phase is complex64.*real and the imaginary part in two float32 tensors",
    "Float64": r"scale is float64.*call model.float\(\)",
    "NonLeaf": r"cannot be copied, .*computed from its parameters",
    "Constant": r"predict\(.*dtype.*in after: `return h @ torch.eye\(16\)`.*type of the weights",
    "IgnoresPosition": r"expected the log-probabilities of predict, got .* at position 0",
    "FirstRowsPosition": r"at position 0; make extend ignore tokens .*in each row separately",
    "Late": r"got a difference of .* at position 1; make extend\(tokens, position, ...\) consume",
    "Leaks": r"the model sees the future: 5 of 6 outputs",
    "WritesIntoX": r"predict writes into its argument x,",
    "WritesIntoCache": r"extend writes into its argument cache\['window'\]",
    "Transposed": r"predict: expected parameters float32 \[2, 6, 5\].*got float32 \[2, 5, 6\]",
    "NoPair": r"extend: expected a tuple of.*got float32 \[2, 1, 5\]",
    "NoStart": r"predict\(int64 \[2, 6\], None\) raised IndexError.*a start symbol needs another n",
    "NotANumber": r"predict: expected numbers, got NaN",
    "NoData": r"data: expected a DataSpec, set in __init__, got None",
    "DrawsItsLatents": r"encode gave different numbers .*noise is an argument",
    "NumbersOnly": r"encode: expected \(float32 \[2, 2\], float32 \[2, 2\]\), got float32 \[2, 4\]",
    "NoLastAxis": r"decode: expected \(float32 \[2, 6, 1\]\), got \(float32 \[2, 6\]\)",
    "EncodesFloat": r"encode\(.*dtype.*computed in float64",
    "NoObservation": r"observation: expected an observation, for example Independent",
}
WHILE_TRACED = {
    "PaddedPrefix": (UserError, r"predict .*some sizes of t only.*`takes_prefixes = False`"),
    "LoopOverPositions": (UserError, r"predict .*some sizes of t only.*`takes_prefixes = False`"),
    "LoopOverRows": (UserError, r"predict .*some sizes of b only.*without a loop over rows"),
    "RecurrentLayer": (UserError, r"predict .*use the operators `gru` and `lstm`"),
    "IfOnValues": (
        GuardOnDataDependentSymNode,
        r"predict cannot become a graph \(line \d+ of own_models.py, in predict: "
        r"`if x.sum\(\) > 1000:`\).*torch.where instead of `if`",
    ),
    "SizeOfValues": (GuardOnDataDependentSymNode, r"predict .*depends on values"),
    "ReadsNumbers": (
        RuntimeError,
        r"in after: `return h \* torch.from_numpy.*torch.export refuses",
    ),
    "NoForm": (
        torch.onnx.OnnxExporterError,
        r"NoForm.predict .*no form of the operator prims.bessel_j0; write it with other operators",
    ),
    "IfOnLatents": (GuardOnDataDependentSymNode, r"in decode: `if z.sum\(\) > 1000:`"),
}


COSTLY = {"LoopOverPositions", "RecurrentLayer", "NoForm"}


def _slow(name: str, costly: bool) -> object:
    return pytest.param(name, marks=[pytest.mark.slow] if costly else [])


def refused(name: str, folder: Path, graph: str) -> ExportError:
    """Check that an export is refused and leaves no file; return the error."""
    model = getattr(own_models, name)()
    graphs = (graph,) if isinstance(model, AutoregressiveModel) else None
    with pytest.raises(ExportError) as caught:
        export_bundle(model, folder / "never", graphs=graphs)
    assert list(folder.iterdir()) == []
    return caught.value


@pytest.mark.parametrize(("length", "start"), [(1, "learned"), (2, None), (3, None)])
def test_short_events(length: int, start: str | None) -> None:
    """The check never calls a model with an empty prefix, or with a block beyond the end."""
    config = TransformerConfig(width=16, layers=1, heads=2, start=start)
    model = build_model(config, DataSpec(name="short", event_shape=(length,), levels=4)).eval()
    check_contract(model)
    check_agreement(model)


@pytest.mark.parametrize("name", BEFORE_GRAPHS)
def test_before_any_graph(name: str, tmp_path: Path) -> None:
    assert_message(refused(name, tmp_path, "log_prob"), BEFORE_GRAPHS[name])


@pytest.mark.parametrize("name", [_slow(name, name in COSTLY) for name in WHILE_TRACED])
def test_while_traced(name: str, tmp_path: Path) -> None:
    """The message is ours; PyTorch's exception is its cause."""
    cause, words = WHILE_TRACED[name]
    error = refused(name, tmp_path, "log_prob")
    assert_message(error, words)
    assert isinstance(error.__cause__, cause)
    assert "TORCH_LOGS" not in str(error)
    assert "\n" not in str(error)


def test_rows_of_extend(tmp_path: Path) -> None:
    error = refused("RowsInExtend", tmp_path, "step")
    assert_message(error, r"RowsInExtend.extend .*some sizes of b only.*without a loop over rows")
    assert isinstance(error.__cause__, UserError)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MaskAsIndex", r"NonZero: TensorRT cannot build it; a boolean mask as an index"),
        (
            "PlainAttribute",
            r"is not a weight of the model: it is a plain attribute.*register_buffer",
        ),
    ],
)
def test_after_translation(name: str, words: str, tmp_path: Path) -> None:
    assert_message(refused(name, tmp_path, "log_prob"), words)


REFUSALS = {
    "takes whole events of 6 positions, but not the first 3": "WholeEvents",
    "blocks of one value work": "OneValueOnly",
    "an operation depends on values": "IfOnValues",
    "NonZero: TensorRT cannot build it": "MaskAsIndex",
    "it works for some sizes of b only": "LoopOverRows",
    "ONNX has no form of the operator": "NoForm",
    "changes 'calls' of the model": "CountsCalls",
    "gave different numbers when it was called again": "Dropout",
    "the known answers are computed in float64": "Constant",
    "expected the log-probabilities of predict": "Late",
    "scale is float64, but a bundle holds float32": "Float64",
}
"""Rows of the table of refusals in docs/own-model.md, each with a model that causes it."""


def test_the_page_has_these_rows() -> None:
    text = (ROOT / "docs" / "own-model.md").read_text()
    table = text.partition("| it says |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([^|]+) \|", table, flags=re.MULTILINE)
    assert [re.sub(r" \(t, s\)$", "", row) for row in rows] == list(REFUSALS)


@pytest.mark.slow
@pytest.mark.parametrize("words", REFUSALS)
def test_the_page_says_what_export_says(words: str, tmp_path: Path) -> None:
    assert words in str(refused(REFUSALS[words], tmp_path, "log_prob"))


@pytest.mark.parametrize("name", ["Sound", "MakesATableOnce"])
def test_a_sound_model_passes(name: str) -> None:
    check_all(getattr(own_models, name)().eval())


@pytest.mark.parametrize("toy", [_slow(toy, toy not in {"gru", "table"}) for toy in TOYS])
def test_the_families_pass(toy: str) -> None:
    """Our own models keep the contract that is required of a user's model."""
    check_all(make(toy))


def test_a_sound_latent_model_passes() -> None:
    model = own_models.SoundVAE().eval()
    check_declared(model)
    check_ready(model)
    check_latent_contract(model)


def check_all(model: AutoregressiveModel) -> None:
    check_declared(model)
    check_ready(model)
    check_contract(model)
    check_agreement(model)


def assert_message(error: ExportError, words: str) -> None:
    with pytest.raises(ExportError, match=f"(?s){words}"):
        raise error
