"""Call the methods of a user's model, and turn exceptions into errors that say what to do.

Exceptions of torch.export and torch.onnx are recognised by their types; the original exception is
the cause of the new error.
"""

import linecache
import re
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError, UserErrorType
from torch._subclasses.fake_tensor import DataDependentOutputException, UnsupportedOperatorException
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from ancestral.errors import AncestralError, ExportError
from ancestral.train.models.graphs import Parallel, Prefill
from ancestral.train.models.program import Program
from ancestral.train.models.step import Step

RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Exceptions that point to a fault in the user's method, unlike MemoryError or OSError."""
_LIBRARIES = frozenset({"ancestral", "torch", "onnxscript", "onnx_ir", "onnx"})
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
_AXES = {
    "t": (
        "set `takes_prefixes = False` in the class if predict needs whole events, or take the "
        "length from x.shape[1], without a loop over it, an `if`, or a table of fixed size"
    ),
    "s": (
        "set `takes_blocks = False` in the class if extend takes one value at a time, or take the "
        "length from tokens.shape[1], without a loop or an `if`"
    ),
    "b": (
        "compute all rows together, without a loop over rows, an `if` on their number, or a fixed "
        "batch size (make a state for each row from x.shape[0], or an entry of cache_spec)"
    ),
    "k": "compute all latents of an event together, however many there are",
}
_VALUES = (
    "choose with torch.where instead of `if`, and do not read numbers out of tensors (.item(), "
    ".tolist(), int(), .numpy())"
)
_RECURRENT = (
    "use the operators `gru` and `lstm` of ancestral.triton_kernels.recurrence instead of nn.GRU, "
    "nn.LSTM and nn.RNN, which are traced for one size only"
)
_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")


def user_line(error: BaseException | None) -> str:
    """Find the deepest line of the user's code in the traceback of an exception or its causes.

    Returns:
        " (line 12 of model.py, in predict: `if x.sum() > 0:`)", or "" if there is no such line.
    """
    while error is not None:
        found = ""
        for frame, line in traceback.walk_tb(error.__traceback__):
            file, name = frame.f_code.co_filename, frame.f_code.co_name
            root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if root in _LIBRARIES or file.startswith(_INSTALLED):
                continue
            text = linecache.getline(file, line, frame.f_globals).strip()
            quoted = f": `{text}`" if text else ""
            found = f" (line {line} of {Path(file).name}, in {name}{quoted})"
        if found:
            return found
        error = error.__cause__ or error.__context__
    return ""


def first_line(error: BaseException) -> str:
    """Return the type of an exception and the first line of its text that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def call(model: nn.Module, name: str, arguments: tuple[Any, ...], advice: str) -> Any:
    """Call a method of a user's model.

    Args:
        model: model that has the method.
        name: name of the method.
        arguments: arguments of the call; an error gives their types and shapes.
        advice: end of the error's text: what was expected, and what to do.

    Returns:
        Result of the method.

    Raises:
        ExportError: the method raised.
    """
    method: Callable[..., Any] = getattr(model, name)
    try:
        return method(*arguments)
    except AncestralError:
        raise
    except RAISED as error:
        given = ", ".join(map(described, arguments))
        raise ExportError(
            f"{type(model).__name__}.{name}({given}) raised {first_line(error)}"
            f"{user_line(error)}; {advice}"
        ) from error


def check_result(where: str, got: Any, expected: Any, advice: str, words: str = "{}") -> None:
    """Check the types and shapes of what a method returned.

    Args:
        where: beginning of the error's text: the method, and the part of its result.
        got: value that the method returned.
        expected: value of the expected types and shapes.
        advice: end of the error's text.
        words: description of `expected`; braces stand for its types and shapes.

    Raises:
        ExportError: a type or shape differs.
    """
    if described(got) != described(expected):
        raise ExportError(
            f"{where}: expected {words.format(described(expected))}, got {described(got)}; {advice}"
        )


def described(value: Any) -> str:
    """Describe a value for an error; a tensor by its type and shape."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {described(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(described, value)) + ")"
    return repr(value) if value is None or isinstance(value, int) else type(value).__name__


def refused_trace(program: Program, error: BaseException) -> ExportError:
    """Return the error for a program that torch.export could not trace."""
    where = f"{_method(program)} cannot become a graph{user_line(error)}: "
    match error:
        case UserError() if error.error_type is UserErrorType.CONSTRAINT_VIOLATION:
            return ExportError(
                f"{_method(program)} cannot become a graph: {_sizes(program, error)}"
            )
        case GuardOnDataDependentSymNode() | DataDependentOutputException():
            return ExportError(
                f"{where}an operation depends on values, but a graph does the same ones for all; "
                f"{_VALUES}"
            )
        case UnsupportedOperatorException():
            return ExportError(
                f"{where}{error.func} has no fake kernel; register one that returns an empty "
                f"tensor of the right shape and type (torch.library.register_fake)"
            )
    reason = first_line(error).rstrip(".")
    return ExportError(f"{where}it runs, but torch.export refuses it ({reason}); {_VALUES}")


def refused_translation(program: Program, error: BaseException) -> ExportError:
    """Return the error for a traced program that torch.onnx could not translate."""
    cause = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    missing = _OPERATOR.search(str(cause))
    if missing is None:
        return ExportError(
            f"{_method(program)} cannot become an ONNX graph ({first_line(cause)}); write that "
            f"part with other operators of PyTorch"
        )
    return ExportError(
        f"{_method(program)} cannot become an ONNX graph: ONNX has no form of the operator "
        f"{missing.group(1)}; write it with other operators of PyTorch"
    )


def _method(program: Program) -> str:
    """Return the name of the model's method that a program calls."""
    name = type(program.model).__name__
    match program:
        case Parallel():
            return f"{name}.predict"
        case Step() | Prefill():
            return f"{name}.extend"
        case _:
            return f"{name} (encode, decode, prior)"


def _sizes(program: Program, error: BaseException) -> str:
    """Say which axes work for some sizes only, and what to do about each."""
    found = re.search(r"Constraints violated \(([^)]*)\)", str(error))
    axes = [axis.strip() for axis in found.group(1).split(",")] if found else []
    named = [axis for axis in axes if axis in _AXES]
    if not named:
        return f"{first_line(error)}; take all sizes from the shapes of the inputs"
    recurrent = any(isinstance(part, torch.nn.RNNBase) for part in program.model.modules())
    advice = [_RECURRENT] if recurrent else [_AXES[axis] for axis in named]
    return f"it works for some sizes of {' and '.join(named)} only; {', and '.join(advice)}"
