"""Test and measure our kernels on a CUDA GPU.

    make gpu                                            everything, in at most 8 minutes
    python -m benchmarks.gpu --parts steps --out DIR    one part; rows and log go to DIR too
    python -m benchmarks.gpu --rehearse                 tiny sizes on the CPU, not results

The tests run first, then each part in its own process. A part reports a speed only if the result is
exact. Rows are appended to benchmarks/results/gpu-PART.jsonl. Exit status 1: a test or a comparison
failed, and its row was not written; 2: PyTorch is not installed.
"""

import sys
from importlib.util import find_spec

if __name__ == "__main__":
    if find_spec("torch") is None:
        print("skipped: everything, because torch is not installed")
        sys.exit(2)
    from benchmarks.gpu.run import main

    sys.exit(main(__doc__))
