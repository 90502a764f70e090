"""Put our kernels into TensorRT engines, as plugins that are compiled ahead of time.

The engine holds the kernel as PTX and launches it itself, so it runs without Python and Triton.
This works with `tensorrt`; `tensorrt_rtx` has no such plugins. The process that builds an engine
registers the plugin before it parses a graph in plugin form:

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
"""PyTorch's types by TensorRT's names."""

_TYPES = "FP32|FP16|BF16"
"""Types of a tensor, as TensorRT spells alternatives; all tensors have the same one."""


def register(trt: Any, target: int) -> None:
    """Register masked attention with TensorRT; can be called once per process.

    Args:
        trt: module tensorrt.
        target: 10 times the compute capability of the engine's GPU: 80, 90, 100 or 120.

    Raises:
        BackendUnavailable: the module has no such plugins, or Triton is not installed.
        InvalidInput: kernels cannot be compiled for that GPU.
        ValueError: the plugin is already registered.
    """
    if not hasattr(trt, "QuickPluginCreationRequest"):
        raise BackendUnavailable(
            f"--plugin: expected a tensorrt with plugins compiled ahead of time, got "
            f"{trt.__name__} {trt.__version__}; leave the option out, or install another release: "
            f"pip install 'ancestral[tensorrt]'"
        )
    plugin = importlib.import_module(f"{trt.__name__}.plugin")
    identity, tensor = f"{NAMESPACE}::{NAME}", plugin.TensorDesc
    kernel = _kernels(target)

    def describe(q: Any, k: Any, v: Any) -> Any:
        """Describe the output y, [b, t, h, d], for q [b, h, t, d]."""
        b, h, t, d = q.shape_expr
        return plugin.from_shape_expr((b, t, h, d), q.dtype)

    def combinations(q: Any, k: Any, v: Any, outputs: Any) -> Any:
        return [plugin.AutoTuneCombination(", ".join([_TYPES] * 4), "LINEAR")]

    def compiled(q: Any, k: Any, v: Any, outputs: Any, tactic: int) -> Any:
        """Return the kernel, its launch, and the numbers it gets between inputs and output."""
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
    """Return a function of head size and type that compiles a kernel once, with its query block.

    Raises:
        BackendUnavailable: Triton is not installed.
        InvalidInput: kernels cannot be compiled for that GPU.
    """
    try:
        from ancestral.triton_kernels.masked_attention.dense import dense_variant
    except ImportError as error:
        raise BackendUnavailable(
            "--plugin needs the triton package (Linux): pip install 'ancestral[gpu]'"
        ) from error
    from ancestral.triton_kernels.tools.ptx import expect_target, ptx

    expect_target(target)

    @functools.cache
    def kernel(d: int, dtype: torch.dtype) -> Any:
        variant = dense_variant(d, dtype)
        return ptx(variant, target), variant.constants["BLOCK_M"]

    return kernel


def _typed(function: Callable[..., Any], types: dict[str, Any], answer: Any) -> Callable[..., Any]:
    """Give a function the annotations that TensorRT reads; their types come from its module."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind, annotation=each) for name, each in types.items()],
        return_annotation=answer,
    )
    return function
