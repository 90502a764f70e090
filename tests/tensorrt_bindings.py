"""The real Python bindings of TensorRT without its libraries, to test our plugin with them.

TensorRT's libraries are gigabytes and some machines cannot have them; the bindings are a megabyte.
They load with the libraries of tensorrt_rtx, which export the same functions. The plugin registry
and the ONNX parser are then those of tensorrt_rtx, and the module tensorrt.plugin is the real one.
Sizes, which TensorRT computes in C++, are computed here. Nothing is built or runs on a GPU.

    answer(folder, request)  runs a separate process, `python -m tests.tensorrt_bindings`
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LIBRARIES = {"nvinfer": "libtensorrt_rtx.so.*", "nvonnxparser": "libtensorrt_onnxparser_rtx.so.*"}
"""File names in tensorrt_rtx, by the library that the bindings load."""
LACKING = "int initLibNvInferPlugins(void *logger, char const *name) { return 1; }"
"""C code of the function for NVIDIA's own plugins, which tensorrt_rtx does not have."""


@dataclass(frozen=True)
class Case:
    """Sizes of a call: q [b, h, t, d], k and v [b, g, t, d]; `dtype` is TensorRT's name."""

    b: int
    h: int
    g: int
    t: int
    d: int
    dtype: str

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        key = (self.b, self.g, self.t, self.d)
        return [(self.b, self.h, self.t, self.d), key, key]


def missing() -> str:
    """Return the names of required packages and programs that are not installed."""
    found: dict[str, object] = {
        "tensorrt-cu13-bindings": find_spec("tensorrt_bindings"),
        "tensorrt-rtx-cu13": find_spec("tensorrt_rtx_libs"),
        "triton": find_spec("triton"),
        "a C compiler": shutil.which("cc"),
    }
    return ", ".join(name for name, each in found.items() if not each)


needs_bindings = pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")


def libraries(folder: Path) -> Path:
    """Fill a folder with libraries under the names that the bindings load; return the folder."""
    release = version("tensorrt-cu13-bindings").split(".")[0]
    spec = find_spec("tensorrt_rtx_libs")
    assert spec is not None
    assert spec.origin is not None
    for name, pattern in LIBRARIES.items():
        (library,) = Path(spec.origin).parent.glob(pattern)
        (folder / f"lib{name}.so.{release}").symlink_to(library)
    out = folder / f"libnvinfer_plugin.so.{release}"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(out)]
    subprocess.run(command, input=LACKING, text=True, check=True)
    return folder


