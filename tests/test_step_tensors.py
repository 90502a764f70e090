"""The names of the step graph's tensors are in one file: `ancestral.step_tensors`."""

import ast
from pathlib import Path

from ancestral import step_tensors as names

ROOT = Path(__file__).resolve().parents[1]
NAMES = {
    *(names.OFFSETS, names.U, names.OBSERVED),
    *(spec.name for spec in names.settings("step_full", 3)),
    *names.ALTERNATIVES,
    *(names.POSITION, names.VALUES, names.LOG_P, names.LOG_Q, names.REDRAWN),
}
"""Tensors of the loop and of redraw; events, labels and log p have the same names everywhere."""
LINKS = tuple(
    f"src/ancestral/{folder}/" for folder in ("train", "export", "engine", "triton_kernels")
)
PRODUCT = ("src/ancestral", "train", "export", "engine", "benchmarks")
SETTINGS = {"temperature", "top_k", "top_p", "min_p"}
ADJUSTED = {spec.name for spec in names.settings("step_full", 3)}
OTHER_MEANINGS = {
    "benchmarks/peers/cells.py": {"log_p"},  # a word of the runner to its processes
    "benchmarks/peers/worker.py": {"log_p", "temperature", "top_p"},  # the same, and arguments
    "engine/inputs.py": {"observed"},  # an argument, in errors
    "engine/likelihood.py": {"u"},  # an argument, in errors
    "export/filter_answers.py": SETTINGS,  # tensors of known_answers.safetensors
    "export/known_answers.py": {"u"},  # a tensor of known_answers.safetensors
    "export/trace/comparison.py": {"u"},  # a kind of dtype
    "export/trace/known_inputs.py": {"temperature", "u"},  # tensors of latent graphs
    "src/ancestral/arrays.py": {"u"},  # a kind of dtype
    # a column of parts
    "src/ancestral/bulk/draws.py": {"log_q"},
    "src/ancestral/bulk/table.py": {"log_q"},
    # tensors of known_answers.safetensors
    "src/ancestral/bundles/answers.py": {"u", "temperature", "top_k", "top_p"},
    "src/ancestral/cli/events.py": {"observed"},  # a key of a file
    "src/ancestral/cli/present/cost_picture.py": {"position"},  # a word
    "src/ancestral/cli/present/evaluation.py": {"values"},  # a word
    # keys of a file
    "src/ancestral/cli/present/generation_file.py": {"log_p", "log_q", "top_log_p", "top_log_q"},
    "src/ancestral/cli/samples.py": {"log_q"},  # a key of a file
    "src/ancestral/latent_tensors.py": {"temperature", "u"},  # tensors of latent graphs
    "src/ancestral/philox.py": {"position"},  # an argument, in errors
    # attributes
    "src/ancestral/sampling.py": ADJUSTED,
    # fields of requests and answers
    "src/ancestral/serve/api/complete.py": {"observed"},
    "src/ancestral/serve/api/sample.py": {"observed"},
    "src/ancestral/serve/completions/body.py": ADJUSTED,
    "src/ancestral/serve/inference/described.py": ADJUSTED | {"log_q", "observed"},
    "src/ancestral/serve/inference/methods.py": ADJUSTED | {"log_q", "observed"},
    "src/ancestral/serve/metrics.py": {"values"},  # a word
}
"""Literals with another meaning, by file."""


def literals(tree: ast.AST) -> set[str]:
    """Return the string literals of a module, without parts of f-strings."""
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside
    }


def spelled() -> dict[str, set[str]]:
    """Return the names that each product file contains as literals, by its path."""
    found = {}
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            linked = name.startswith(LINKS)
            if not linked and name != "src/ancestral/step_tensors.py":
                found[name] = literals(ast.parse(path.read_text())) & NAMES
    return {name: literal for name, literal in found.items() if literal}


def test_no_other_file_has_the_names() -> None:
    assert spelled() == OTHER_MEANINGS


def test_literals() -> None:
    """The planted fault: a literal is found; words in a docstring or a message are not."""
    tree = ast.parse('"""log_p."""\nx = read("values")\ny = f"u of {n}"\n')
    assert literals(tree) & NAMES == {"values"}
