"""Exercise 04.1: the shape of the scales, and wrong shapes by name."""

import math


def scale_shape(shape, axis, block_size):
    """(shape, [(mistake, the shape that comes of it), ...]): the shape, by counting groups along each axis."""
    kept = axis % len(shape)
    groups = [len({index if block_size is None else index // block_size for index in range(n)}) for n in shape]
    others = shape[:kept] + shape[kept + 1 :]
    mirrored = "axis -1 is the last one, -2 the one before: abs(axis) counts from the wrong end; take axis % len(shape)"
    if block_size is None:
        return (groups[kept],), [
            ("`axis` is the one that is kept, not the one that goes", others),
            ("PerAxis scales are one-dimensional, as ONNX wants them: no axes of length 1",
             tuple(n if i == kept else 1 for i, n in enumerate(shape))),
            ("a negative axis counts from the end", ()),
            (mirrored, shape[abs(axis) : abs(axis) + 1] if axis < 0 else None),
            ("-axis is not the axis counted from the end", shape[-axis - 1 : -axis or None] if axis < 0 else None),
            ("this is how many numbers share a scale, not how many scales there are", (math.prod(others),)),
            ("this is how many numbers the tensor has: PerAxis shares over all other axes", (math.prod(shape),)),
            ("with block_size=None there are no blocks: one axis is kept, all others share", shape),
            ("the axes but the last are kept: that is per token", (*shape[:-1], 1)),
            ("one scale for all would have the shape (); here each index of `axis` has its own", (1,)),
            *(
                (f"this is the length of axis {other}, and axis {axis} is asked for", (length,))
                for other, length in enumerate(shape)
            ),
        ]  # fmt: skip
    cut = lambda blocks: tuple(blocks if i == kept else n for i, n in enumerate(shape))
    behind = shape if kept == len(shape) - 1 else shape[kept + 1 :]
    away = abs(axis) if axis < 0 else None
    return cut(groups[kept]), [
        ("the last block may be short, and it needs a scale as well", cut(shape[kept] // block_size)),
        ("the other axes are not shared: each of their indices has blocks of its own", (groups[kept],)),
        ("there is a block more than the numbers need", cut(shape[kept] // block_size + 1)),
        ("the quotient was rounded to the nearest number; round up, or the short last block has no scale",
         cut(round(shape[kept] / block_size))),
        ("every axis was cut; only `axis` is", tuple(groups)),
        ("of a negative axis, axis + 1 is no place behind it: take axis % len(shape) first",
         (*shape[:kept], groups[kept], *behind)),
        (mirrored, None if away is None or away >= len(shape) else tuple(
            -(-n // block_size) if i == away else n for i, n in enumerate(shape))),
        ("a negative axis counts from the end", shape),
        ("the axis that is cut does not vanish: the number of its blocks stands in its place", others),
        ("the axes behind `axis` were dropped", cut(groups[kept])[: kept + 1]),
        ("the axes before `axis` were dropped", cut(groups[kept])[kept:]),
        ("the number of blocks belongs in the place of `axis`, not in front", (groups[kept], *others)),
        ("the number of blocks belongs in the place of `axis`, not behind the others", (*others, groups[kept])),
        ("that is block_size itself; the shape has the *number* of blocks there", cut(block_size)),
        ("the number of blocks and block_size both stand there; a block has one scale",
         (*shape[:kept], groups[kept], block_size, *shape[kept + 1 :])),
        ("a block has one scale, whatever it holds: no axis of length 1 is needed", (*cut(groups[kept]), 1)),
        ("the other axes keep their length: each of their indices has blocks of its own",
         tuple(groups[kept] if i == kept else 1 for i in range(len(shape)))),
        ("the blocks run along `axis` only, not through all numbers of the tensor", (math.prod(shape) // block_size,)),
        ("the blocks run along `axis` only, not through all numbers of the tensor",
         (-(-math.prod(shape) // block_size),)),
        ("the short last block is one block, however many numbers it holds",
         cut(shape[kept] // block_size + shape[kept] % block_size)),
        ("`axis` is the one that is cut; here all others were", tuple(
            n if i == kept else group for i, (n, group) in enumerate(zip(shape, groups, strict=True)))),
        *(
            (f"axis {other} was cut, and axis {axis} is asked for",
             tuple(group if i == other else n for i, (n, group) in enumerate(zip(shape, groups, strict=True))))
            for other in range(len(shape))
        ),
        ("this is PerAxis's shape; with a block_size the axis is cut, and the others stay", (shape[kept],)),
    ]  # fmt: skip
