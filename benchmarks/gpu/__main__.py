"""Prove and measure our kernels on a CUDA GPU.

    make gpu                                            everything, in 8 minutes at most
    python -m benchmarks.gpu --parts steps --out DIR    one part; rows and the log to DIR too
    python -m benchmarks.gpu --rehearse                 tiny sizes on the CPU: no results

Tests first, then each part in a process of its own, which reports no speed of what it does not find
exact. Rows go to benchmarks/results/gpu-PART.jsonl. Exit status 1: a test or a comparison failed,
and of that no row was written; 2: there is no PyTorch.
"""

import sys
from importlib.util import find_spec

if __name__ == "__main__":
    if find_spec("torch") is None:
        print("skipped: everything, because torch is not installed")
        sys.exit(2)
    from benchmarks.gpu.run import main

    sys.exit(main(__doc__))
