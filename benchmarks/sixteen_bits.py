"""The cost of 16 bits in nats: a model's modules in bfloat16 and float16, compared with float64.

    python -m benchmarks.sixteen_bits            the toy models of the tests
    python -m benchmarks.sixteen_bits BUNDLE     a bundle's model

It runs PyTorch on the CPU: the error is that of the dtype, whatever the backend. The 16-bit
tolerances in ancestral.parity are twice the worst error of the toy models.
"""

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends.programs import load_weights
from ancestral.engine.verify import kl_divergence
from ancestral.export.known_answers import known_answers
from ancestral.train.models.autoregressive import AutoregressiveModel
from tests.toys import TOYS, make

DTYPES = (torch.bfloat16, torch.float16)


def errors(model: AutoregressiveModel, dtype: torch.dtype) -> tuple[int, float, float, float]:
    """Return the positions, and the largest error in nats/position, in KL and in the CDF."""
    answers = known_answers(model)
    x = torch.as_tensor(answers["x"])
    label = torch.as_tensor(answers["label"]) if "label" in answers else None
    with torch.no_grad():
        exact = copy.deepcopy(model).double().logits(x, label).log_softmax(-1)
        narrow = copy.deepcopy(model).to(dtype)
        log_prob = narrow.position_log_prob(x, label).double().numpy()
        near = narrow.logits(x, label).double().log_softmax(-1)
    event = np.abs((log_prob - answers["log_prob"]).sum(axis=1)).max() / x.shape[1]
    kl = kl_divergence(exact.numpy(), near.numpy()).max()
    cdf = (near.exp().cumsum(-1) - exact.exp().cumsum(-1)).abs().max()
    return x.shape[1], float(event), float(kl), float(cdf)


def models(bundles: list[Path]) -> Iterator[tuple[str, AutoregressiveModel]]:
    """Yield the bundles' models, or the toy models."""
    if not bundles:
        yield from ((name, make(name)) for name in TOYS)
    for path in bundles:
        model = load_weights(Bundle.open(path), None).eval()
        if not isinstance(model, AutoregressiveModel):
            raise SystemExit(f"{path}: expected the bundle of an autoregressive model")
        yield path.name, model


def main() -> None:
    """Print a line for each model and dtype."""
    parser = argparse.ArgumentParser(description="The cost of 16 bits in nats.")
    parser.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE")
    print(f"{'model':<12} {'type':<10} {'T':>5} {'nats/position':>14} {'KL':>9} {'cdf':>9}")
    for name, model in models(parser.parse_args().bundles):
        for dtype in DTYPES:
            t, event, kl, cdf = errors(model, dtype)
            kind = str(dtype).removeprefix("torch.")
            print(f"{name:<12} {kind:<10} {t:>5} {event:>14.2g} {kl:>9.2g} {cdf:>9.2g}")


if __name__ == "__main__":
    main()
