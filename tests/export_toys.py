"""Export of toys by name."""

from pathlib import Path

from ancestral.export.bundle import export_bundle
from tests.latent_toys import LARGE_TOYS, LATENT_TOYS, PRIOR_GRAPHS, make_latent, make_prior
from tests.sharp_toy import SHARP, SHARP_GRAPHS, make_sharp
from tests.text_toys import LONG, export_text
from tests.toys import GRAPHS, make


def export_toy(toy: str, out: Path) -> None:
    """Export a toy, with the graphs that the tests use."""
    if toy == "text":
        export_text(out)
    elif toy == "long_text":
        export_text(out, LONG)
    elif toy == SHARP:
        export_bundle(make_sharp(), out, graphs=SHARP_GRAPHS)
    elif toy in (*LATENT_TOYS, *LARGE_TOYS):
        export_bundle(make_latent(toy), out, prior=make_prior(toy), graphs=PRIOR_GRAPHS)
    else:
        export_bundle(make(toy), out, graphs=GRAPHS[toy])
