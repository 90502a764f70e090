"""What `ancestral sample` was asked to draw, and the line that says what was drawn."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ancestral.cli.output import arrow, place, say
from ancestral.engine.arguments import check_size
from ancestral.engine.inputs import count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ancestral.dataspec import DataSpec
    from ancestral.engine import Engine, Sampling


@dataclass(frozen=True, slots=True)
class Draw:
    """The options of `ancestral sample` that samples of every kind have.

    Attributes:
        n: number of samples, of each prompt where there are prompts; None where it was not given.
        label: of all samples; None takes the classes in turn, if there are any.
        seed: of the noise.
        first_index: sample index of the first sample.
        sampling: temperature and filters.
        batch: samples at a time; None where it was not given.
        out: a file, or - for standard output.
    """

    n: int | None
    label: int | None
    seed: int
    first_index: int
    sampling: "Sampling"
    batch: int | None
    out: str

    def count(self, default: int, data: "DataSpec", each: int = 1) -> int:
        """Number of samples in all.

        Args:
            default: used where no number was given.
            data: the space of events.
            each: number of prompts.

        Raises:
            InvalidInput: the number is below 1, or its samples do not fit in memory.
        """
        n = default if self.n is None else count("n", self.n, 1)
        check_size("n", n * each, 8 * data.length)
        return n * each

    def labels(self, n: int, data: "DataSpec") -> tuple["int | NDArray[Any] | None", str]:
        """The labels of n samples for the engine, and how a message names them."""
        if self.label is not None:
            return self.label, f"label {self.label}, "
        if data.num_classes is None:
            return None, ""
        cycle = (self.first_index % data.num_classes + np.arange(n)) % data.num_classes
        return cycle, f"labels 0 .. {data.num_classes - 1} in turn, "

    def say(
        self, what: str, labels: str, indices: tuple[int, int], engine: "Engine", numbers: str
    ) -> None:
        """Say what was drawn, how, where, how probable it is, and which file was written."""
        say(
            f"{what}, {labels}seed {self.seed}, indices {indices[0]} .. {indices[1]}, "
            f"{place(engine)}: {numbers}{arrow(self.out)}"
        )
