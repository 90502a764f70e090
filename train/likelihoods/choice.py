"""Which likelihood a model has, by the name that its configuration gives."""

from typing import Literal, get_args

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.bernoulli import Bernoulli
from ancestral.train.likelihoods.categorical import Categorical
from ancestral.train.likelihoods.likelihood import Likelihood
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture

LikelihoodName = Literal["categorical", "logistic_mixture", "bernoulli"]


def check(name: str, components: int) -> None:
    """Refuse a name that is none.

    Raises:
        InvalidInput: an unknown likelihood, or a mixture of nothing.
    """
    if name not in get_args(LikelihoodName) or components < 1:
        raise InvalidInput(
            f"likelihood: expected one of {get_args(LikelihoodName)} and components >= 1, "
            f"got {name!r} and {components}"
        )


def choose(name: LikelihoodName, levels: int, components: int) -> Likelihood:
    """The likelihood of that name over so many levels.

    Raises:
        InvalidInput: it is not one over so many levels.
    """
    match name:
        case "categorical":
            return Categorical(levels)
        case "logistic_mixture":
            return LogisticMixture(levels, components)
        case "bernoulli":
            return Bernoulli(levels)
