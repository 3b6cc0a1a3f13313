"""Wrong answers to the exercises of notebook 02: name, code in the stub's place, what the refusal must say."""

SYMMETRIC = """\
def symmetric_qparams(x):
    largest = np.abs(x).max()
    return {}
"""

RELU = """\
def quantize_relu(x):
    largest = max(float(x.max()), 1e-30)
    scale = np.float32({scale})
    codes = {codes}
    decoded = scale * np.asarray(codes, np.float32)
    noise = np.linalg.norm((x - decoded).ravel())
    sqnr = {sqnr}
    return codes, scale, sqnr
"""
ROUND = "np.rint(x / scale).astype(np.uint8)"
SQNR = "20 * np.log10(np.linalg.norm(x.ravel()) / noise) if noise else np.inf"

CHOSEN = """\
chosen = {
    "conv weight": "symmetric int8",
    "feed-forward weight": "symmetric int8",
    "filter banks": "asymmetric uint8",
    "ReLU": "symmetric uint8",
    "SiLU": "asymmetric uint8",
    "LayerNorm": "symmetric int8",
    "softmax": "symmetric uint8",
    "log-probabilities": "asymmetric uint8",
}
"""


def relu(scale="largest / 255", codes=ROUND, sqnr=SQNR):
    return RELU.format(scale=scale, codes=codes, sqnr=sqnr)


def chosen(**changes):
    renamed = {name.replace("_", " "): scheme for name, scheme in changes.items()}
    return f"{CHOSEN}chosen |= {renamed}\n"


WRONG_ANSWERS = {
    "02.1": [
        (
            "divides by 128",
            SYMMETRIC.format("(largest / 128 if largest else 1.0), 0"),
            "it errs by a whole step",
        ),
        (
            "divides by 127.5",
            SYMMETRIC.format("(largest / 127.5 if largest else 1.0), 0"),
            "half a step beyond the last code",
        ),
        (
            "divides by 255",
            SYMMETRIC.format("(largest / 255 if largest else 1.0), 0"),
            "int8 has 127 there",
        ),
        (
            "looks at the positive end only",
            "def symmetric_qparams(x):\n    return (x.max() / 127 if x.any() else 1.0), 0\n",
            "looks at the positive end only",
        ),
        (
            "looks at the negative end only",
            "def symmetric_qparams(x):\n    return (-x.min() / 127 if x.any() else 1.0), 0\n",
            "looks at the negative end only",
        ),
        (
            "the asymmetric scale",
            "def symmetric_qparams(x):\n    return ((x.max() - x.min()) / 255 if x.any() else 1.0), 0\n",
            "the asymmetric scale",
        ),
        (
            "forgets the tensor of zeros",
            SYMMETRIC.format("largest / 127, 0"),
            "where all is 0, use scale 1",
        ),
        (
            "returns the zero point first",
            SYMMETRIC.format("0, (largest / 127 if largest else 1.0)"),
            "return the scale first",
        ),
        (
            "the mid-code of uint8 as zero point",
            SYMMETRIC.format("(largest / 127 if largest else 1.0), 128"),
            "symmetric codes mirror at the code 0",
        ),
        (
            "returns the scale alone",
            SYMMETRIC.format("largest / 127"),
            "expected two values, scale and zero_point",
        ),
    ],
    "02.2": [
        (
            "codes of 32 bits",
            relu(codes="np.rint(x / scale).astype(np.int32)"),
            "expected 8-bit codes",
        ),
        (
            "symmetric int8",
            relu("largest / 127", "np.rint(x / scale).astype(np.int8)"),
            "symmetric int8: no value needs a negative code",
        ),
        (
            "asymmetric int8, zero point -128",
            relu(codes="np.clip(np.rint(x / scale) - 128, -128, 127).astype(np.int8)"),
            "with no zero point",
        ),
        (
            "stored as int8, which wraps around",
            relu(codes="np.rint(x / scale).astype(np.uint8).view(np.int8)"),
            "store the codes as uint8",
        ),
        (
            "divides by 256 and does not clip",
            relu("largest / 256", "np.rint(x / scale)"),
            "8 bits hold 0 to 255",
        ),
        (
            "divides by 256 and clips",
            relu("largest / 256", "np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)"),
            "largest / 256",
        ),
        (
            "rounds down",
            relu(codes="np.floor(x / scale).astype(np.uint8)"),
            "these are rounded down",
        ),
        (
            "does not round",
            relu(codes="x / scale"),
            "expected whole numbers",
        ),
        (
            "a ratio of squares under 20 log10",
            relu(sqnr="20 * np.log10(np.sum(x.astype(float) ** 2) / noise.astype(float) ** 2) if noise else np.inf"),
            "this is twice as much",
        ),
        (
            "a ratio of norms under 10 log10",
            relu(sqnr="10 * np.log10(np.linalg.norm(x.ravel()) / noise) if noise else np.inf"),
            "this is half of it",
        ),
        (
            "noise over signal",
            relu(sqnr="20 * np.log10(noise / np.linalg.norm(x.ravel())) if x.any() else np.inf"),
            "signal and noise have changed places",
        ),
        (
            "divides by zero where the ReLU never fires",
            relu("x.max() / 255", "np.nan_to_num(np.rint(x / scale)).astype(np.uint8)"),
            "where all is 0, use scale 1",
        ),
        (
            "returns the codes alone",
            "def quantize_relu(x):\n    return np.rint(x / (x.max() / 255)).astype(np.uint8)\n",
            "expected three values",
        ),
    ],
    "02.3": [
        (
            "symmetric int8 for all, as for weights",
            'chosen = dict.fromkeys(tensors, "symmetric int8")',
            "half of int8's codes lie idle",
        ),
        (
            "asymmetric for all",
            'chosen = dict.fromkeys(tensors, "asymmetric uint8")',
            "tensors have a zero point other than 0",
        ),
        (
            "symmetric uint8 for all",
            'chosen = dict.fromkeys(tensors, "symmetric uint8")',
            "symmetric int8 in other clothes",
        ),
        (
            "symmetric int8 behind the ReLU",
            chosen(ReLU="symmetric int8"),
            "Look at 'ReLU'",
        ),
        (
            "softmax taken for a tensor with two sides",
            chosen(softmax="symmetric int8"),
            "Look at 'softmax'",
        ),
        (
            "a zero point for the conv weight instead of the filter banks",
            chosen(conv_weight="asymmetric uint8", filter_banks="symmetric int8"),
            "The one spent on 'conv weight' gains less",
        ),
        (
            "a zero point for LayerNorm instead of the SiLU",
            chosen(LayerNorm="asymmetric uint8", SiLU="symmetric int8"),
            "The one spent on 'LayerNorm' gains less",
        ),
        (
            "a zero point left unspent",
            chosen(filter_banks="symmetric int8"),
            "you have spent 2 of 3",
        ),
        (
            "unsigned codes for a SiLU, as for a ReLU",
            chosen(SiLU="symmetric uint8"),
            "zero point is the mid-code 128",
        ),
        (
            "a scheme that does not exist",
            chosen(SiLU="uint8"),
            "expected one of 'symmetric int8'",
        ),
        (
            "seven of eight",
            "chosen = {name: 'symmetric int8' for name in tensors if name != 'ReLU'}",
            "missing: ['ReLU']",
        ),
    ],
}
