"""Options in the errors of a command: `--top-p: expected ...` for `top_p: expected ...`."""

from typing import Any

from ancestral.errors import InvalidInput


def invoke(run: Any, context: Any) -> Any:
    """Run a command; an error about an argument that an option set names the option.

    The library reports an argument by its own name, such as `top_p` or `labels`. The user typed
    `--top-p` or `--label`. An argument that comes from a file keeps the library's name.

    Args:
        run: the `invoke` method of the command's class.
        context: the click context of the command.

    Raises:
        InvalidInput: the command raised it; the message begins with the option.
    """
    try:
        return run(context)
    except InvalidInput as error:
        argument, colon, rest = str(error).partition(": ")
        option = _typed_option(argument, context)
        if not colon or option is None:
            raise
        raise InvalidInput(f"{option}: {rest}") from error


def _typed_option(argument: str, context: Any) -> str | None:
    """Return the option, as it is spelled in full, that set an argument of the library."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name)
        if (
            parameter.name in (argument, argument.removesuffix("s"))
            and parameter.param_type_name == "option"
            and source is not None
            and source.name == "COMMANDLINE"
        ):
            return str(max(parameter.opts, key=len))
    return None
