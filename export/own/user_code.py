"""The caller's own code: its methods called, and what is wrong with it in words.

What torch.export and torch.onnx refuse of it is caught by the types of their exceptions where they
are raised; the original is the cause.
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
from ancestral.train.models.graphs import Parallel, Prefill, Program, Step

RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a method that is wrong may raise; not memory, files, or an interrupt."""
_LIBRARIES = frozenset({"ancestral", "torch", "onnxscript", "onnx_ir", "onnx"})
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
_AXES = {
    "t": (
        "predict needs events of one length: set `takes_prefixes = False` in the class; or take "
        "the length from x.shape[1] without a loop over it, an `if`, or a table of fixed size"
    ),
    "s": (
        "extend needs blocks of one length: set `takes_blocks = False` in the class, and it always "
        "gets s = 1; or take the length from tokens.shape[1] without a loop or an `if`"
    ),
    "b": (
        "rows must be computed together, however many there are: no loop over rows, no `if` on "
        "their number, no fixed size of a batch; a state that is made for each row is made from "
        "x.shape[0] or is an entry of cache_spec"
    ),
    "k": "latents must be computed together, however many there are of an event",
}
_VALUES = (
    "a graph does the same operations whatever the values are: choose with torch.where instead of "
    "`if`, and do not read numbers out of tensors (.item(), .tolist(), int(), .numpy())"
)
_RECURRENT = (
    "nn.GRU, nn.LSTM and nn.RNN trace for one size only: use the operators `gru` and `lstm` of "
    "ancestral.triton_kernels.recurrence, as ancestral.train.models.recurrent does"
)
_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")


def user_line(error: BaseException | None) -> str:
    """The deepest line of the caller's code that an exception, or its cause, went through.

    Returns:
        " (line 12 of model.py, in predict: `if x.sum() > 0:`)", or "" where there is none.
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
    """The first line of an exception's text that is not empty, with its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def call(model: nn.Module, name: str, arguments: tuple[Any, ...], advice: str) -> Any:
    """Call a method of the model.

    Args:
        model: whose method it is.
        name: of the method.
        arguments: of the call; the error names their types and shapes.
        advice: the end of the error's text: what was expected, and what to do.

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
            f"{user_line(error)}. {advice}"
        ) from error


def check_result(where: str, got: Any, expected: Any, advice: str, words: str = "{}") -> None:
    """Refuse what a method returned in place of tensors of these types and shapes.

    Args:
        where: the method, and what of it.
        got: what it returned.
        expected: what it should be like.
        advice: the end of the error's text.
        words: what is expected; braces are where its type and shape go.

    Raises:
        ExportError: it is of another type or shape.
    """
    if described(got) != described(expected):
        raise ExportError(
            f"{where}: expected {words.format(described(expected))}, got {described(got)}. {advice}"
        )


def described(value: Any) -> str:
    """A value in an error: tensors by type and shape."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {described(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(described, value)) + ")"
    return repr(value) if value is None or isinstance(value, int) else type(value).__name__


def refused_trace(program: Program, error: BaseException) -> ExportError:
    """The error of a program that torch.export could not trace."""
    where = f"{_method(program)} cannot become a graph{user_line(error)}: "
    match error:
        case UserError() if error.error_type is UserErrorType.CONSTRAINT_VIOLATION:
            return ExportError(
                f"{_method(program)} cannot become a graph: {_sizes(program, error)}"
            )
        case GuardOnDataDependentSymNode() | DataDependentOutputException():
            return ExportError(f"{where}an operation depends on values: {_VALUES}")
        case UnsupportedOperatorException():
            return ExportError(
                f"{where}{error.func} has no fake kernel: register one that makes an empty result "
                f"of the right shape and type (torch.library: register_fake)"
            )
    reason = first_line(error).rstrip(".")
    return ExportError(f"{where}it runs, but torch.export refuses it ({reason}); {_VALUES}")


def refused_translation(program: Program, error: BaseException) -> ExportError:
    """The error of a traced program that torch.onnx could not translate."""
    cause = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    missing = _OPERATOR.search(str(cause))
    if missing is None:
        return ExportError(
            f"{_method(program)} cannot become an ONNX graph ({first_line(cause)}): write that "
            f"part with other operators of PyTorch"
        )
    return ExportError(
        f"{_method(program)} cannot become an ONNX graph: ONNX has no form of the operator "
        f"{missing.group(1)}: write it with other operators of PyTorch"
    )


def _method(program: Program) -> str:
    """The method of the model that a program is made of."""
    name = type(program.model).__name__
    match program:
        case Parallel():
            return f"{name}.predict"
        case Step() | Prefill():
            return f"{name}.extend"
        case _:
            return f"{name} (encode, decode, prior)"


def _sizes(program: Program, error: BaseException) -> str:
    """Which axes are bound to one size, and what to do about each."""
    found = re.search(r"Constraints violated \(([^)]*)\)", str(error))
    axes = [axis.strip() for axis in found.group(1).split(",")] if found else []
    named = [axis for axis in axes if axis in _AXES]
    if not named:
        return first_line(error)
    recurrent = any(isinstance(part, torch.nn.RNNBase) for part in program.model.modules())
    advice = [_RECURRENT] if recurrent else [_AXES[axis] for axis in named]
    return f"it works for some sizes of {' and '.join(named)} only; {'; '.join(advice)}"
