"""Which likelihood a model has, by the name that its configuration gives."""

from typing import Literal

from ancestral.train.likelihoods.categorical import Bernoulli, Categorical
from ancestral.train.likelihoods.likelihood import Likelihood
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture

LikelihoodName = Literal["categorical", "logistic_mixture", "bernoulli"]


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
