"""scikit-learn's handwritten digits: 1,797 images, 8 x 8, 17 grey levels, 10 classes.

References:
    Alpaydin and Kaynak (1998), Optical recognition of handwritten digits, UCI Machine Learning
    Repository, doi:10.24432/C50P49; scikit-learn ships its test part.
"""

import numpy as np

from ancestral.dataspec import DataSpec
from ancestral.train.data.dataset import Dataset, Split, cut, random_split

SPEC = DataSpec(name="digits", event_shape=(8, 8), levels=17, num_classes=10)
COUNT, TEST, VALIDATION = 1797, 360, 144


def load_digits(split: Split | None = None) -> Dataset:
    """Load the digits, split by numpy.random.default_rng(0).permutation(1797).

    The first 360 indices are the test part, the next 144 validation, the last 1,293 training.
    Events have shape [8, 8], values 0 .. 16 and labels 0 .. 9.

    Args:
        split: another split, for example that of a checkpoint.

    Raises:
        ImportError: scikit-learn is not installed.
        InvalidInput: `split` has indices above 1,796.
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    if split is None:
        split = random_split(COUNT, test=TEST, validation=VALIDATION, seed=0)
    x = bunch.images.reshape(COUNT, -1).astype(np.int64)
    return cut(SPEC, x, bunch.target.astype(np.int64), split)
