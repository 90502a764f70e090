"""The choice of a likelihood by its name in a configuration."""

from typing import Literal

from ancestral.train.likelihoods.categorical import Bernoulli, Categorical
from ancestral.train.likelihoods.likelihood import Likelihood
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture

LikelihoodName = Literal["categorical", "logistic_mixture", "bernoulli"]


def choose(name: LikelihoodName, levels: int, components: int) -> Likelihood:
    """Return the likelihood of this name.

    Args:
        name: name of the likelihood.
        levels: number of levels.
        components: number of components of a logistic mixture.

    Raises:
        InvalidInput: the likelihood does not support this number of levels.
    """
    match name:
        case "categorical":
            return Categorical(levels)
        case "logistic_mixture":
            return LogisticMixture(levels, components)
        case "bernoulli":
            return Bernoulli(levels)
