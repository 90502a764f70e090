"""What the configurations of the networks other than the Transformer share."""

from dataclasses import dataclass

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.choice import LikelihoodName, check


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Common part of a network's shape.

    Attributes:
        width: of the features at each position.
        positions: whether each position has a learned vector.
        dropout: rate on the features between layers, in training.
        likelihood: categorical, or logistic_mixture for levels that are amounts.
        components: of the mixture.
        label_optional: whether there is a vector for "no label", so that p(x) is modelled too.
    """

    width: int = 64
    positions: bool = True
    dropout: float = 0.0
    likelihood: LikelihoodName = "categorical"
    components: int = 10
    label_optional: bool = False

    def __post_init__(self) -> None:
        check(self.likelihood, self.components)
        self.at_least(1, "width")
        if not 0 <= self.dropout < 1:
            raise InvalidInput(
                f"{type(self).__name__}.dropout: expected [0, 1), got {self.dropout}"
            )

    def at_least(self, least: int, *names: str) -> None:
        """Check whole numbers.

        Raises:
            InvalidInput: one is smaller, or no whole number.
        """
        for name in names:
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InvalidInput(
                    f"{type(self).__name__}.{name}: expected an integer >= {least}, got {value!r}"
                )
