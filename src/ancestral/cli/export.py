"""`ancestral export`: convert a checkpoint to a bundle, and verify it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ancestral.cli.budget import BudgetOptions, export_within
from ancestral.cli.checkpoint_folder import CheckpointOptions
from ancestral.cli.installed import backends_for, require
from ancestral.cli.options import backend_option, input_option, output_option, precision_option
from ancestral.cli.output import check_place, check_utf8, say, show
from ancestral.cli.present.parity_table import parity_tables
from ancestral.cli.quantise import QuantiseOptions, export_quantised, float32_bundle
from ancestral.cli.verify import parity_reports, report_failures
from ancestral.errors import InvalidInput
from ancestral.progress import stages


def export(  # noqa: PLR0913 - the options of a command
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Folder written by `ancestral train`; or of a Hugging Face language or image "
            "model (GPT-2, ImageGPT, Llama, Mistral, Qwen2, Qwen3, GPT-NeoX); or of a diffusers "
            "AutoencoderKL; or a float32 bundle, to convert it to 16 bits or to quantise it.",
        ),
    ],
    out: Annotated[
        Path, output_option("-o", "--out", metavar="BUNDLE", help="Folder for the bundle.")
    ],
    length: Annotated[
        int | None,
        input_option(
            metavar="N",
            help="Positions of an event, and of the cache, for shorter sequences than in training. "
            "Default for Hugging Face models: the context, at most 4096.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        input_option(
            metavar="ID|none",
            help="Hugging Face models: id of the token before each text, or none. Default: "
            "bos_token_id, if the tokenizer has it.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        input_option(
            metavar="SIDE",
            help="diffusers models: pixels of the images, as a side or HEIGHTxWIDTH.",
        ),
    ] = None,
    pixel_scale: Annotated[
        float | None,
        input_option(
            metavar="SIGMA",
            help="diffusers models: sigma of p(x | z), a Gaussian, with levels scaled to [-1, 1]. "
            "Default: 1.",
        ),
    ] = None,
    ignore_field: Annotated[
        list[str] | None,
        input_option(
            "--ignore-field",
            metavar="NAME",
            help="Hugging Face and diffusers models: an unknown field of config.json that does not "
            "change what the model computes; may be repeated. The bundle records the names.",
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        output_option(
            metavar="NAME",
            help="Type of weights, activations and caches: float32, bfloat16 or float16. The last "
            "projection, softmax, sums and draws are always float32.",
        ),
    ] = "float32",
    weights: Annotated[
        Literal["int8", "int4"] | None,
        precision_option(
            metavar="NAME",
            help="Store the weights of linear maps, tables, convolutions and recurrent layers in 8 "
            "or 4 bits: int8 or int4. Probabilities change; --data measures by how much.",
        ),
    ] = None,
    group: Annotated[
        int | None,
        precision_option(
            metavar="N",
            help="Weights that share a scale: 16, 32, 64, 128 or 256. Default: 128 for int8, 32 "
            "for int4.",
        ),
    ] = None,
    asymmetric: Annotated[
        bool, precision_option("--asymmetric", help="Give each group of a map a zero point too.")
    ] = False,
    scales: Annotated[
        Literal["float32", "float16"] | None,
        precision_option(metavar="NAME", help="Type of the scales in the file. Default: float32."),
    ] = None,
    compute: Annotated[
        Literal["float32", "int8"] | None,
        precision_option(
            metavar="NAME",
            help="Type of activations in products: float32, or int8, which rounds them at run "
            "time: faster, and a further loss. Default: float32.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        precision_option(
            metavar="FILE",
            help="Data on which the loss against the float32 bundle is measured, as in `ancestral "
            "compare`; it is stored in the bundle.",
        ),
    ] = None,
    n: Annotated[
        int | None,
        precision_option(
            "-n", metavar="N", help="Number of first events or windows of --data. Default: all."
        ),
    ] = None,
    rounding: Annotated[
        Literal["nearest", "gptq"] | None,
        precision_option(
            metavar="NAME",
            help="How maps of 4 bits are rounded: nearest, or gptq, which keeps their outputs on "
            "half of --data; the loss is measured on the other half. Default: nearest.",
        ),
    ] = None,
    budget: Annotated[
        float | None,
        precision_option(
            metavar="NATS",
            help="Largest loss, in nats per position: choose the type of each weight so that the "
            "loss, plus 2 standard errors, is within it, in the fewest bytes. Half of --data is "
            "used to choose, the other half to measure. --weights then restricts the types.",
        ),
    ] = None,
    budget_bits_per_dim: Annotated[
        float | None,
        precision_option(metavar="BITS", help="The same in bits per dimension: nats / ln 2."),
    ] = None,
    report: Annotated[
        Path | None,
        precision_option(
            metavar="FILE.json",
            help="With --budget: write the table of bytes, nats and milliseconds to a file.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        precision_option(
            metavar="FILE.png",
            help="With --budget: draw loss by bytes; needs matplotlib.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, output_option("--overwrite", help="Replace an existing bundle.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            rich_help_panel="Checks",
            help="Verify the bundle on every installed backend.",
        ),
    ] = True,
    threads: Annotated[
        int | None,
        backend_option(
            metavar="N",
            help="CPU threads of the verification, at most 4 per core. Default: 1.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export a checkpoint to a bundle of ONNX graphs.

    The bundle also has known answers from float64 PyTorch, and is verified against them on every
    installed backend; the exit code is 1 if that fails. A VQ-VAE is exported with its prior.
    """
    require("export", ("torch", "onnx", "onnxscript"), "export")
    from ancestral.bundles.manifest import MANIFEST
    from ancestral.export.bundle import export_bundle
    from ancestral.export.recast import recast
    from ancestral.scalars import check_threads

    # An export takes minutes, so its options are checked first.
    threads = 1 if threads is None else check_threads(threads, "--threads")
    check_place(out)
    check_utf8(out, "--out")
    check_utf8(checkpoint, "CHECKPOINT")
    if out.exists() and out.resolve() == checkpoint.resolve():
        raise InvalidInput(f"--out: {out} is an input of the command; give another name")
    ignored = tuple(dict.fromkeys(ignore_field)) if ignore_field else None
    options = CheckpointOptions(length, size, pixel_scale, start, ignored)
    precision = QuantiseOptions(
        weights, group, asymmetric or None, compute, scales, data, n, rounding
    )
    budgeted = BudgetOptions(budget, budget_bits_per_dim, report, plot)
    budgeted.check(precision, dtype, (checkpoint, out, data))
    stored: str | None = weights
    with stages("exporting") as at:

        def progress(line: str) -> None:
            say(f"exporting: {line}")
            at(line)

        if budgeted.budget is not None:
            with float32_bundle(checkpoint, out, options, progress) as bundle:
                plan = export_within(bundle, out, budgeted, precision, overwrite, progress, at)
            stored = plan.weights
        elif weights is not None:
            with float32_bundle(checkpoint, out, options, progress) as bundle:
                export_quantised(bundle, out, precision, overwrite, progress)
        elif (checkpoint / MANIFEST).is_file():
            options.refuse(checkpoint)
            recast(checkpoint, out, dtype, overwrite=overwrite, progress=progress)
        else:
            found = options.open(checkpoint)
            export_bundle(
                found.model,
                out,
                prior=found.prior,
                label_prior=found.label_prior,
                files=found.files,
                ignored_fields=found.ignored_fields,
                own=True,
                dtype=dtype,
                overwrite=overwrite,
                progress=progress,
            )
    quantised = "" if stored is None else f", weights in {stored}"
    say(f"exported in {dtype}{quantised} -> {out}")
    if not verify:
        return
    names = backends_for(out)
    say(f"verifying on {' and '.join(names)}: comparing with the known answers")
    # Steps on a few small rows gain little from more threads, which spin while they wait.
    reports = parity_reports(out, names, threads=threads)
    show(*parity_tables(reports))
    if not report_failures(reports):
        say(
            f"{out} does not keep the probabilities of {checkpoint}; do not use it on a backend "
            f"that fails"
        )
        raise typer.Exit(1)
