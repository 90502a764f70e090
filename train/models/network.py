"""What the networks share that predict the parameters of a likelihood from earlier values."""

from ancestral.dataspec import DataSpec
from ancestral.signature import CacheEntry, Update
from ancestral.train.likelihoods.choice import LikelihoodName, choose
from ancestral.train.likelihoods.likelihood import Likelihood
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.configuration import AutoregressiveConfig, Count, Rate, configuration


@configuration
class NetworkConfig(AutoregressiveConfig):
    """Common part of a network's shape.

    Attributes:
        width: of the features at each position.
        dropout: rate on the features between layers, in training.
        likelihood: categorical, or logistic_mixture for levels that are amounts.
        components: of the mixture.
        label_optional: whether there is a vector for "no label", so that p(x) is modelled too.
    """

    width: Count = 64
    dropout: Rate = 0.0
    likelihood: LikelihoodName = "categorical"
    components: Count = 10
    label_optional: bool = False


@configuration
class SequenceConfig(NetworkConfig):
    """Shape of a network that reads one value after another.

    Attributes:
        above: whether images feed the value above together with the previous one.
    """

    above: bool = False


class ConfiguredNetwork(AutoregressiveModel):
    """A network of a configuration, over the positions of an event."""

    def __init__(self, config: NetworkConfig, data: DataSpec) -> None:
        super().__init__()
        self.data, self.label_optional = data, config.label_optional
        self._likelihood = choose(config.likelihood, data.levels, config.components)
        self.classes = (data.num_classes or 0) + config.label_optional

    @property
    def likelihood(self) -> Likelihood:
        """As configured."""
        return self._likelihood


def ring_entry(name: str, length: int, width: int) -> CacheEntry:
    """The cache of features at the last positions, in a ring."""
    axes = ("b", 1, length, width)
    return CacheEntry(name=name, dtype="float32", axes=axes, update=Update.APPEND)
