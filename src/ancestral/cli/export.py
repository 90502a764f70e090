"""`ancestral export`: a trained checkpoint becomes a bundle, and is verified."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ancestral.cli.checkpoint_folder import CheckpointOptions
from ancestral.cli.installed import backends_for, require
from ancestral.cli.options import Threads
from ancestral.cli.output import check_place, check_utf8, say, show
from ancestral.cli.present.parity_table import parity_tables
from ancestral.cli.verify import parity_reports, report_failures
from ancestral.errors import InvalidInput
from ancestral.progress import stages


def export(  # noqa: PLR0913 - the options of a command
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Folder that `ancestral train` wrote; that of a Hugging Face language or image "
            "model (GPT-2, ImageGPT, Llama, Mistral, Qwen2, Qwen3, GPT-NeoX), or of a diffusers "
            "AutoencoderKL; or a bundle in float32, which becomes one of 16 bits.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="BUNDLE", help="Folder of the bundle.")
    ],
    length: Annotated[
        int | None,
        typer.Option(
            help="Positions of an event, and so of the cache, for sequences shorter than the "
            "model was trained on. Default, of a Hugging Face model: its context, at most 4096.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Of a Hugging Face model: the id of the token before each text, or none. Default: "
            "bos_token_id, where the tokenizer has it.",
            metavar="ID|none",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Pixels of the images, of a diffusers model: a side, or HEIGHTxWIDTH.",
            metavar="SIDE",
        ),
    ] = None,
    pixel_scale: Annotated[
        float | None,
        typer.Option(
            help="Of a diffusers model: sigma of the Gaussian p(x | z), where levels span [-1, 1]. "
            "Default: 1.",
            metavar="SIGMA",
        ),
    ] = None,
    ignore_field: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore-field",
            help="Of a Hugging Face or diffusers model: a field of config.json that is unknown "
            "here and does not change what the model computes. May be given several times; the "
            "bundle keeps the names.",
            metavar="NAME",
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(
            help="Of weights, activations and caches; the last projection, the softmax, sums and "
            "draws are float32 in each."
        ),
    ] = "float32",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that is there.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Verify on every backend installed here.")
    ] = True,
    threads: Threads = None,
) -> None:
    """Export a checkpoint to ONNX graphs with known answers, and verify; exit 1 if that fails.

    The prior over codes of a VQ-VAE goes along.
    """
    require("export", ("torch", "onnx", "onnxscript"), "export")
    from ancestral.bundles.manifest import MANIFEST
    from ancestral.export.bundle import export_bundle
    from ancestral.export.recast import recast
    from ancestral.scalars import check_threads

    # An export takes minutes: what is wrong with its options is said before it.
    threads = 1 if threads is None else check_threads(threads, "--threads")
    check_place(out)
    check_utf8(out, "--out")
    check_utf8(checkpoint, "CHECKPOINT")
    if out.exists() and out.resolve() == checkpoint.resolve():
        raise InvalidInput(f"--out: {out} is the folder that is read: give another name")
    ignored = tuple(dict.fromkeys(ignore_field)) if ignore_field else None
    options = CheckpointOptions(length, size, pixel_scale, start, ignored)
    with stages("exporting") as at:

        def progress(line: str) -> None:
            say(f"exporting: {line}")
            at(line)

        if (checkpoint / MANIFEST).is_file():
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
    say(f"exported in {dtype} -> {out}")
    if not verify:
        return
    names = backends_for(out)
    say(f"verifying on {' and '.join(names)}: the known answers are replayed")
    # Steps of a few small rows gain little by more threads, which wait for each other busily.
    reports = parity_reports(out, names, threads=threads)
    show(*parity_tables(reports))
    if not report_failures(reports):
        say(f"{out} does not keep the probabilities of {checkpoint}: do not use it there")
        raise typer.Exit(1)
