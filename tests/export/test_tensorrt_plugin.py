"""Our kernel as a TensorRT plugin: its launch by the real bindings, and its machine code."""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx_ir
import pytest

from ancestral.errors import BackendUnavailable
from ancestral.export.tensorrt.plugin import register
from tests.export.attention_graph import attention
from tests.tensorrt_bindings import Case, answer, libraries, needs_bindings

# Starting the bindings and compiling takes 20 s; only `make test-all` does it.
pytestmark = pytest.mark.slow
TARGET = 90
CASES = {
    "fp32": Case(b=3, h=4, g=2, t=65, d=64, dtype="FLOAT"),
    "bf16": Case(b=2, h=6, g=3, t=129, d=64, dtype="BF16"),
    "fp16 wide": Case(b=5, h=2, g=1, t=64, d=128, dtype="HALF"),
}
BLOCKS = {"fp32": 2, "bf16": 2, "fp16 wide": 1}
"""Blocks of queries in a head; a program computes one of them."""
SIZES = [8, 8, 8, 4, 4, 4, 4, 4, 8]
"""Bytes of each parameter: q, k, v; b, h, g, t, 1; y."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the bindings report of the plugin in each case, and in a graph."""
    graph = tmp_path_factory.mktemp("graph") / "attention.onnx"
    onnx_ir.save(attention(is_causal=1), graph)
    cases = [asdict(each) for each in CASES.values()]
    folder = libraries(tmp_path_factory.mktemp("libraries"))
    request = {"target": TARGET, "cases": cases, "graph": str(graph), "refused": [75, 86]}
    return answer(folder, request)


@pytest.fixture(params=CASES)
def launch(request: pytest.FixtureRequest, found: dict[str, Any]) -> dict[str, Any]:
    """Return the launch of one case."""
    launches: list[dict[str, Any]] = found["launches"]
    return launches[[*CASES].index(request.param)] | {"name": request.param}


@needs_bindings
def test_registered(found: dict[str, Any]) -> None:
    assert ["masked_attention", "ancestral", "1"] in found["creators"]
    assert "already" in found[str(TARGET)]


@needs_bindings
def test_parser_finds_it(found: dict[str, Any]) -> None:
    """The parser finds our plugin by name, namespace and version, and no plugin by another name."""
    line = "Found registered plugin: masked_attention. Importing this node as a plugin."
    assert line in found["parsed"]
    assert not any("Found registered plugin" in each for each in found["unknown"])


@needs_bindings
def test_output(launch: dict[str, Any]) -> None:
    """y is [b, t, h, d] in the inputs' type; all tensors have one type and are row-major."""
    case = Case(**launch["case"])
    assert launch["shape"] == [case.b, case.t, case.h, case.d]
    assert launch["types"] == [case.dtype]
    names = [name for name in ("FLOAT", "HALF", "BF16") for _ in range(4)]
    assert launch["formats"] == [[name, "LINEAR"] for name in names]


@needs_bindings
def test_arguments(launch: dict[str, Any]) -> None:
    """The grid and the block are right, and int32 arguments are in the kernel's order."""
    case, blocks = Case(**launch["case"]), BLOCKS[launch["name"]]
    expected = [case.b, case.h, case.g, case.t, 1]
    assert launch["numbers"] == [["SymInt32", each] for each in expected]
    axes = dict(launch["launch"])
    assert axes.pop("grid_x") == case.b * case.h * blocks
    threads, shared = axes.pop("block_x"), axes.pop("shared_mem")
    assert set(axes.values()) == {1}
    assert threads == int(re.findall(r"\.reqntid (\d+)", launch["ptx"])[0])
    assert 0 < shared <= 48 * 1024


@needs_bindings
def test_machine_code(launch: dict[str, Any], tmp_path: Path) -> None:
    assert parameters(launch["ptx"], TARGET, launch["entry"], tmp_path) == SIZES


@needs_bindings
def test_machine_code_of_an_older_gpu(found: dict[str, Any], tmp_path: Path) -> None:
    """Code for sm_80 also runs on newer GPUs, whose driver compiles it again."""
    code = found["older"]
    assert ".target sm_80\n" in code
    assert ".version 8.0\n" in code
    for gpu in (80, TARGET):
        assert parameters(code, gpu, "masked_attention_bf16_d64", tmp_path) == SIZES


@needs_bindings
def test_code_has_no_paths_of_this_machine(launch: dict[str, Any]) -> None:
    """The code has no path and no source line: a plan has the same bytes wherever it is built."""
    assert not re.search(r"\.file|\.loc|\.section|\.py", launch["ptx"])


@needs_bindings
def test_every_launch_is_possible(tmp_path: Path) -> None:
    """The shared memory is at most 48 KiB, which each GPU allows, and the code has no problems."""
    program = """
import json
from ancestral.triton_kernels.tools.compile import TARGETS, compile_variant, problems
from ancestral.triton_kernels.masked_attention.dense import dense_variant
from ancestral.triton_kernels.launch import TYPES
variants = [dense_variant(d, dtype) for d in (32, 64, 128) for dtype in TYPES]
compiled = [(v, compile_variant(v, target)) for v in variants for target in TARGETS]
print(json.dumps({
    "shared": {f"{c.name}, sm_{c.target}": c.shared for _, c in compiled},
    "problems": [sentence for each in compiled for sentence in problems(*each)],
}))
"""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert {name: each for name, each in report["shared"].items() if each > 48 * 1024} == {}


@pytest.mark.tensorrt
def test_refused_by_rtx() -> None:
    """tensorrt_rtx has no such plugins, which is an error before a graph is parsed."""
    rtx = pytest.importorskip("tensorrt_rtx")
    with pytest.raises(BackendUnavailable, match="expected a tensorrt with plugins"):
        register(rtx, TARGET)


@needs_bindings
@pytest.mark.parametrize("target", [75, 86])
def test_target(found: dict[str, Any], target: int) -> None:
    assert f"got {target}; use 80, which runs on every GPU from sm_80 on" in found[str(target)]


def parameters(ptx: str, target: int, entry: str, folder: Path) -> list[int]:
    """Return the bytes of each parameter in the machine code that Triton's tools compile."""
    import triton

    code, cubin = folder / "kernel.ptx", folder / "kernel.cubin"
    code.write_text(ptx)
    # Triton compiles for sm_90a; code for sm_80 is assembled for the plain target.
    gpu = f"sm_{target}a" if ".target sm_90a" in ptx else f"sm_{target}"
    tools = triton.knobs.nvidia
    command = [tools.ptxas.path, "-v", f"--gpu-name={gpu}", str(code), "-o", str(cubin)]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert f"'{entry}'" in log
    assert "0 bytes spill stores, 0 bytes spill loads" in log
    command = [tools.cuobjdump.path, "-elf", str(cubin)]
    elf = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"Ordinal\s*: 0x(\w+)\s*Offset\s*: 0x\w+\s*Size\s*: 0x(\w+)", elf)
    sizes = {int(ordinal, 16): int(size, 16) for ordinal, size in found}
    return [sizes[i] for i in range(len(sizes))]
