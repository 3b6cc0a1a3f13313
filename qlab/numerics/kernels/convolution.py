"""ConvInteger and QLinearConv: convolutions of codes, as one matrix product per group."""

from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from qlab.numerics.dtypes import plain_array, positive_scale, whole_number
from qlab.numerics.kernels.linear import tensor
from qlab.numerics.kernels.products import (
    BYTES,
    centered,
    output_multiplier,
    per_channel,
    requantize,
    scalar,
    wrap_int32,
)


def conv_integer(
    x, w, x_zero_point=None, w_zero_point=None, *,
    auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None,
):  # fmt: skip
    """ONNX ConvInteger: the convolution of x - x_zero_point with w - w_zero_point, int32.

    >>> x, w = np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2), np.int8)
    >>> conv_integer(x, w, np.uint8(1))
    array([[[[ 4,  8],
             [16, 20]]]], dtype=int32)

    x (N, C, d1, d2, ...), w (M, C/group, k1, k2, ...), each uint8 or int8; y (N, M, o1, o2, ...). x_zero_point: one
    number; w_zero_point: one number, or one per output channel (M,). pads: all beginnings, then all ends. Padding
    stands for the real number 0, so it holds x_zero_point. A sum beyond int32 wraps around.
    """
    window = _window(x, w, auto_pad, dilations, kernel_shape, pads, strides)
    return wrap_int32(_exact_convolution(x, w, x_zero_point, w_zero_point, group, *window))


def qlinear_conv(
    x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B=None, *,
    auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None,
):  # fmt: skip
    """ONNX QLinearConv: codes of the real convolution, with bias.

    y = saturate(round((x * w + B) * x_scale * w_scale / y_scale) + y_zero_point)

    >>> x, w = np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2), np.int8)
    >>> one, zero = np.float32(1), np.uint8(0)
    >>> qlinear_conv(x, one, np.uint8(1), w, one, np.int8(0), np.float32(8), zero, np.int32([4]))
    array([[[[1, 2],
             [2, 3]]]], dtype=uint8)

    As `conv_integer`; w_scale: one number, or one per output channel (M,). B: int32 (M,), in units of x_scale *
    w_scale, no zero point. Rounding: as in `requantize`.
    """
    window = _window(x, w, auto_pad, dilations, kernel_shape, pads, strides)
    total = _exact_convolution(x, w, x_zero_point, w_zero_point, group, *window)
    if B is not None:
        total += _over_output(tensor(B, "B", ("int32",)), w, "B")
    x_scale, w_scale, y_scale = (
        positive_scale(tensor(scale, name, ("float32",)), name)
        for scale, name in ((x_scale, "x_scale"), (w_scale, "w_scale"), (y_scale, "y_scale"))
    )
    multiplier = output_multiplier(scalar(x_scale, "x_scale"), _over_output(w_scale, w, "w_scale"), y_scale)
    return requantize(
        wrap_int32(total), multiplier, scalar(tensor(y_zero_point, "y_zero_point", BYTES), "y_zero_point")
    )


def _over_output(value, w, name):
    """`value` against y (N, M, o1, ...): one number, or (M,) -> (M, 1, ...)."""
    laid = per_channel(value, plain_array(w, "w"), name)
    return laid[..., 0] if laid.ndim else laid


def _window(x, w, auto_pad, dilations, kernel_shape, pads, strides):
    """(pads begin, pads end, strides, dilations) along the spatial axes, once the attributes are found consistent."""
    x_shape, kernel = np.shape(x)[2:], np.shape(w)[2:]
    n = len(kernel)
    if n == 0 or len(x_shape) != n or tuple(_whole_numbers(kernel_shape or kernel, "kernel_shape")) != kernel:
        raise ValueError(
            f"x {np.shape(x)}, w {np.shape(w)}, kernel_shape {kernel_shape}: expected x (N, C, d1, ...), "
            "w (M, C/group, k1, ...) with equally many spatial axes, and kernel_shape as w has it"
        )
    given = {"strides": strides or [1] * n, "dilations": dilations or [1] * n, "pads": pads or [0] * 2 * n}
    strides, dilations, pads = (_whole_numbers(numbers, name) for name, numbers in given.items())
    if len(strides) != n or len(dilations) != n or min(*strides, *dilations) < 1 or len(pads) != 2 * n or min(pads) < 0:
        raise ValueError(
            f"strides {strides}, dilations {dilations}, pads {pads} for {n} spatial axes: expected {n} strides and "
            f"dilations, at least 1, and {2 * n} pads, at least 0"
        )
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    auto_pad = auto_pad.decode() if isinstance(auto_pad, bytes) else auto_pad  # ONNX attributes carry bytes
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        total = [max((-(-d // s) - 1) * s + e - d, 0) for d, s, e in zip(x_shape, strides, extent, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + large if auto_pad == "SAME_UPPER" else large + small
    elif auto_pad not in ("NOTSET", "VALID"):
        raise ValueError(f"auto_pad {auto_pad!r}: expected NOTSET, SAME_UPPER, SAME_LOWER or VALID")
    elif auto_pad == "VALID":
        pads = [0] * 2 * n
    begin, end = pads[:n], pads[n:]
    if any(b + d + e < size for b, d, e, size in zip(begin, x_shape, end, extent, strict=True)):
        raise ValueError(f"kernel spans {extent}, more than x's {x_shape} with pads {list(pads)}")
    return begin, end, strides, dilations


def _whole_numbers(numbers, name):
    """`numbers` as a list of ints."""
    if isinstance(numbers, str) or not np.iterable(numbers):
        raise ValueError(f"{name} is {numbers!r}; expected whole numbers in a list")
    return [whole_number(number, name) for number in numbers]


def _exact_convolution(x, w, x_zero_point, w_zero_point, group, begin, end, strides, dilations):
    """The sums in float64, exact (see `products`): every window of x becomes a row, and is multiplied by w."""
    x, w, group = tensor(x, "x", BYTES), tensor(w, "w", BYTES), whole_number(group, "group")
    if group < 1 or x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        raise ValueError(
            f"x {x.shape}, w {w.shape}, group={group}: expected w (M, C/group, ...), M a multiple of group"
        )
    x = centered(x, x_zero_point, lambda value, _, name: scalar(value, name), "x_zero_point")
    w = centered(w, w_zero_point, per_channel, "w_zero_point")
    x = np.pad(x, [(0, 0), (0, 0), *zip(begin, end, strict=True)])
    extent = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    n = len(extent)
    windows = sliding_window_view(x, extent, axis=tuple(range(2, 2 + n)))  # (N, C, positions..., extent...)
    windows = windows[(..., *(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations))]
    out = windows.shape[2 : 2 + n]
    windows = windows.reshape(x.shape[0], group, -1, *windows.shape[2:])
    rows = np.moveaxis(windows, 2, 2 + n).swapaxes(0, 1)  # (group, N, out..., C/group, kernel...)
    rows = rows.reshape(group, x.shape[0] * prod(out), prod(w.shape[1:]))
    y = rows @ w.reshape(group, -1, prod(w.shape[1:])).swapaxes(1, 2)  # (group, N * out, M/group)
    y = np.moveaxis(y.reshape(group, x.shape[0], *out, -1), -1, 1)  # (group, M/group, N, out...)
    return np.moveaxis(y.reshape(-1, x.shape[0], *out), 1, 0)
