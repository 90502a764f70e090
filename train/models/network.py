"""Common parts of networks that predict the parameters of a likelihood from earlier values."""

from ancestral.dataspec import DataSpec
from ancestral.signature import CacheEntry, Update
from ancestral.train.likelihoods.choice import LikelihoodName, choose
from ancestral.train.likelihoods.likelihood import Likelihood
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.configuration import AutoregressiveConfig, Count, Rate, configuration


@configuration
class NetworkConfig(AutoregressiveConfig):
    """Configuration common to all networks.

    Attributes:
        width: number of features at each position.
        dropout: dropout rate of the features between layers.
        likelihood: "categorical", "bernoulli" for 2 levels, or "logistic_mixture" for levels that
            are amounts.
        components: number of components of the mixture.
        label_optional: whether there is a vector for "no label", so that p(x) is modelled too.

    Raises:
        InvalidInput: a value is out of range.
    """

    width: Count = 64
    dropout: Rate = 0.0
    likelihood: LikelihoodName = "categorical"
    components: Count = 10
    label_optional: bool = False


@configuration
class SequenceConfig(NetworkConfig):
    """Configuration common to networks that read one value after another.

    The attributes of `NetworkConfig` apply too.

    Attributes:
        above: whether, for images, the value above is read together with the previous one.
    """

    above: bool = False


class ConfiguredNetwork(AutoregressiveModel):
    """Base class of networks with a configuration."""

    def __init__(self, config: NetworkConfig, data: DataSpec) -> None:
        super().__init__()
        self.data, self.label_optional = data, config.label_optional
        self._likelihood = choose(config.likelihood, data.levels, config.components)
        self.classes = (data.num_classes or 0) + config.label_optional

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood that the configuration names."""
        return self._likelihood


def ring_entry(name: str, length: int, width: int) -> CacheEntry:
    """Return the cache entry of the features at the last positions, in a ring buffer."""
    axes = ("b", 1, length, width)
    return CacheEntry(name=name, dtype="float32", axes=axes, update=Update.APPEND)
