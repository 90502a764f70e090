"""The help of a command: its options in groups, then examples."""

from typing import Any, TypeVar

from typer.core import TyperCommand, TyperGroup

from ancestral.cli import option_names

GROUPS = (
    "Input",
    "Model",
    "Training",
    "Prompts",
    "Sampling",
    "Speculation",
    "Latents",
    "Plans",
    "Job",
    "Quantised weights",
    "Output",
    "Backend",
    "Network",
    "Limits",
    "Checks",
    "Trace",
    "Help",
)
"""Groups of options (`rich_help_panel`), in the order in which every help lists them."""


Page = TypeVar("Page", bound="CommandPage | ProgramPage")


class CommandPage(TyperCommand):
    """A command; its help lists the options in the order of GROUPS, then EXAMPLES."""

    EXAMPLES: tuple[str, ...] = ()

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error about an argument names the option that was typed."""
        return option_names.invoke(super().invoke, ctx)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the arguments, then the options in the order of GROUPS."""
        parameters = _without_types_of_flags(super().get_params(ctx))
        return sorted(parameters, key=_place)

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help, in the last group."""
        option: Any = super().get_help_option(ctx)
        option.rich_help_panel = "Help"
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, then the examples."""
        super().format_help(ctx, formatter)
        _write_examples(formatter, self.EXAMPLES)


class ProgramPage(TyperGroup):
    """The program; its help lists the commands, then EXAMPLES."""

    EXAMPLES: tuple[str, ...] = ()

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options."""
        return _without_types_of_flags(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, then the examples."""
        super().format_help(ctx, formatter)
        _write_examples(formatter, self.EXAMPLES)


def with_examples(page: type[Page], examples: tuple[str, ...]) -> type[Page]:
    """Return a subclass of a page whose help ends with these examples."""
    return type(page.__name__, (page,), {"EXAMPLES": examples})


def _without_types_of_flags(parameters: list[Any]) -> list[Any]:
    """Leave "<bool>" out of the help of flags, which take no value."""
    for each in parameters:
        if getattr(each, "is_flag", False):
            each.metavar = ""
    return parameters


def _place(parameter: Any) -> int:
    group = getattr(parameter, "rich_help_panel", None)
    return -1 if group is None else GROUPS.index(group)


def _write_examples(formatter: Any, examples: tuple[str, ...]) -> None:
    """Write command lines without wrapping them, so that they can be copied."""
    formatter.write("\n Examples:\n")
    for each in examples:
        formatter.write(f"   {each}\n")
