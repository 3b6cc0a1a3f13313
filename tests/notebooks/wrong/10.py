"""Wrong answers to the exercises of notebook 10: name, code in the stub's place, what the refusal must say."""

CHOICES = {"10.5"}

SENSITIVITY = """\
def sensitivity(model, layers, feeds, score):
    {before}
    def of(names):
        output = {output}
        nodes = [node for name in names for node in layers[name]]
        quantize_static(model, output, {reader}, {nodes}, {types})
        return {score}

    return {{name: ({first}, {second}) for name in layers}}
"""
ALONE, WITHOUT = "of([name])", "of([other for other in layers if other != name])"


def sensitivity(before="", output='folder / "mixed.onnx"', reader="common.Feeds(feeds)", types="**OPTIONS",
                nodes="nodes_to_quantize=nodes", score="score(output)", first=ALONE, second=WITHOUT):  # fmt: skip
    return SENSITIVITY.format(before=before or "pass", output=output, reader=reader, nodes=nodes, types=types,
                              score=score, first=first, second=second)  # fmt: skip


EQUALIZE = """\
def equalize(w1, b1, w2):
    wrote, read = np.abs(w1).max(axis=1), np.abs(w2).max(axis=0)
    alive = (wrote > 0) & (read > 0)
    wrote, read = np.where(alive, wrote, 1), np.where(alive, read, 1)
    s = {s}
    return {result}
"""


def equalize(s="np.sqrt(wrote / read)", result="w1 / s[:, None], b1 / s, w2 * s"):
    return EQUALIZE.format(s=s, result=result)


CORRECT = """\
def correct_bias(codes, scale, exact, rounded):
    missing = {missing}
    return {result}
"""


def correct(
    missing="exact.mean(axis=(0, 2, 3)) - rounded.mean(axis=(0, 2, 3))",
    result="(codes + np.rint(missing / scale)).astype(np.int32)",
):
    return CORRECT.format(missing=missing, result=result)


def choose(body):
    return f"def choose_floats(layers, measure, k):\n    {body}\n"


RIGHT = {"a": "equalize", "b": "smooth", "c": "correct bias", "d": "keep float"}


def cures(**changed):
    return f"cures = {RIGHT | changed!r}"


