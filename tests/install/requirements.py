"""Requirements for pip: the lower bounds of pyproject.toml, and the pin of torch."""

import re
import tomllib
from collections.abc import Mapping
from typing import Literal

from tests.wheel import ROOT

Versions = Literal["pinned", "newest", "oldest"]
"""Which versions pip installs.

pinned: torch as in constraints.txt, which may have a build for CPUs; others the newest.
newest: torch too. oldest: every package of pyproject.toml at its lower bound.
"""
Extra = Literal["cpu", "train,export,cpu"]
EXTRAS: tuple[Extra, ...] = ("cpu", "train,export,cpu")
_LOWER = re.compile(r"(?P<name>[\w.-]+)>=(?P<version>[\w.]+)")


def asked(extra: Extra, versions: Versions, installed: Mapping[str, str]) -> str:
    """Return a description of the versions, for the table.

    Args:
        extra: extra of the project.
        versions: which versions pip was to install.
        installed: installed version of each package by name. If the pinned PyTorch has no wheel,
            PyTorch has another version.
    """
    if versions != "pinned":
        return versions
    if extra == "cpu":
        return "newest"
    pinned = pin("torch").removeprefix("torch==")
    # PyTorch's own index adds the kind of the build, for example 2.13.0+cpu.
    found = installed.get("torch", pinned).partition("+")[0]
    return "newest, torch pinned" if found == pinned else "newest"


def torch_requirements(extra: Extra, versions: Versions) -> tuple[str, ...]:
    """Return requirements of torch to try in order, until one has a wheel; empty without torch."""
    if extra == "cpu":
        return ()
    match versions:
        case "pinned":
            return (pin("torch"), "torch")
        case "newest":
            return ("torch",)
        case "oldest":
            return tuple(each for each in lower_bounds(extra) if each.startswith("torch=="))


def pin(name: str) -> str:
    """Return the line of a package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{name}=="))
    return found


def lower_bounds(extra: Extra) -> tuple[str, ...]:
    """Return each package that an extra needs, pinned to the lower bound in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *(each for name in extra.split(",") for each in optional[name]),
    ]
    found = [_LOWER.match(each) for each in needed]
    return tuple(dict.fromkeys(f"{each['name']}=={each['version']}" for each in found if each))
