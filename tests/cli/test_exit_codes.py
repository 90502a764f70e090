"""Exit codes 0, 1, 3 and 130; test_bad_input.py has those of bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.hashes import HashMemory
from tests.tamper import copied, sign

from .conftest import Cli, interrupt_at


def with_other_answers(bundle: Path, folder: Path) -> Path:
    """Return a copy whose reference has 0.01 nats more for every event; its hashes are valid."""
    copy = copied(bundle, folder)
    file = copy / Bundle.open(copy).manifest.known_answers
    answers = load_file(file)
    answers["log_prob"][:, 0] += 0.01
    save_file(answers, file)
    sign(copy)
    return copy


def test_verify_passes(cli: Cli, tiny_bundle: Path) -> None:
    result = cli("verify", tiny_bundle, "--threads", 1)
    assert result.code == 0, result.err
    assert "torch cpu" in result.out
    assert "onnxruntime cpu" in result.out


def test_verify_fails_on_a_wrong_answer(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = with_other_answers(tiny_bundle, tmp_path)
    result = cli("verify", bundle, "--backend", "onnxruntime", "--threads", 1, "--json")
    assert result.code == 1
    document = json.loads(result.out)
    assert document["passed"] is False
    assert document["max_abs_nats"] == pytest.approx(0.01, rel=0.05)
    assert "log p" in result.err


def test_verify_hashes_what_was_hashed_before(
    cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`info` may trust remembered hashes; `info --check` and `verify` compute them again."""
    real, calls = HashMemory.sha256, []

    def sha256(self: HashMemory, path: Path, *, rehash: bool) -> str:
        calls.append(rehash)
        return real(self, path, rehash=rehash)

    def hashes_anew(*arguments: object) -> bool:
        calls.clear()
        assert cli(*arguments).code == 0
        return any(calls)

    monkeypatch.setattr(HashMemory, "sha256", sha256)
    assert hashes_anew("info", tiny_bundle) is False
    assert hashes_anew("info", tiny_bundle, "--check") is True
    assert hashes_anew("verify", tiny_bundle, "--backend", "onnxruntime", "--threads", 1) is True


def test_internal_error_shows_its_traceback(
    cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("ancestral.engine.step_loop.begin", fault)
    result = cli("sample", tiny_bundle, "-n", 1)
    assert result.code == 3
    assert "Traceback" in result.err
    assert "boom" in result.err
    assert "internal error" in result.err


def test_out_of_memory(cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MemoryError is reported as out of memory, not as an internal error."""

    def ends(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("ancestral.engine.step_loop.begin", ends)
    result = cli("sample", tiny_bundle, "-n", 1)
    assert result.code == 2
    assert result.err.startswith("ancestral: out of memory")


def test_interrupt_keeps_what_is_finished(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["sample", tiny_bundle, "-n", 9, "--batch", 3, "--first-index", 5]
    assert cli(*arguments, "-o", tmp_path / "whole.npz").code == 0
    interrupt_at(3, monkeypatch)
    result = cli(*arguments, "-o", tmp_path / "part.npz")
    assert result.code == 130
    assert "6 of 9" in result.err
    whole, part = np.load(tmp_path / "whole.npz"), np.load(tmp_path / "part.npz")
    assert set(part.files) == {"x", "log_prob", "log_q", "labels", "seed", "first_index"}
    for name in ("x", "log_prob", "log_q", "labels"):
        np.testing.assert_array_equal(part[name], whole[name][:6])


def test_interrupt_before_anything_is_finished(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(1, monkeypatch)
    result = cli("sample", tiny_bundle, "-n", 2, "-o", tmp_path / "out.npz")
    assert result.code == 130
    assert list(tmp_path.iterdir()) == []


def test_interrupt_of_another_command(
    cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(1, monkeypatch)
    assert cli("verify", tiny_bundle, "--backend", "onnxruntime", "--threads", 1).code == 130


def test_version(cli: Cli) -> None:
    result = cli("--version")
    assert (result.code, result.out) == (0, "0.1.0\n")
