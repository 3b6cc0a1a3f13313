"""Hessians: X^T X of what matrix products read, summed over feeds."""

import numpy as np

from qlab.numerics.blockwise import hessian
from qlab.runtime import bar, check_feed, run


def hessians(session, names, feeds, model_name):
    """{name: X^T X, float64 [K, K]} of the outputs `names` [..., K] of an onnxruntime session, summed over `feeds`.

    Memory is that of one feed's outputs, and K^2 for each name; a tensor that is empty in every feed has none. Raises
    ValueError for a feed that does not fit the model `model_name`, and for NaN or infinity in a tensor, by its name.
    """
    sums, asked = {}, list(dict.fromkeys(names))
    for place, feed in enumerate(bar(feeds, "weighing inputs", unit="feed")):
        try:
            check_feed(session, feed, model_name)
            for name, x in zip(asked, run(session, feed, asked), strict=True):
                if x.size:
                    sums[name] = _of(name, x) + sums.get(name, np.float64(0))
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ValueError(f"feed {place} of the reader: {error}") from error
    return sums


def _of(name, x):
    try:
        return hessian(x)
    except ValueError as error:
        raise ValueError(f"tensor {name!r}: {error}") from error