WRONG_ANSWERS = {
    "10.1": [
        ("swapped", sensitivity(first=WITHOUT, second=ALONE), "the two are swapped"),
        ("the layer is excluded, not chosen", sensitivity(nodes="nodes_to_exclude=nodes"), "the two are swapped"),
        ("signed activations", sensitivity(types="activation_type=QuantType.QInt8"), "an activation has int8 codes"),
        (
            "one reader for all files",
            sensitivity(before="kept = common.Feeds(feeds)", reader="kept"),
            "a reader is read once",
        ),
        (
            "the first feed only",
            sensitivity(reader="common.Feeds(feeds[:1])"),
            "the range of x is not that of all feeds",
        ),
        ("all but it twice", sensitivity(first=WITHOUT), "expected a file with"),
        ("everything on integers", sensitivity(second="of(layers)"), "expected a file with"),
        ("without the ReLU", sensitivity(nodes="nodes_to_quantize=list(names)"), "its ReLU was left out"),
        ("the path for the score", sensitivity(score="str(output)"), "two numbers"),
        (
            "scales per channel",
            sensitivity(types="per_channel=True, **OPTIONS"),
            "per_channel",
        ),
        (
            "all but the others",
            sensitivity(nodes="nodes_to_exclude=[n for o in layers if o not in names for n in layers[o]]"),
            "an Add that is in no layer",
        ),
        ("over the model", sensitivity(output="model"), "the fp32 file was written over"),
        ("what is lost instead of the score", sensitivity(score="100 - score(output)"), "is no score of a file"),
    ],
    "10.2": [
        ("upside down", equalize(s="np.sqrt(read / wrote)"), "the factor is upside down"),
        ("without the root", equalize(s="wrote / read"), "the factor is the root of their ratio"),
        ("w1 even", equalize(s="wrote"), "then w1 is even, and w2 has all of the spread"),
        ("the bias is forgotten", equalize(result="w1 / s[:, None], b1, w2 * s"), "the bias is written together"),
        ("multiplied twice", equalize(result="w1 * s[:, None], b1 * s, w2 * s"), "the function changed"),
        ("w2 by rows", equalize(result="w1 / s[:, None], b1 / s, (w2.T * s[:, None]).T / s"), "the function changed"),
        ("nothing done", equalize(s="np.ones_like(wrote)"), "nothing moved"),
        (
            "zeros divide",
            "def equalize(w1, b1, w2):\n    with np.errstate(all='ignore'):\n"
            "        s = np.sqrt(np.abs(w1).max(axis=1) / np.abs(w2).max(axis=0))\n"
            "        return w1 / s[:, None], b1 / s, w2 * s\n",
            "NaN or infinity",
        ),
        ("wrong axes", equalize(result="w1 / s, b1 / s, w2 * s[:, None]"), "a row of w1 and a column of w2"),
        ("two results", equalize(result="w1 / s[:, None], w2 * s"), "expected (w1, b1, w2)"),
        (
            "a channel of zeros moves",
            "def equalize(w1, b1, w2):\n    wrote, read = np.abs(w1).max(axis=1), np.abs(w2).max(axis=0)\n"
            "    s = np.sqrt(np.where(wrote > 0, wrote, 1) / np.where(read > 0, read, 1))\n"
            "    return w1 / s[:, None], b1 / s, w2 * s\n",
            "keeps its factor 1",
        ),
        (
            "the largest with its sign",
            equalize(
                s="np.sqrt(np.where(alive, np.abs(w1.max(axis=1)), 1) / np.where(alive, np.abs(w2.max(axis=0)), 1))"
            ),
            "largest magnitude",
        ),
        (
            "the bias counts",
            equalize(s="np.sqrt(np.where(alive, np.maximum(wrote, np.abs(b1)), 1) / read)"),
            "the bias takes no part",
        ),
    ],
    "10.3": [
        (
            "the other way round",
            correct(result="(codes - np.rint(missing / scale)).astype(np.int32)"),
            "the other way round",
        ),
        ("one mean for all", correct(missing="(exact - rounded).mean()"), "one mean for all channels"),
        ("the shift alone", correct(result="np.rint(missing / scale).astype(np.int32)"), "the shift alone"),
        ("in the output's unit", correct(result="(codes + np.rint(missing)).astype(np.int32)"), "in the output's unit"),
        ("not rounded", correct(result="codes + missing / scale"), "these are real numbers"),
        ("cut off", correct(result="codes + (missing / scale).astype(np.int32)"), "round to the nearest"),
        ("floats", correct(result="codes + np.rint(missing / scale)"), "dtype"),
        ("a real bias", correct(result="codes * scale + missing"), "the shift is in codes, but the answer is real"),
        ("a mean for each picture", correct(missing="(exact - rounded).mean(axis=(2, 3))"), "one for each channel"),
        ("times the scale", correct(result="codes + np.rint(missing * scale).astype(np.int32)"), "`shift / scale`"),
        ("one scale", correct(result="codes + np.rint(missing / scale[0]).astype(np.int32)"), "the first one's scale"),
        ("sizes", correct(missing="np.abs(exact - rounded).mean(axis=(0, 2, 3))"), "they have signs"),
        ("rounded too early", correct(result="codes + (np.rint(missing) / scale).astype(np.int32)"), "rounded before"),
        ("means of pictures", correct(missing="(exact - rounded).mean(axis=(1, 2, 3))"), "channels are axis 1"),
        (
            "a real bias and codes",
            correct(result="np.rint(codes * scale + missing / scale).astype(np.int32)"),
            "a real number and codes are added",
        ),
        (
            "all over the scale",
            correct(result="np.rint((codes + missing) / scale).astype(np.int32)"),
            "they are codes already",
        ),
        ("the first picture", correct(missing="(exact - rounded)[0].mean(axis=(1, 2))"), "the first picture alone"),
    ],
    "10.4": [
        ("the first k", choose("return layers[:k]"), "of the list; measure"),
        ("the last k", choose("return layers[-k:]"), "of the list; measure"),
        ("none", choose("return []"), "only 0 of 8"),
        (
            "greedy, until nothing helps",
            choose(
                "chosen = []\n    for _ in range(k):\n        left = [n for n in layers if n not in chosen]\n"
                "        best = max(left, key=lambda n: measure([*chosen, n]))\n"
                "        if measure([*chosen, best]) <= measure(chosen):\n            break\n"
                "        chosen.append(best)\n    return chosen"
            ),
            "go on where nothing helps",
        ),
        (
            "half of them",
            choose("return sorted(layers, key=lambda n: measure([o for o in layers if o != n]))[:k // 4]"),
            "were chosen",
        ),
        ("all", choose("return layers"), "the budget is"),
        (
            "those that lose least",
            choose("return sorted(layers, key=lambda n: measure([o for o in layers if o != n]))[-k:]"),
            "is the order upside down?",
        ),
        (
            "those on integers",
            choose("return sorted(layers, key=lambda n: measure([o for o in layers if o != n]))[k:]"),
            "those in float are asked for",
        ),
        (
            "those that help most alone",
            choose("return sorted(layers, key=lambda n: measure([n]))[-k:]"),
            "these help most when only one is in float",
        ),
        ("numbers for names", choose("return list(range(k))"), "not their places"),
        ("one name is measured as text", choose("return sorted(layers, key=measure)[:k]"), "seen one name"),
        (
            "every pair",
            choose("from itertools import combinations\n    return max(combinations(layers, min(k, 3)), key=measure)"),
            "more than 90 times",
        ),
    ],
    "10.5": [
        ("a: smooth", cures(a="smooth"), "the weights' channels that differ"),
        ("a: correct bias", cures(a="correct bias"), "a mean cannot bring them back"),
        ("a: adaptive rounding", cures(a="adaptive rounding"), "both are far off"),
        ("a: keep float", cures(a="keep float"), "nearly all layers"),
        ("b: equalize", cures(b="equalize"), "the activations tell"),
        ("b: correct bias", cures(b="correct bias"), "their shapes are lost"),
        ("b: adaptive rounding", cures(b="adaptive rounding"), "the activations lack codes"),
        ("b: keep float", cures(b="keep float"), "a factor would do"),
        ("c: equalize", cures(c="equalize"), "a scale of its own already"),
        ("c: smooth", cures(c="smooth"), "a constant for each channel"),
        ("c: adaptive rounding", cures(c="adaptive rounding"), "two means and nothing else"),
        ("c: keep float", cures(c="keep float"), "the bias is there already"),
        ("a list of cures", cures(a=["equalize"]), "expected one of"),
        ("d: equalize", cures(d="equalize"), "a factor cannot pass to the outputs"),
        ("d: smooth", cures(d="smooth"), "it is the output"),
        ("d: correct bias", cures(d="correct bias"), "they still round to 0"),
        ("d: adaptive rounding", cures(d="adaptive rounding"), "worth several pixels"),
    ],
}
