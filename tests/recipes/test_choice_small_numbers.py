"""What a Log, a root or a quotient computes from keeps its small numbers: speech, from its spectrum on."""

import numpy as np
import pytest

from qlab import calibration, models, recipes
from tests.builders.blocks import FLOAT, node, noise, save, value, weights
from tests.builders.making import RECIPES, fates, made

SAMPLES, WINDOW, HOP, BINS, MEL = 16_000, 320, 160, 64, 20


def spectrum(folder, *, curve="Log", square="Mul", floor="Max", mel=False, pointwise=False):
    """An audio network as DNSMOS is one: its STFT is two convolutions, and a network reads what `curve` makes of it."""
    angle = 2 * np.pi * np.outer(np.arange(BINS) + 1, np.arange(WINDOW)) / WINDOW
    bases = {"cosine": np.cos(angle) * np.hanning(WINDOW), "sine": np.sin(angle) * np.hanning(WINDOW)}
    w = {name: basis.astype(np.float32)[:, None] for name, basis in bases.items()}
    w |= {"two": np.float32(2), "third": np.float32(1 / 3), "least": np.float32(1e-6), "frames": np.array([1, -1, HOP]),
          "row": np.array([1, 1, -1]), "picture": np.array([1, 1, MEL if mel else BINS, -1]),
          "k1": weights(8, 1, 3, 3), "b1": noise(8), "k2": weights(8, 8, 3, 3, seed=1), "dense": weights(8, 3, seed=2),
          "triangles": np.maximum(0, 1 - np.abs(np.arange(BINS) / 3 - np.arange(MEL)[:, None])).astype(np.float32),
          "heads": np.array([0, HOP]), "ends": np.array([SAMPLES - HOP, SAMPLES]), "axis": np.array([1])}  # fmt: skip
    if pointwise:  # two halves of each window, as frames of the samples beside each other
        nodes = []
        for k in (0, 1):
            w |= {f"from{k}": np.array([k * HOP]), f"to{k}": np.array([SAMPLES - HOP + k * HOP])}
            nodes += [node("Slice", ["x", f"from{k}", f"to{k}", "axis"], [f"s{k}"], f"half{k}"),
                      node("Reshape", [f"s{k}", "frames"], [f"f{k}"], f"frames{k}")]  # fmt: skip
        nodes += [node("Concat", ["f0", "f1"], ["windows"], "windows", axis=2),
                  node("Transpose", ["windows"], ["heard"], "channels", perm=[0, 2, 1])]  # fmt: skip
        w |= {name: np.ascontiguousarray(w[name].transpose(0, 2, 1)) for name in bases}
        options = {}
    else:
        nodes, options = [node("Reshape", ["x", "row"], ["heard"], "row")], {"strides": [HOP]}
    for name in bases:
        raised = [f"{name}_out", "two"] if square == "Pow" else [f"{name}_out"] * 2
        nodes += [node("Conv", ["heard", name], [f"{name}_out"], f"stft_{name}", **options),
                  node(square, raised, [f"{name}_squared"], f"{name}_square")]  # fmt: skip
    nodes.append(node("Add", ["cosine_squared", "sine_squared"], ["power"], "power"))
    if mel:
        nodes.append(node("MatMul", ["triangles", "power"], ["mel"], "mel"))
    curves = {"Log": ["floored"], "Sqrt": ["floored"], "Pow": ["floored", "third"]}
    nodes += [
        node(floor, ["mel" if mel else "power", "least"], ["floored"], "floor"),
        node(curve, curves[curve], ["curved"], "curve"),
        node("Reshape", ["curved", "picture"], ["seen"], "picture"),
        node("Conv", ["seen", "k1", "b1"], ["c1"], "conv1", pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", ["r1", "k2"], ["c2"], "conv2", pads=[1] * 4),
        node("Relu", ["c2"], ["r2"], "relu2"),
        node("ReduceMax", ["r2"], ["pooled"], "pool", axes=[2, 3], keepdims=0),
        node("MatMul", ["pooled", "dense"], ["y"], "dense"),
    ]
    ends = [value("x", FLOAT, [1, SAMPLES])], [value("y", FLOAT, [1, 3]), value("r2", FLOAT, None)]
    return save(folder / "spectrum.onnx", nodes, *ends, w, opset=17)


def heard(kind, count=6):
    clips = [np.resize(one.samples, SAMPLES).astype(np.float32) for one in models.utterances(kind)[:count]]
    return [{"x": clip[None]} for clip in clips]


CURVES = [
    {"curve": "Log", "square": "Mul", "floor": "Max"},
    {"curve": "Log", "square": "Pow", "floor": "Add", "pointwise": True},
    {"curve": "Log", "square": "Mul", "floor": "Add", "mel": True},
    {"curve": "Pow", "square": "Mul", "floor": "Max", "mel": True},
    {"curve": "Sqrt", "square": "Mul", "floor": "Max"},
]


@pytest.mark.parametrize("recipe", ["static", "hybrid"])
@pytest.mark.parametrize("kind", CURVES, ids=lambda kind: " ".join(map(str, kind.values())))
def test_a_spectrum_of_speech_reaches_what_is_computed_from_its_small_numbers(kind, recipe, tmp_path, card, quality):
    model = spectrum(tmp_path, **kind)
    quantized = made(recipe, model, heard("calibration"), card)
    least = {"Log": 33, "Pow": 26, "Sqrt": 22}[kind["curve"]]  # with all in codes 7, 10 and 14
    assert min(quality(model, quantized.path, feed) for feed in heard("test", 3)) > least
    done = fates(quantized)
    assert {done["conv1"], done["conv2"]} == {"static"}
    # The root of a sum of squares is as large as what is squared: small numbers of the convolution count little there.
    assert done["stft_sine"] == ("static" if kind["curve"] == "Sqrt" else "float")
    if kind["curve"] != "Sqrt":
        said = "left in float, since a Log, root or quotient behind needs smaller numbers than codes tell apart: "
        assert any(note.startswith(said) for note in quantized.notes)
        why = quantized.stayed_float[
            "Conv", f"too few codes for the small numbers that 'curve' ({kind['curve']}) needs"
        ]
        assert why == ["stft_cosine", "stft_sine"]


def test_ranges_from_shards_know_the_small_numbers_as_well(tmp_path, card):
    model, feeds = spectrum(tmp_path), heard("calibration")
    prepared = recipes.prepare(model, tmp_path / "prepared.onnx")
    ranges = calibration.collect(prepared, feeds[:3]).merge(calibration.collect(prepared, feeds[3:]))
    whole = made("static", model, feeds, card)
    assert recipes.static(model, tmp_path / "b.onnx", ranges=ranges, card=card).products == whole.products


def norm_written_out(folder):
    """A LayerNorm as older exporters write it, over rows of which the first is far larger than the others."""
    w = {"w": weights(32, 32), "two": np.float32(2), "eps": np.float32(1e-5), "v": weights(32, 8, seed=1)}
    nodes = [
        node("MatMul", ["x", "w"], ["h"], "first"),
        node("ReduceMean", ["h"], ["mean"], "mean", axes=[-1]),
        node("Sub", ["h", "mean"], ["d"], "centred"),
        node("Pow", ["d", "two"], ["squared"], "squared"),
        node("ReduceMean", ["squared"], ["variance"], "variance", axes=[-1]),
        node("Add", ["variance", "eps"], ["e"], "eps"),
        node("Sqrt", ["e"], ["root"], "root"),
        node("Div", ["d", "root"], ["n"], "quotient"),
        node("MatMul", ["n", "v"], ["y"], "second"),
    ]
    ends = [value("x", FLOAT, [16, 32])], [value("y", FLOAT, [16, 8])]
    return save(folder / "norm.onnx", nodes, *ends, w)


def likelihoods(folder):
    """The logarithm of a Softmax over many classes, most of them unlikely."""
    w = {"w": 6 * weights(32, 200), "v": weights(200, 8, seed=1) / 10}
    nodes = [
        node("MatMul", ["x", "w"], ["h"], "first"),
        node("Softmax", ["h"], ["p"], "softmax"),
        node("Log", ["p"], ["l"], "log"),
        node("MatMul", ["l", "v"], ["y"], "second"),
    ]
    ends = [value("x", FLOAT, [16, 32])], [value("y", FLOAT, [16, 8])]
    return save(folder / "likelihoods.onnx", nodes, *ends, w)


@pytest.mark.parametrize(("build", "product"), [(norm_written_out, "float"), (likelihoods, "static")])
def test_small_numbers_ahead_of_a_root_a_quotient_or_a_softmaxs_logarithm_are_kept(
    build, product, tmp_path, card, quality
):
    model = build(tmp_path)
    loud = np.where(np.arange(16) == 0, 200, 1)[:, None].astype(np.float32) if build is norm_written_out else 1
    feeds = [{"x": noise(16, 32, seed=seed) * loud} for seed in range(16)]
    quantized = made("static", model, feeds, card)
    assert quality(model, quantized.path, feeds[0]) > 29, quantized
    assert fates(quantized) == {"first": product, "second": "static"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_length_and_a_logarithm_of_numbers_of_one_size_are_computed_from_codes(recipe, tmp_path, card):
    w = {"w": weights(32, 32), "v": weights(32, 8, seed=1), "two": np.float32(2)}
    nodes = [
        node("MatMul", ["x", "w"], ["h"], "first"),
        node("Sigmoid", ["h"], ["s"], "squash"),
        node("Log", ["s"], ["l"], "log"),
        node("MatMul", ["l", "v"], ["m"], "second"),
        node("Mul", ["m", "m"], ["q"], "square"),
        node("ReduceSum", ["q"], ["sum"], "sum"),
        node("Sqrt", ["sum"], ["length"], "length"),
        node("Div", ["m", "length"], ["y"], "unit"),
    ]
    ends = [value("x", FLOAT, [16, 32])], [value("y", FLOAT, [16, 8])]
    model = save(tmp_path / "m.onnx", nodes, *ends, w)
    quantized = made(recipe, model, [{"x": noise(16, 32, seed=seed)} for seed in range(16)], card)
    assert quantized.notes == ()
    assert set(fates(quantized).values()) == {"static" if recipe == "static" else "dynamic"}


@pytest.mark.parametrize(("spread", "conv"), [(0, "static"), (1, "float")])
def test_channels_that_a_written_out_norm_makes_alike_keep_their_numbers(spread, conv, tmp_path, card, quality):
    """An InstanceNormalization behind a convolution whose channels differ little in size, or by a factor of 30."""
    size = np.exp(spread * noise(16, seed=9))[:, None, None, None]
    w = {"k": weights(16, 3, 3, 3) * size, "two": np.float32(2), "eps": np.float32(1e-5), "k2": weights(8, 16, 3, 3)}
    nodes = [
        node("Conv", ["x", "k"], ["c"], "conv"),
        node("ReduceMean", ["c"], ["mean"], "mean", axes=[2, 3]),
        node("Sub", ["c", "mean"], ["d"], "centred"),
        node("Pow", ["d", "two"], ["squared"], "squared"),
        node("ReduceMean", ["squared"], ["variance"], "variance", axes=[2, 3]),
        node("Add", ["variance", "eps"], ["e"], "eps"),
        node("Sqrt", ["e"], ["root"], "root"),
        node("Div", ["d", "root"], ["n"], "quotient"),
        node("Relu", ["n"], ["r"], "relu"),
        node("Conv", ["r", "k2"], ["y"], "behind"),
    ]
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1, 3, 24, 24])], [value("y", FLOAT, None)], w)
    feeds = [{"x": noise(1, 3, 24, 24, seed=seed)} for seed in range(8)]
    quantized = made("static", model, feeds, card)
    assert fates(quantized) == {"conv": conv, "behind": "static"}
    assert quality(model, quantized.path, feeds[0]) > 29  # 13 dB with that convolution in codes
