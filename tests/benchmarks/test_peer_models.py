"""The weights that peers and we load, and a GPT-2 in the form of onnxruntime-genai."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from ancestral.train.open_checkpoint import open_checkpoint
from benchmarks.peers import workloads
from benchmarks.peers.genai_graph import write_genai_graph
from benchmarks.peers.worker import UNUSED
from benchmarks.peers.workloads import WORKLOADS, Workload, weights

GPT2 = Workload("tiny", "a toy", "gpt2", 16, 2, 2, levels=7, length=6, start=6)
LLAMA = Workload("tiny", "a toy", "llama", 16, 2, 4, levels=7, length=6)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "FOLDER", tmp_path)


@pytest.mark.parametrize("work", [GPT2, LLAMA], ids=lambda work: work.kind)
def test_transformers_and_we_read_the_same_model(work: Workload) -> None:
    from transformers import AutoModelForCausalLM

    path = weights(work)
    assert weights(work) == path
    theirs = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64).eval()
    ours = open_checkpoint(path).model.double().eval()
    tokens = torch.from_numpy(work.given(work.length))[None]
    with torch.no_grad():
        logits = theirs(tokens[:, :-1]).logits.log_softmax(-1)
        predicted = ours.predict(tokens[:, 1:], None).log_softmax(-1)
    torch.testing.assert_close(predicted, logits, rtol=0, atol=1e-5)
    assert logits.std() > 0.5, "the distribution is not nearly uniform"


def test_given_values_never_hold_the_padding() -> None:
    for work in (*WORKLOADS.values(), GPT2):
        assert work.start != UNUSED
        assert UNUSED not in work.prompt(64)
        assert UNUSED not in work.given(64)
    assert (WORKLOADS["W1"].prompt(8) == WORKLOADS["W1"].prompt(32)[:8]).all()


def test_a_gpt2_for_onnxruntime_genai_has_the_same_logits(tmp_path: Path) -> None:
    folder = tmp_path / "genai"
    write_genai_graph(GPT2, folder)
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    tokens = np.stack([GPT2.given(6)[:-1], GPT2.given(6)[:-1][::-1]])
    caches = {
        each.name: np.zeros((2, 2, 9, 8), np.float32)
        for each in session.get_inputs()
        if each.name.startswith("past_key_values.")
    }
    assert len(caches) == 4
    found = []
    # As onnxruntime-genai runs it: a block, then a token at a time, over longer caches.
    for start, stop in ((0, 3), (3, 4), (4, 5), (5, 6)):
        given = {
            "input_ids": tokens[:, start:stop],
            "position_ids": np.tile(np.arange(start, stop), (2, 1)),
            "attention_mask": np.ones((2, stop), np.int64),
        }
        logits, *new = session.run(None, given | caches)
        caches = dict(zip(caches, new, strict=True))
        found.append(logits)
    model = open_checkpoint(weights(GPT2)).model.eval()
    values = torch.from_numpy(np.concatenate([tokens[:, 1:], tokens[:, :1]], axis=1))
    with torch.no_grad():
        first = torch.from_numpy(tokens[:, 0])
        assert first[0] == GPT2.start
        exact = model.predict(values[:1], None).numpy()
    np.testing.assert_allclose(
        np.concatenate(found, axis=1)[0], exact[0, [2, 3, 4, 5]], rtol=0, atol=1e-4
    )
