"""The caller's own code: which line of it an exception went through, and its methods called."""

import linecache
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ancestral.errors import AncestralError, ExportError

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