def answer(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Run our plugin with the bindings, in a process where Triton compiles; return the results."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRITON")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.tensorrt_bindings"],
        input=json.dumps(request), cwd=ROOT, env=kept | {"LD_LIBRARY_PATH": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def loaded() -> Any:
    """Import the bindings as the module tensorrt, which their plugin module imports."""
    sys.setdlopenflags(os.RTLD_LAZY)
    trt = importlib.import_module("tensorrt_bindings")
    sys.modules["tensorrt"] = trt
    return trt


class Host:
    """Calls a plugin as TensorRT does during a build, as far as Python sees it."""

    def __init__(self, trt: Any) -> None:
        self.trt = trt
        self.plugin = importlib.import_module("tensorrt_bindings.plugin")
        self.log: list[str] = []
        host = self

        class Log(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                host.log.append(message)

        class Size(trt.IDimensionExpr):  # type: ignore[misc]
            """A constant size; the class has no constructor in Python."""

            value: int

            def is_constant(self) -> bool:
                return True

            def get_constant_value(self) -> int:
                return self.value

        self.logger, self.size_type = Log(), Size
        # The module's last step passes expressions to C++; here they are read instead.
        importlib.import_module("tensorrt_bindings.plugin._tensor").SymExprImpl = self.read

    @staticmethod
    def read(expression: Any) -> tuple[str, int]:
        return type(expression).__name__, expression._expr.value

    def constant(self, value: int) -> Any:
        size = self.size_type.__new__(self.size_type)
        size.value = value
        return size

    def operation(self, operation: Any, first: Any, second: Any) -> Any:
        a, b = first.value, second.value
        match operation.name:
            case "SUM":
                return self.constant(a + b)
            case "PROD":
                return self.constant(a * b)
            case "CEIL_DIV":
                return self.constant(-(-a // b))
        raise AssertionError(f"{operation}: our plugin does not use this operation")

    def made(self, case: Case) -> Any:
        """Return the plugin, created by its registered creator in a real network."""
        trt = self.trt
        builder = trt.Builder(self.logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        dtype = trt.DataType.__members__[case.dtype]
        inputs = [
            network.add_input(name, dtype, shape)
            for name, shape in zip("qkv", case.shapes, strict=True)
        ]
        create = self.plugin.op.ancestral.masked_attention(*inputs)
        _, _, plugin = create(trt.QuickPluginCreationRequest.STRICT_AOT)
        assert isinstance(plugin, trt.IPluginV3QuickAOTBuild)
        return plugin

    def described(self, shape: tuple[int, ...], dtype: Any) -> Any:
        whole, inner = self.trt.DynamicPluginTensorDesc(), self.trt.PluginTensorDesc()
        inner.dims, inner.type, inner.format = shape, dtype, self.trt.TensorFormat.LINEAR
        whole.desc, whole.min, whole.opt, whole.max = inner, shape, shape, shape
        return whole

    def launch(self, case: Case) -> dict[str, Any]:
        """Return the launch and kernel of a plugin layer, with calls in TensorRT's order."""
        plugin = self.made(case)
        dtype = self.trt.DataType.__members__[case.dtype]
        types = plugin.get_output_data_types([dtype] * 3, [4] * 3)
        plugin.get_output_shapes([[*map(self.constant, s)] for s in case.shapes], [], self)
        shape = tuple(self.read(each)[1] for each in plugin.output_descs[0].shape_expr)
        tensors = [self.described(each, dtype) for each in [*case.shapes, shape]]
        formats = plugin.get_supported_format_combinations(tensors, 3)
        plugin.configure_plugin(tensors[:3], tensors[3:])
        plugin.set_tactic(0)
        launch, numbers = Recorded(), Numbers()
        plugin.get_launch_params(None, tensors, 3, launch, numbers, self)
        name, text = plugin.get_kernel([t.desc for t in tensors[:3]], [t.desc for t in tensors[3:]])
        return {
            "case": asdict(case),
            "types": [each.name for each in types],
            "shape": shape,
            "formats": [[each.type.name, each.format.name] for each in formats],
            "launch": {key: value for key, (_, value) in vars(launch).items()},
            "numbers": [numbers[i] for i in range(numbers.nbSymExprs)],
            "entry": name,
            "ptx": text.decode(),
        }

    def parsed(self, file: Path, content: bytes) -> list[str]:
        """Return the parser's log for a graph."""
        self.log.clear()
        builder = self.trt.Builder(self.logger)
        network = builder.create_network(
            1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        )
        self.trt.OnnxParser(network, self.logger).parse(content, str(file))
        return [*self.log]


class Recorded:
    """Keeps all attributes that are set."""


class Numbers(dict[int, tuple[str, int]]):
    """The arguments between inputs and outputs, by position."""

    nbSymExprs = 0  # noqa: N815 - TensorRT's name


def cases(request: dict[str, Any]) -> Iterator[Case]:
    for each in request["cases"]:
        yield Case(**each)


def main() -> None:
    import torch

    from ancestral.export.tensorrt.plugin import register
    from ancestral.export.tensorrt.plugin_form import plugin_form_of
    from ancestral.triton_kernels.masked_attention.dense import dense_variant
    from ancestral.triton_kernels.tools.ptx import ptx

    request = json.loads(sys.stdin.read())
    trt = loaded()
    register(trt, request["target"])
    host = Host(trt)
    found: dict[str, Any] = {"launches": [host.launch(each) for each in cases(request)]}
    creators = trt.get_plugin_registry().all_creators_recursive
    found["creators"] = [
        [each.name, each.plugin_namespace, each.plugin_version] for each in creators
    ]
    if "graph" in request:
        file = Path(request["graph"])
        content = plugin_form_of(file)
        found["parsed"] = host.parsed(file, content)
        found["unknown"] = host.parsed(
            file, content.replace(b"masked_attention", b"masked_retention")
        )
        found["older"] = ptx(dense_variant(64, torch.bfloat16), 80).text
    for target in (request["target"], *request.get("refused", [])):
        try:
            register(trt, target)
        except ValueError as error:
            found[str(target)] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
