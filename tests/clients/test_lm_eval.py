"""lm-eval over HTTP gives the scores that lm-eval gives with the same weights in transformers."""

import json
import random
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ancestral.serve.settings import Settings
from tests.cli.conftest import invoke
from tests.clients.conftest import Client
from tests.doc_commands import lines
from tests.serve.conftest import Running
from tests.text_toys import END, SENTENCES, tokenizer_json

pytestmark = pytest.mark.clients

CONTEXT = 64
NATS = 1e-3
TASKS: dict[str, str] = {
    "choice": """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
""",
    "next": """
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: "{{next}}"
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
    "rolling": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity}
  - {metric: byte_perplexity}
  - {metric: bits_per_byte}
""",
}
"""Tasks: two types of log-likelihoods, and texts longer than the context."""


def documents() -> dict[str, list[dict[str, Any]]]:
    """Return the items of each task; some begin as the sentences that the model has learnt."""
    draw = random.Random(3)
    words = " ".join(SENTENCES).split()

    def phrase(count: int) -> str:
        return " ".join(draw.choices(words, k=count))

    items = []
    for i in range(24):
        learnt = SENTENCES[i % 3].split()
        at = draw.randrange(3, 7)
        right = " ".join(learnt[at : at + 2])
        choices = [phrase(2), phrase(draw.randrange(1, 4))]
        answer = draw.randrange(3)
        choices.insert(answer, right)
        items.append(
            {
                "question": " ".join(learnt[:at]) if i % 4 else phrase(at),
                "choices": choices,
                "answer": answer,
                "next": f" {right if i % 2 else phrase(2)}",
            }
        )
    texts = [{"text": phrase(count)} for count in (1, 5, 20, 60, 150)]
    return {"choice": items, "next": items, "rolling": texts}


def write_tasks(folder: Path) -> None:
    """Write the tasks, and their items, which lm-eval reads from local files."""
    folder.mkdir()
    for name, items in documents().items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(item) + "\n" for item in items))
        head = f"""task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
"""
        (folder / f"{name}.yaml").write_text(head + TASKS[name].lstrip())


def write_model(folder: Path) -> None:
    """Write a GPT-2 that has learnt a few sentences, and its tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder.mkdir()
    raw = folder / "raw.json"
    raw.write_bytes(tokenizer_json())
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(raw), bos_token=END, eos_token=END)
    raw.unlink()
    # The file has settings of training that would cut and pad texts.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=CONTEXT,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    network = GPT2LMHeadModel(config).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    texts = [torch.tensor([tokenizer.encode(text)]) for text in SENTENCES]
    for _ in range(60):
        for ids in texts:
            optimiser.zero_grad()
            network(input_ids=ids, labels=ids).loss.backward()
            optimiser.step()
    network.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def results(folder: Path) -> tuple[dict[str, Any], dict[str, list[list[list[str]]]]]:
    """Return the scores of each task, and what the model gave for each of its items."""
    (found,) = folder.rglob("results_*.json")
    scores = json.loads(found.read_text())["results"]
    answers = {}
    for name in TASKS:
        (samples,) = folder.rglob(f"samples_{name}_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        rows.sort(key=lambda row: int(row["doc_id"]))
        answers[name] = [row["filtered_resps"] for row in rows]
    return scores, answers


def test_same_as_transformers(tmp_path: Path, client: Client) -> None:
    model, tasks, bundle = tmp_path / "gpt2", tmp_path / "tasks", tmp_path / "served"
    write_model(model)
    write_tasks(tasks)
    # transformers puts no token before a text here, so the bundle has none either.
    words = documented("ancestral export MODEL", MODEL=model, served=bundle)
    made = invoke(*words, "--no-verify")
    assert made.code == 0, made.err
    names = ",".join(TASKS)
    common = ["--include_path", tasks, "--log_samples"]
    # The client keeps a position for a token that is drawn; hf scores a token beyond its length.
    own = f"pretrained={model},dtype=float32,max_length={CONTEXT - 2}"
    client(
        "lm_eval", "--model", "hf", "--model_args", own, "--device", "cpu",
        "--output_path", tmp_path / "own", "--tasks", names, *common,
    )  # fmt: skip
    with Running([bundle], Settings(threads=1)) as running:
        given = {"MODEL": model, "CONTEXT": CONTEXT, "TASK": names}
        words = documented("lm_eval", **given, **{"http://127.0.0.1:8000": running.url})
        client("lm_eval", *words, "--batch_size", "4", "--output_path", tmp_path / "over", *common)
        running.idle()
    (own_scores, own_items), (scores, items) = results(tmp_path / "own"), results(tmp_path / "over")
    for name, docs in documents().items():
        assert len(items[name]) == len(own_items[name]) == len(docs)
        for one, other in zip(items[name], own_items[name], strict=True):
            assert_same_item(name, one, other)
        if name != "rolling":
            greedy = {answer[1] for answers in items[name] for answer in answers}
            assert greedy == {"True", "False"}, name
        for metric, value in own_scores[name].items():
            if isinstance(value, float):
                assert scores[name][metric] == pytest.approx(value, rel=1e-4), (name, metric)


def documented(begin: str, **values: object) -> list[str]:
    """Return the arguments of a command of docs/serving.md, with words of it replaced."""
    (line,) = (each.text for each in lines("docs/serving.md") if each.text.startswith(begin))
    for word, value in values.items():
        assert word in line
        line = line.replace(word, str(value))
    return shlex.split(line)[1:]


def assert_same_item(name: str, one: Any, other: Any) -> None:
    """Check the log-likelihoods of an item, and whether they are those of the greedy texts."""
    if name == "rolling":
        one, other = ([[each, None]] for each in (one[0], other[0]))
    nats = [[float(each[0]) for each in answers] for answers in (one, other)]
    np.testing.assert_allclose(*nats, rtol=0, atol=NATS)
    assert [each[1] for each in one] == [each[1] for each in other]
