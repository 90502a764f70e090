"""What torch.export and torch.onnx refuse of a model of one's own, in words.

The exceptions are caught by their types where they are raised; the original is the cause.
"""

import re

import torch
from torch._dynamo.exc import UserError, UserErrorType
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    UnsupportedOperatorException,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from ancestral.errors import ExportError
from ancestral.export.own.user_code import first_line, user_line
from ancestral.train.models.graphs import Parallel, Prefill, Program, Step

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
    cause = _root(error)
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


def _root(error: BaseException) -> BaseException:
    """The innermost cause."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
