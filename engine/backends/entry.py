"""What is known of a backend before its runtime is imported: its entry in the table."""

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
        devices: on which it runs; empty where it cannot run.
        remark: for people: what it needs, or what it runs.
    """

    devices: list[str]
    remark: str = ""


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a backend that has none."""


@dataclass(frozen=True, slots=True)
class TorchOptions:
    """The options of a backend that runs modules of PyTorch.

    Attributes:
        model: of a class of the user's own; a copy of it gets the bundle's weights.
        dtype: what it computes in; the bundle's type where None, which it always is here.
    """

    model: Any = None
    dtype: str | None = field(default=None, init=False)


@dataclass(frozen=True, slots=True)
class TritonOptions(TorchOptions):
    """The options of the backend on our kernels.

    Attributes:
        dtype: of weights, caches and activations; the bundle's where None. Logits, their softmax
            and all sums are float32.
        batch_invariant: use our own matrix product for any number of rows: then the bits of a row
            do not depend on the batch that it is in.
    """

    dtype: str | None = None
    batch_invariant: bool = False

    def __post_init__(self) -> None:
        """Refuse values of a wrong type.

        Raises:
            InvalidInput: one is.
        """
        dtypes: list[object] = [None, *get_args(FloatDtype)]
        if not isinstance(self.dtype, str | None) or self.dtype not in dtypes:
            raise InvalidInput(f"dtype: expected one of {dtypes[1:]}, got {self.dtype!r}")
        flag("batch_invariant", self.batch_invariant)


@dataclass(frozen=True, slots=True)
class Entry:
    """A backend: `ancestral.engine.backends.<name>` is its module, which has a function `probe`.

    The types of bundles that it computes in are those for which `ancestral.parity` has a tolerance
    of its name.

    Attributes:
        name: on the command line, and of its module.
        opens: what its module opens it by, as in `open_backend`.
        install: command that installs what it needs.
        packages: that it needs; of each row one.
        options: class of the options that it takes.
        gpu_only: whether it runs on GPUs only.
        compiled: whether it runs plans that `ancestral compile` made of a bundle.
    """

    name: str
    opens: str
    install: str
    packages: tuple[tuple[str, ...], ...]
    options: type = NoOptions
    gpu_only: bool = False
    compiled: bool = False

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of the options that it takes."""
        return tuple(each.name for each in fields(self.options) if each.init)

    def computes_in(self, dtype: str) -> bool:
        """Whether it computes in a bundle's type: ONNX Runtime's CPU has no bfloat16 kernels."""
        return dtype in parity.dtypes(self.name)

    @property
    def missing(self) -> str | None:
        """The package that it needs and that is not installed; None where all are."""
        for packages in self.packages:
            if not any(is_there(package) for package in packages):
                return " or ".join(packages)
        return None

    def check_installed(self) -> None:
        """Check that the packages that it needs are installed.

        Raises:
            BackendUnavailable: one is not; the message says what to install.
        """
        if self.missing is not None:
            raise BackendUnavailable(
                f"backend {self.name!r} needs the {self.missing} package: {self.install}"
            )


def check_release(name: str, oldest: tuple[int, int], got: str) -> None:
    """Check the release of the package of a backend's name.

    Raises:
        BackendUnavailable: it is older than the oldest that works.
    """
    if tuple(int(part) for part in got.split(".")[:2]) < oldest:
        raise BackendUnavailable(
            f"backend {name!r} needs {name} {oldest[0]}.{oldest[1]} or newer, got {got}: "
            f"pip install --upgrade {name}"
        )
