"""Wrong answers to the exercises of notebook 01: name, code in the stub's place, what the refusal must say."""


def _qparams(*lines):
    return "\n    ".join(["def qparams(low, high, quant_min, quant_max):", *lines])


def _to_codes(*lines):
    return "\n    ".join(["def to_codes(x, scale, zero_point):", *lines])


def _both(to_real, error_bound):
    return (
        f"def to_real(q, scale, zero_point):\n    return {to_real}\n\n\n"
        f"def error_bound(x, scale, zero_point):\n    return {error_bound}\n"
    )


def _best_range(*lines):
    return "\n    ".join(["def best_range(x):", *lines])


WIDEN = "low, high = min(low, 0.0), max(high, 0.0)"
SCALE = "scale = (high - low) / (quant_max - quant_min) if high > low else 1.0"
ROUND = "return scale, int(np.clip(np.rint(quant_min - low / scale), quant_min, quant_max))"
REAL = "(np.asarray(q).astype(np.float32) - np.float32(zero_point)) * scale"
BOUND = "np.maximum(scale / 2, np.maximum((0.0 - zero_point) * scale - x, x - (255.0 - zero_point) * scale))"
INSIDE = "kept = x[(x >= share * x.min()) & (x <= share * x.max())]"

WRONG_ANSWERS = {
    "01.1": [
        (
            "zero_point neither rounded nor clipped",
            _qparams(WIDEN, SCALE, "return scale, quant_min - low / scale"),
            "it is one of the codes, so round it",
        ),
        (
            "a range that leaves out 0",
            _qparams(SCALE, "return scale, int(np.rint(quant_min - low / scale))"),
            "which is not one of the codes: the range leaves out 0",
        ),
        (
            "a range that leaves out 0, zero_point clipped to hide it",
            _qparams(SCALE, ROUND),
            "the range leaves out 0",
        ),
        (
            "division by zero on a tensor of zeros",
            _qparams(WIDEN, "scale = (high - low) / (quant_max - quant_min)", ROUND),
            "ZeroDivisionError",
        ),
        (
            "scale computed before 0 is taken in",
            _qparams("scale = np.float64(high - low) / (quant_max - quant_min)", WIDEN, ROUND),
            "the range leaves out 0",
        ),
        (
            "a zero_point that is always 0",
            _qparams(WIDEN, "scale = np.float64(high - low) / (quant_max - quant_min)", "return scale, 0 * low"),
            "zero_point for the range",
        ),
        (
            "one step for each code",
            _qparams(WIDEN, "scale = (high - low) / (quant_max - quant_min + 1) or 1.0", ROUND),
            "256 codes have 255 steps between them",
        ),
        (
            "zero_point cut off instead of rounded",
            _qparams(WIDEN, SCALE, "return scale, int(quant_min - low / scale)"),
            "round to the nearest code",
        ),
        (
            "zero_point with its sign turned",
            _qparams(WIDEN, SCALE, "return scale, int(np.rint(quant_min + low / scale))"),
            "is a sign turned",
        ),
        (
            "zero_point first",
            _qparams(WIDEN, SCALE, "zero_point = int(np.rint(quant_min - low / scale))", "return zero_point, scale"),
            "return the scale first",
        ),
    ],
    "01.2": [
        (
            "floor for round",
            _to_codes("return np.clip(np.floor(x / scale) + np.float32(zero_point), 0, 255).astype(np.uint8)"),
            "floor takes the mark below",
        ),
        (
            "a cast for round",
            _to_codes("return np.clip((x / scale).astype(int) + int(zero_point), 0, 255).astype(np.uint8)"),
            "casting to an integer cuts off the fraction",
        ),
        (
            "zero_point added before rounding",
            _to_codes("return np.clip(np.rint(x / scale + zero_point), 0, 255).astype(np.uint8)"),
            "zero_point was added before rounding",
        ),
        (
            "halfway always up",
            _to_codes("return np.clip(np.floor(x / scale + 0.5) + zero_point, 0, 255).astype(np.uint8)"),
            "halfway goes to the even code",
        ),
        (
            "cast to uint8 before saturating",
            _to_codes("return (np.rint(x / scale) + zero_point).astype(np.int64).astype(np.uint8)"),
            "an integer cast of what does not fit wraps around",
        ),
        (
            "cast to uint8, then clipped in vain",
            _to_codes(
                "q = np.rint(x / scale).astype(np.int64) + zero_point", "return np.clip(q.astype(np.uint8), 0, 255)"
            ),
            "wraps around",
        ),
        (
            "cast to int32 before saturating",
            _to_codes(
                "q = np.rint(x / scale).astype(np.int32) + np.int32(zero_point)",
                "return np.clip(q, 0, 255).astype(np.uint8)",
            ),
            "clip to 0 ... 255 while the numbers are still float",
        ),
        (
            "codes left as float",
            _to_codes("return np.clip(np.rint(x / scale) + zero_point, 0, 255)"),
            "expected dtype uint8, seen float32",
        ),
        (
            "zero_point forgotten",
            _to_codes("return np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)"),
            "zero_point is missing",
        ),
    ],
    "01.3": [
        (
            "subtracted in uint8",
            _both("((q - zero_point) * scale).astype(np.float32)", BOUND),
            "codes below zero_point wrapped around",
        ),
        (
            "zero_point subtracted after multiplying",
            _both("q.astype(np.float32) * scale - zero_point", BOUND),
            "subtract zero_point before multiplying",
        ),
        (
            "zero_point added",
            _both("(q.astype(np.float32) + zero_point) * scale", BOUND),
            "the way back subtracts it",
        ),
        (
            "half a step everywhere, clipping forgotten",
            _both(REAL, "np.full(x.shape, scale / 2)"),
            "the error is the way to the end",
        ),
        (
            "a whole step",
            _both(REAL, f"np.maximum({BOUND}, scale)"),
            "rounding to the nearest mark errs by half a step at most",
        ),
        (
            "a quarter of a step, the mean error",
            _both(REAL, "np.maximum(scale / 4, np.maximum(-255.0 * scale, 0 * x))"),
            "the bound says",
        ),
        (
            "the error itself instead of a bound",
            _both(REAL, "np.abs(x - (np.clip(np.rint(x / scale) + zero_point, 0, 255) - zero_point) * scale)"),
            "A bound is known before quantizing",
        ),
        (
            "one number, the worst of all",
            _both(REAL, f"np.max({BOUND})"),
            "is enough",
        ),
    ],
    "01.4": [
        (
            "min-max: clipping loses information",
            _best_range("return x.min(), x.max()"),
            "Clipping does lose information, but so does rounding",
        ),
        (
            "three standard deviations, whatever the tensor",
            _best_range("return -3 * x.std(), 3 * x.std()"),
            "the marks out there are wasted",
        ),
        (
            "half of min-max, whatever the tensor",
            _best_range("return x.min() / 2, x.max() / 2"),
            "too narrow",
        ),
        (
            "a fixed percentile, whatever the tensor",
            _best_range("return np.percentile(x, 0.1), np.percentile(x, 99.9)"),
            "Measure, and try narrower ones",
        ),
        (
            "only the errors inside the range counted",
            _best_range(
                "def error(share):",
                f"    {INSIDE}",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint4')",
                "    return np.mean((kept - fake_quantize(kept, qparams)) ** 2)",
                "share = min(np.linspace(0.02, 1, 40), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "too narrow",
        ),
        (
            "the largest error made small",
            _best_range(
                "def error(share):",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint4')",
                "    return np.max(np.abs(x - fake_quantize(x, qparams)))",
                "share = min(np.linspace(0.02, 1, 40), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "more noise than the best range",
        ),
        (
            "high before low",
            _best_range("return x.max(), x.min()"),
            "expected low < high",
        ),
        (
            "the qparams instead of the range",
            _best_range("return qparams_from_range(x.min(), x.max(), 'uint4')"),
            "expected (low, high)",
        ),
    ],
}
