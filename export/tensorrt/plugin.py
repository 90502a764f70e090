"""Our kernels inside TensorRT's engines: plugins that are compiled ahead of time.

The engine holds the kernel as PTX and launches it itself: neither Python nor Triton is needed where
it runs. For `tensorrt`; `tensorrt_rtx` has no such plugins. In the process that builds, before it
parses a graph in its plugin form:

    register(tensorrt, 90)
    parser.parse(plugin_form_of(file), str(file))

References:
    NVIDIA, TensorRT Python API, tensorrt.plugin: register, autotune, aot_impl.
"""

import functools
import importlib
import inspect
from collections.abc import Callable
from types import GenericAlias
from typing import Any

import torch

from ancestral.errors import BackendUnavailable
from ancestral.export.tensorrt.plugin_form import NAME, NAMESPACE

DTYPES = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16}
"""By TensorRT's names."""

_TYPES = "FP32|FP16|BF16"
"""One of them, the same for every tensor."""


def register(trt: Any, target: int) -> None:
    """Make masked attention known to TensorRT; once a process.

    Args:
        trt: the module tensorrt.
        target: compute capability of the GPU that the engine is for, 10 times: 80, 90, 100 or 120.

    Raises:
        BackendUnavailable: the module has no such plugins, or there is no Triton.
        InvalidInput: kernels are not compiled for that GPU.
        ValueError: it is registered already.
    """
    if not hasattr(trt, "QuickPluginCreationRequest"):
        raise BackendUnavailable(
            f"expected a tensorrt that takes plugins compiled ahead of time, got {trt.__name__} "
            f"{trt.__version__}: pip install 'ancestral[tensorrt]', or compile without plugins"
        )
    plugin = importlib.import_module(f"{trt.__name__}.plugin")
    identity, tensor = f"{NAMESPACE}::{NAME}", plugin.TensorDesc
    kernel = _kernels(target)

    def describe(q: Any, k: Any, v: Any) -> Any:
        """y: [b, t, h, d]."""
        b, h, t, d = q.shape_expr
        return plugin.from_shape_expr((b, t, h, d), q.dtype)

    def combinations(q: Any, k: Any, v: Any, outputs: Any) -> Any:
        return [plugin.AutoTuneCombination(", ".join([_TYPES] * 4), "LINEAR")]

    def compiled(q: Any, k: Any, v: Any, outputs: Any, tactic: int) -> Any:
        """The kernel, its launch, and the numbers that it is given between inputs and output."""
        code, block = kernel(int(q.shape[3]), DTYPES[q.dtype.name])
        b, h, t, _ = q.shape_expr
        launch = plugin.KernelLaunchParams()
        launch.grid_x = b * h * plugin.cdiv(t, block)
        launch.block_x = code.threads
        launch.shared_mem = code.shared
        numbers = [plugin.SymInt32(each) for each in (b, h, k.shape_expr[1], t, 1)]
        return code.entry, code.text, launch, plugin.SymIntExprs.from_tuple(numbers)

    inputs = dict.fromkeys("qkv", tensor)
    given = inputs | {"outputs": GenericAlias(tuple, (tensor,))}
    tried = GenericAlias(list, (plugin.AutoTuneCombination,))
    made = GenericAlias(tuple, (str, str, plugin.KernelLaunchParams, plugin.SymIntExprs))
    plugin.register(identity)(_typed(describe, inputs, tensor))
    plugin.autotune(identity)(_typed(combinations, given, tried))
    plugin.aot_impl(identity)(_typed(compiled, given | {"tactic": int}, made))


def _kernels(target: int) -> Callable[[int, torch.dtype], Any]:
    """The kernel of a head size and dtype, with its block of queries: each is compiled once."""
    try:
        from ancestral.triton_kernels.masked_attention.dense import dense_variant
    except ImportError as error:
        raise BackendUnavailable(
            "the plugin's kernels are compiled by the triton package, for Linux: "
            "pip install 'ancestral[gpu]'"
        ) from error
    from ancestral.triton_kernels.tools.ptx import expect_target, ptx

    expect_target(target)

    @functools.cache
    def kernel(d: int, dtype: torch.dtype) -> Any:
        variant = dense_variant(d, dtype)
        return ptx(variant, target), variant.constants["BLOCK_M"]

    return kernel


def _typed(function: Callable[..., Any], types: dict[str, Any], answer: Any) -> Callable[..., Any]:
    """Give a function the annotations that TensorRT reads, which are known when it is imported."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind, annotation=each) for name, each in types.items()],
        return_annotation=answer,
    )
    return function
