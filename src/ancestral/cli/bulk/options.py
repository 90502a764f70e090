"""Options of the commands of `ancestral bulk`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli.installed import require
from ancestral.cli.options import input_option, output_option
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.bulk.job import Job

job_option = partial(typer.Option, rich_help_panel="Job")

Folder = Annotated[
    str,
    output_option(
        "-o",
        "--out",
        metavar="DIR",
        help="Folder of the parts, or a URL such as s3://bucket/folder. A folder that has the same "
        "job already is continued.",
    ),
]
FolderOfJob = Annotated[
    str, typer.Argument(metavar="DIR", help="Folder or URL of a job, as given with --out.")
]
DataFiles = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA",
        help="Files whose rows are numbered one after another: .npz (x, perhaps y), .npy, IDX, or "
        ".parquet (x, perhaps y).",
    ),
]
Levels = Annotated[
    int | None,
    input_option(metavar="N", help="Number of levels in the data; required with --binarise."),
]
PartSize = Annotated[
    int | None,
    job_option(
        metavar="N",
        help="Rows of a part, rounded up to whole batches. Default: 4096, or as in the folder.",
    ),
]
Batch = Annotated[
    int | None,
    job_option(
        metavar="N",
        help="Rows of a batch. Default: measured when the job is made, and then as in the folder.",
    ),
]
Shard = Annotated[
    str,
    job_option(
        metavar="I/N",
        help="Do the parts whose number is I modulo N. env reads I and N from Slurm's variables, "
        "env/N reads I from those of Slurm or Kubernetes.",
    ),
]
Workers = Annotated[
    int, job_option(metavar="K", help="Processes; they share the CPUs and the weights' memory.")
]
BundleOfJob = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel="Input",
        metavar="BUNDLE",
        help="Bundle folder. Default: where it was when the job was made.",
    ),
]


DataOfJob = Annotated[
    list[str] | None,
    typer.Option(
        rich_help_panel="Input",
        metavar="FILE",
        help="File of data of the job; repeated for several, in their order. Default: where they "
        "were when the job was made.",
    ),
]


def data_of(job: "Job", data: list[str] | None) -> list[str] | None:
    """Return the files of data of a job; None for where they were.

    Raises:
        InvalidInput: the job has another number of files.
    """
    if data and len(data) != len(job.data):
        raise InvalidInput(
            f"--data: expected as many files as the job has, {len(job.data)}, got {len(data)}"
        )
    return data or None


def levels_of(binarise: bool, levels: int | None) -> int | None:
    """Return the number of levels of data to make binary; None to leave them as they are.

    Raises:
        InvalidInput: one of the options is given without the other, or `levels` is less than 3.
    """
    from ancestral.scalars import whole

    if levels is not None and not binarise:
        raise InvalidInput("--levels: only used with --binarise; leave it out")
    if binarise and levels is None:
        raise InvalidInput(
            "`--levels` is required with --binarise; pass the number of levels of the data, for "
            "example --levels 256"
        )
    return None if levels is None else whole("--levels", levels, 3)


def require_packages() -> None:
    """Check that the packages of `ancestral bulk` are installed.

    Raises:
        BackendUnavailable: a package is missing; the error says what to install.
    """
    require("bulk", ("pyarrow", "fsspec"), "bulk")
