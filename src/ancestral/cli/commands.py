"""The commands in groups, with examples."""

from collections.abc import Callable

from ancestral.cli.bench import bench
from ancestral.cli.bound import bound
from ancestral.cli.bulk import folder as bulk_folder
from ancestral.cli.bulk import sample as bulk_sample
from ancestral.cli.bulk import scores as bulk_scores
from ancestral.cli.check_causality import check_causality
from ancestral.cli.classify import classify
from ancestral.cli.compare import compare
from ancestral.cli.compile import compile
from ancestral.cli.doctor import doctor
from ancestral.cli.export import export
from ancestral.cli.info import info
from ancestral.cli.latent_pictures import interpolate, latent_grid, reconstruct
from ancestral.cli.latents import decode, encode
from ancestral.cli.log_prob import log_prob
from ancestral.cli.plans import plans
from ancestral.cli.sample import sample
from ancestral.cli.serve import serve
from ancestral.cli.train import train
from ancestral.cli.verify import verify

EXAMPLES = (
    "ancestral train --recipe digits -o run",
    "ancestral export run -o bundle",
    "ancestral verify bundle",
    "ancestral sample bundle -n 64 --label 3 -o out.png",
)
"""Examples of `ancestral --help`; the files are those of README.md."""
COMMANDS: dict[str, dict[Callable[..., None], tuple[str, ...]]] = {
    "Train and export": {
        train: (
            "ancestral train --recipe digits -o run",
            "ancestral train --recipe digits --model vae -o run3",
            "ancestral train --recipe text-small --data text:book.txt -o run4",
            "ancestral train --recipe digits -o run --resume",
        ),
        check_causality: (
            "ancestral check-causality run",
            "ancestral check-causality gpt2-folder --positions 16",
        ),
        export: (
            "ancestral export run -o bundle",
            "ancestral export gpt2-folder -o text",
            "ancestral export autoencoder-folder --size 64 -o bundle2",
            "ancestral export bundle --dtype bfloat16 -o bundle16",
        ),
        info: ("ancestral info bundle", "ancestral info bundle --check --json"),
    },
    "Sample": {
        sample: (
            "ancestral sample bundle -n 64 --label 3 -o out.png",
            "ancestral sample bundle -n 1000 --seed 1 -o samples.npz",
            "ancestral sample bundle --observed half.npz --particles 64 -o out.png",
            'ancestral sample text --prompt "Once upon" --max-new 40 --top-p 0.9',
        ),
    },
    "Score": {
        log_prob: (
            "ancestral log-prob bundle data.npz",
            "ancestral log-prob bundle data.npz --label 3 -o log_prob.npz",
            "ancestral log-prob text --text book.txt",
        ),
        classify: (
            "ancestral classify bundle data.npz",
            "ancestral classify bundle data.npz -o classes.npz",
        ),
        bound: (
            "ancestral bound vae-bundle data.npz -k 1000",
            "ancestral bound vae-bundle data.npz -o bound.npz",
        ),
    },
    "Images and latents": {
        encode: (
            "ancestral encode vae-bundle data.npz -o latents.npz",
            "ancestral encode vae-bundle data.npz --backend torch -o latents.npz",
        ),
        decode: (
            "ancestral decode vae-bundle latents.npz -o means.png",
            "ancestral decode vae-bundle latents.npz -o means.npz",
        ),
        reconstruct: (
            "ancestral reconstruct vae-bundle data.npz -o strip.png",
            "ancestral reconstruct vae-bundle data.npz -o means.npz",
        ),
        interpolate: (
            "ancestral interpolate vae-bundle data.npz -o between.png",
            "ancestral interpolate vae-bundle data.npz --path spherical -n 4 -o out.png",
        ),
        latent_grid: (
            "ancestral latent-grid vae-bundle -o grid.png",
            "ancestral latent-grid vae-bundle --side 20 --dimensions 0,1 -o grid.png",
        ),
    },
    "Serve": {
        serve: (
            "ancestral serve text",
            "ancestral serve bundle text --host 0.0.0.0 --api-key-file keys.txt",
        ),
    },
    "Backends and checks": {
        verify: (
            "ancestral verify bundle",
            "ancestral verify bundle --backend onnxruntime --json",
            "ancestral verify bundle --backend onnxruntime --trace",
        ),
        compare: (
            "ancestral compare bundle16 bundle --data data.npz",
            "ancestral compare bundle bundle --source-backend torch --data data.npz",
            "ancestral compare text scores.jsonl --plot loss.png -o loss.json",
        ),
        bench: (
            "ancestral bench bundle",
            "ancestral bench bundle --backend onnxruntime --batch 1,64 -o rows.jsonl",
        ),
        compile: (
            "ancestral compile bundle --target sm_89",
            "ancestral compile bundle --target sm_89 --batch 1,8,32 --graph step",
        ),
        plans: ("ancestral plans", "ancestral plans --json", "ancestral plans --remove all"),
        doctor: ("ancestral doctor", "ancestral doctor --json"),
    },
}
"""The commands by group, with the examples of their help; the files are those of README.md."""
BULK: dict[Callable[..., None], tuple[str, ...]] = {
    bulk_sample.sample: (
        "ancestral bulk sample bundle -n 1000000 --seed 1 -o samples",
        "ancestral bulk sample bundle -n 1000000 --seed 1 -o samples --workers 2",
        "ancestral bulk sample bundle -n 1000000 --seed 1 -o samples --shard 3/8",
        "ancestral bulk sample text -n 100 --prompts book.txt --max-new 40 -o texts",
    ),
    bulk_scores.log_prob: (
        "ancestral bulk log-prob bundle data.npz -o scores",
        "ancestral bulk log-prob text texts.jsonl -o scores-of-texts",
    ),
    bulk_scores.classify: (
        "ancestral bulk classify bundle data.npz -o classes",
        "ancestral bulk classify bundle data.npz -o classes --workers 2",
    ),
    bulk_scores.bound: (
        "ancestral bulk bound vae-bundle data.npz -k 1000 -o bounds",
        "ancestral bulk bound vae-bundle data.npz -k 1000 -o bounds --workers 2",
    ),
    bulk_scores.encode: (
        "ancestral bulk encode vae-bundle data.npz -o latents",
        "ancestral bulk encode vae-bundle data.npz -o latents --workers 2",
    ),
    bulk_folder.status: ("ancestral bulk status samples", "ancestral bulk status samples --json"),
    bulk_folder.check: (
        "ancestral bulk check samples",
        "ancestral bulk check samples --share 0.001",
    ),
    bulk_folder.merge: (
        "ancestral bulk merge samples -o samples.parquet",
        "ancestral bulk merge scores -o scores.parquet",
    ),
}
"""The commands of `ancestral bulk`, with the examples of their help."""
