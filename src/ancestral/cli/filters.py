"""The options of `Sampling`, for the commands that draw."""

from typing import Annotated

from ancestral.cli.options import sampling_option

Temperature = Annotated[
    float,
    sampling_option(
        metavar="T",
        help="Divide the logits by T; 0 is greedy. Real latents: scale their noise by T; 0 is "
        "the mean of the prior.",
    ),
]
TopK = Annotated[int | None, sampling_option(metavar="K", help="Keep the K most probable values.")]
TopP = Annotated[
    float,
    sampling_option(metavar="P", help="Keep the most probable values with total mass P."),
]
MinP = Annotated[
    float,
    sampling_option(metavar="P", help="Keep values with at least P times the largest probability."),
]
LogitBias = Annotated[
    list[str] | None,
    sampling_option(
        metavar="ID=NATS,...",
        help="Add to the logits of these values, -1000 to 1000 nats; -inf bans a value. May be "
        "repeated.",
    ),
]
RepetitionPenalty = Annotated[
    float,
    sampling_option(
        metavar="R",
        help="Divide the positive logits of all values that have occurred, given or drawn, by "
        "R, and multiply the negative ones; 0.01 to 100.",
    ),
]
PresencePenalty = Annotated[
    float,
    sampling_option(
        metavar="NATS",
        help="Subtract from the logits of all values that were drawn; -100 to 100.",
    ),
]
FrequencyPenalty = Annotated[
    float,
    sampling_option(
        metavar="NATS",
        help="Subtract from the logits for each time that a value was drawn; -100 to 100.",
    ),
]
