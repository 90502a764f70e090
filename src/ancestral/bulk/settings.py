"""Settings of a job, one class for each kind of work; they are a part of the job's digest."""

from typing import Annotated, Literal

from pydantic import Field

from ancestral.sampling import Sampling
from ancestral.signature import Record

_FIRST_BEYOND = 2**64
Seed = Annotated[int, Field(ge=0, lt=_FIRST_BEYOND)]


class Filters(Record):
    """The fields of `Sampling` as JSON has them."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    @classmethod
    def of(cls, sampling: Sampling) -> "Filters":
        """Return the fields of checked settings."""
        return cls(**{name: getattr(sampling, name) for name in cls.model_fields})

    @property
    def sampling(self) -> Sampling:
        """The settings of a draw."""
        return Sampling(**{name: getattr(self, name) for name in type(self).model_fields})


class Prompts(Record):
    """Prompts that samples continue; sample i continues prompt i mod count.

    Attributes:
        sha256: hash of the file of prompts in the folder of the job (`ancestral.bulk.prompts`).
        count: number of prompts.
        max_new: largest number of tokens to draw after a prompt; None draws to the end of the
            context.
        stop: values that end a row; None means those of the data.
    """

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    count: int = Field(ge=1)
    max_new: int | None = Field(default=None, ge=1)
    stop: tuple[int, ...] | None = None


class SampleSettings(Record):
    """Samples, or continuations of prompts.

    Attributes:
        kind: kind of the job.
        seed: seed of the noise.
        labels: sample i has label labels[i mod len]; None without labels.
        filters: temperature, filters, bias and penalties.
        mean: whether x is E[x | z] instead of a draw; only for latent variable models.
        prompts: prompts to continue; None draws whole events.
    """

    kind: Literal["sample"] = "sample"
    seed: Seed = 0
    labels: tuple[int, ...] | None = Field(default=None, min_length=1)
    filters: Filters = Filters()
    mean: bool = False
    prompts: Prompts | None = None


class DataSettings(Record):
    """Settings of all jobs over data.

    Attributes:
        binarise: number of levels of the events, which are made binary at random, event i with
            noise i; None leaves them as they are.
    """

    binarise: int | None = Field(default=None, ge=3)


class LogProbSettings(DataSettings):
    """Log-probabilities of events or of texts.

    Attributes:
        kind: kind of the job.
        label: label of all rows, instead of those in the data.
        stride: ids by which windows slide over a text; None means half the context.
    """

    kind: Literal["log_prob"] = "log_prob"
    label: int | None = None
    stride: int | None = Field(default=None, ge=1)


class ClassifySettings(DataSettings):
    """Probabilities of the classes of events."""

    kind: Literal["classify"] = "classify"


class BoundSettings(DataSettings):
    """Lower bounds on log p(x) of events.

    Attributes:
        kind: kind of the job.
        k: latents of each event.
        seed: seed of the noise; event i has the noise of sample i.
        proposal: distribution of the latents, as in `LatentEngine.bound`.
        label: label of all events.
        labelled: whether the labels in the data are used.
    """

    kind: Literal["bound"] = "bound"
    k: int = Field(default=64, ge=1, lt=2**32)
    seed: Seed = 0
    proposal: Literal["posterior", "prior"] = "posterior"
    label: int | None = None
    labelled: bool = False


class EncodeSettings(DataSettings):
    """Parameters of q(z | x) of events, or their codes."""

    kind: Literal["encode"] = "encode"


ScoreSettings = LogProbSettings | ClassifySettings | BoundSettings | EncodeSettings
"""Settings of the jobs over data."""
Settings = Annotated[SampleSettings | ScoreSettings, Field(discriminator="kind")]
