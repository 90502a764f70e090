"""The standard library as data: its files, its split, and the record that checkpoints keep."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ancestral.cli.source import load_source
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.train.checkpoint import SOURCE, load_checkpoint, save_checkpoint
from ancestral.train.data import Dataset, load_python
from ancestral.train.data.dataset import PARTS
from ancestral.train.data.python_source import LEFT_OUT, part_of, python_texts
from ancestral.train.fit import fitted
from ancestral.train.recipes import recipe
from ancestral.train.training import train

FILES = {f"folder{i % 7}/module{i}.py": f"# {i}\n" + f"x = {i}\n" * (i % 9 + 1) for i in range(90)}
OTHERS = (
    "test/a.py",
    "folder1/tests/a.py",
    "idlelib/idle_test/a.py",
    "site-packages/a.py",
    "encodings/a.py",
    "html/entities.py",
    "pydoc_data/topics.py",
    "sitecustomize.py",
    "_sysconfigdata__linux_.py",
    "config-3-linux/a.py",
    "folder1/notes.txt",
)
LENGTH = 16


def written(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return written(tmp_path / "lib", FILES | dict.fromkeys(OTHERS, "left = 'out'\n"))


@pytest.fixture
def data(root: Path) -> Dataset:
    return load_python(LENGTH, root=root)


def test_each_file_is_in_one_part(root: Path, data: Dataset) -> None:
    assert data.source is not None
    parts = {each.path: each.part for each in data.source.files}
    assert list(parts) == sorted(FILES)
    names = {name: [path for path in sorted(FILES) if parts[path] == name] for name in PARTS}
    assert all(names.values())
    for name in PARTS:
        text = "".join(FILES[path] for path in names[name]).encode()
        part = getattr(data, name)
        assert bytes(part.x.astype(np.uint8).reshape(-1)) == text[: len(part) * LENGTH]
        assert len(part) == len(text) // LENGTH
        assert b"left" not in text
        found = python_texts(name, root=root)
        assert found == {path: FILES[path].encode() for path in names[name]}
    assert (data.spec.tokenizer, data.spec.levels, data.spec.event_shape) == (
        "bytes",
        256,
        (LENGTH,),
    )


def test_a_part_depends_on_the_path_only(root: Path, data: Dataset) -> None:
    written(root, {f"new{i}.py": "pass\n" for i in range(40)})
    (root / "folder0" / "module0.py").write_text("something_else = 1\n")
    again = load_python(LENGTH, root=root)
    assert data.source is not None
    assert again.source is not None
    before, after = ({e.path: e.part for e in d.source.files} for d in (data, again) if d.source)
    assert before.items() < after.items()
    # Other parts would make the numbers of checkpoints wrong.
    known = {"struct.py": "test", "getpass.py": "validation", "json/decoder.py": "train"}
    assert {path: part_of(path) for path in known} == known


def test_record(root: Path, data: Dataset) -> None:
    assert data.source is not None
    assert data.source.python == platform.python_version()
    for each in data.source.files:
        content = (root / each.path).read_bytes()
        assert each.size == len(content)
        assert each.sha256 == hashlib.sha256(content).hexdigest()
    assert data.without_labels().source == data.source
    counted = [data.source.count(name) for name in PARTS]
    assert sum(n for n, _ in counted) == len(FILES)
    assert sum(size for _, size in counted) == sum(map(len, FILES.values()))


@pytest.mark.parametrize("change", ["another byte", "a new file", "a missing file"])
def test_another_corpus_is_refused(root: Path, data: Dataset, change: str) -> None:
    expected = data.source
    assert expected is not None
    assert load_python(LENGTH, root=root, expected=expected).source == expected
    # The same files of another version of Python are the same corpus.
    load_python(LENGTH, root=root, expected=expected.model_copy(update={"python": "3.0.1"}))
    if change == "another byte":
        (root / "folder3" / "module3.py").write_text(FILES["folder3/module3.py"] + " ")
    elif change == "a new file":
        written(root, {"folder3/module3b.py": ""})
    else:
        (root / "folder3" / "module3.py").unlink()
    named = "module3b" if change == "a new file" else "module3"
    older = expected.model_copy(update={"python": "3.0.1"})
    for load in (
        lambda: load_python(LENGTH, root=root, expected=older),
        lambda: python_texts("test", root=root, expected=older),
    ):
        with pytest.raises(InvalidInput) as raised:
            load()
        message = str(raised.value)
        assert "\n" not in message
        assert message.startswith(
            f"data python: expected the corpus of the checkpoint, 90 files of Python 3.0.1 "
            f"(SHA-256 {expected.sha256[:12]}), got "
        )
        assert f"1 files differ, the first 'folder3/{named}.py'; use Python 3.0.1" in message


def test_refused(tmp_path: Path, root: Path) -> None:
    with pytest.raises(InvalidInput, match="no Python files"):
        load_python(root=tmp_path / "nothing")
    with pytest.raises(InvalidInput, match=r"at least 4000 bytes in the \w+ part, got \d+;"):
        load_python(4000, root=root)
    with pytest.raises(InvalidInput, match="length: expected at least 1 byte, got 0"):
        load_python(0, root=root)


def test_checkpoint_keeps_the_record(data: Dataset, tmp_path: Path) -> None:
    tiny = recipe("tiny")
    chosen, _ = fitted(replace(tiny, training=replace(tiny.training, steps=1)), data.spec)
    result = train(chosen, data, tmp_path / "run")
    model, checkpoint = load_checkpoint(result.path)
    assert checkpoint.source == data.source
    altered = (result.path / SOURCE).read_bytes().replace(b"folder1", b"folder2")
    (result.path / SOURCE).write_bytes(altered)
    with pytest.raises(CheckpointError, match=r"source\.json: altered"):
        load_checkpoint(result.path)
    # Data without a record leave none, also where another checkpoint was.
    save_checkpoint(result.path, model)
    assert load_checkpoint(result.path)[1].source is None


def test_standard_library() -> None:
    """The library of this Python: its own files, none that are generated or tests."""
    data = load_source("python", "text-small")
    assert data.source is not None
    paths = {each.path for each in data.source.files}
    assert {"json/decoder.py", "argparse.py", "struct.py", "asyncio/tasks.py"} <= paths
    assert not any(LEFT_OUT & {path, *path.split("/")} for path in paths)
    train_size, test_size = data.source.count("train")[1], data.source.count("test")[1]
    assert train_size > 10 * test_size > 2**20
    assert (data.spec.name, data.spec.event_shape) == ("python", (512,))
