"""`ancestral bulk sample`: a job of samples, or of continuations of prompts."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli import filters, options
from ancestral.cli.bulk.options import (
    Batch,
    Folder,
    PartSize,
    Shard,
    Workers,
    require_packages,
)

_prompt = partial(typer.Option, rich_help_panel="Prompts")


def sample(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    n: Annotated[
        int, options.sampling_option("-n", "--n", metavar="N", help="Number of samples in all.")
    ],
    out: Folder,
    labels: Annotated[
        str | None,
        options.input_option(
            metavar="Y,...",
            help="Labels through which samples cycle. Default for a conditional model: all labels.",
        ),
    ] = None,
    seed: Annotated[
        int,
        options.sampling_option(
            metavar="N", help="Seed of the noise. Sample i depends only on the seed and on i."
        ),
    ] = 0,
    mean: Annotated[
        bool,
        options.sampling_option(
            "--mean", help="Write E[x | z] instead of draws; latent variable models only."
        ),
    ] = False,
    prompts: Annotated[
        Path | None,
        _prompt(
            metavar="FILE",
            help="UTF-8 file with one prompt per line. Sample i continues prompt i modulo their "
            "number.",
        ),
    ] = None,
    prompt_ids: Annotated[
        list[str] | None,
        _prompt(metavar="IDS", help='Ids to continue ("1 2 3"); may be repeated.'),
    ] = None,
    max_new: Annotated[
        int | None,
        _prompt(
            metavar="N",
            help="Maximum number of tokens to draw. Default: up to the end of the context.",
        ),
    ] = None,
    stop: Annotated[
        list[str] | None,
        _prompt(
            metavar="TEXT|ID",
            help="Stop after this token instead of the bundle's stop tokens; digits are read as an "
            "id. May be repeated.",
        ),
    ] = None,
    temperature: filters.Temperature = 1.0,
    top_k: filters.TopK = None,
    top_p: filters.TopP = 1.0,
    min_p: filters.MinP = 0.0,
    logit_bias: filters.LogitBias = None,
    repetition_penalty: filters.RepetitionPenalty = 1.0,
    presence_penalty: filters.PresencePenalty = 0.0,
    frequency_penalty: filters.FrequencyPenalty = 0.0,
    part_size: PartSize = None,
    batch: Batch = None,
    shard: Shard = "0/1",
    workers: Workers = 1,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
    dtype: options.Dtype = None,
    batch_invariant: options.BatchInvariant = False,
) -> None:
    """Draw any number of samples into Parquet parts.

    Parts that are in the folder and sound are left as they are, so that the same command continues
    a job that was interrupted, and a larger -n extends it. Sample i is the same in any shard.
    """
    require_packages()
    from ancestral.bulk.settings import Filters, SampleSettings
    from ancestral.cli.bulk.run import Common, run
    from ancestral.cli.generation import Prompts
    from ancestral.decimals import decimals
    from ancestral.engine import Sampling

    sampling = Sampling(
        temperature,
        top_k,
        top_p,
        min_p,
        options.bias(logit_bias or ()),
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
    )
    form = "labels separated by commas, for example 0,1,2"
    settings = SampleSettings(
        seed=options.seed(seed),
        labels=None if labels is None else tuple(decimals("--labels", labels, form)),
        filters=Filters.of(sampling),
        mean=mean,
    )
    given = Prompts((), prompts, prompt_ids or (), max_new, stop or ())
    common = Common(
        bundle,
        out,
        (part_size, batch, shard, workers),
        (backend, device, threads, dtype, batch_invariant),
    )
    run(common, settings, n=n, prompts=given)
