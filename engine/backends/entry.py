"""The entry of a backend in the table: what is known before its runtime is imported."""

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, get_args

from ancestral import parity
from ancestral.engine.arguments import flag
from ancestral.errors import BackendUnavailable, InvalidInput
from ancestral.plans.modules import is_there
from ancestral.signature import FloatDtype


class Found(NamedTuple):
    """What the probe of an installed backend finds on this machine.

    Attributes:
        devices: devices on which the backend runs; empty if it cannot run.
        remark: text for people: what the backend needs, or what it runs.
    """

    devices: list[str]
    remark: str = ""


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Options of a backend that takes none."""


@dataclass(frozen=True, slots=True)
class TorchOptions:
    """Options of the backend that runs PyTorch modules.

    Attributes:
        model: model of the user's own class; a copy of it gets the bundle's weights.
        dtype: always None here: the backend computes in the bundle's type.
    """

    model: Any = None
    dtype: str | None = field(default=None, init=False)


@dataclass(frozen=True, slots=True)
class TritonOptions(TorchOptions):
    """Options of the backend that runs our Triton kernels.

    Attributes:
        dtype: type of weights, caches and activations; None means the bundle's. Logits, their
            softmax and all sums are float32.
        batch_invariant: use our own matrix product for any number of rows, so that the bits of a
            row do not depend on the batch that it is in.
    """

    dtype: str | None = None
    batch_invariant: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInput: `dtype` is not a supported type, or `batch_invariant` is not a bool.
        """
        dtypes: list[object] = [None, *get_args(FloatDtype)]
        if not isinstance(self.dtype, str | None) or self.dtype not in dtypes:
            raise InvalidInput(f"dtype: expected one of {dtypes[1:]}, got {self.dtype!r}")
        flag("batch_invariant", self.batch_invariant)


@dataclass(frozen=True, slots=True)
class Entry:
    """A backend. Its module is `ancestral.engine.backends.<name>`, which has a function `probe`.

    It runs bundles of the types for which `ancestral.parity` has a tolerance for the backend.

    Attributes:
        name: name on the command line and of the module.
        opens: name in the module of the class or method that opens the backend.
        install: command that installs the required packages.
        packages: required packages; one of each row is enough.
        options: class of the backend's options.
        gpu_only: whether the backend runs on GPUs only.
        compiled: whether the backend runs plans that `ancestral compile` made of a bundle.
        measures_threads: whether the backend takes `threads="measure"`, on the CPU.
    """

    name: str
    opens: str
    install: str
    packages: tuple[tuple[str, ...], ...]
    options: type = NoOptions
    gpu_only: bool = False
    compiled: bool = False
    measures_threads: bool = False

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of the options that the backend takes."""
        return tuple(each.name for each in fields(self.options) if each.init)

    def computes_in(self, dtype: str) -> bool:
        """Return whether it computes in a bundle's type; ONNX Runtime's CPU has no bfloat16."""
        return dtype in parity.dtypes(self.name)

    @property
    def missing(self) -> str | None:
        """A required package that is not installed; None if all are installed."""
        for packages in self.packages:
            if not any(is_there(package) for package in packages):
                return " or ".join(packages)
        return None

    def check_installed(self) -> None:
        """Check that the required packages are installed.

        Raises:
            BackendUnavailable: a package is missing; the message says what to install.
        """
        if self.missing is not None:
            raise BackendUnavailable(
                f"backend {self.name!r} needs the {self.missing} package: {self.install}"
            )


def check_release(name: str, oldest: tuple[int, int], got: str) -> None:
    """Check the installed release of the package that has the backend's name.

    Raises:
        BackendUnavailable: it is older than the oldest release that works.
    """
    if tuple(int(part) for part in got.split(".")[:2]) < oldest:
        raise BackendUnavailable(
            f"backend {name!r} needs {name} {oldest[0]}.{oldest[1]} or newer, got {got}: "
            f"pip install --upgrade {name}"
        )
