"""Wrong answers to the exercises of notebook 05: name, code in the stub's place, what the refusal must say."""

OBSERVER = """\
class Observer:
    def __init__(self):
        {init}

    def observe(self, x):
        {observe}

    def merge(self, other):
        {merge}
        {returned}

    def range(self):
        return {range}
"""
WIDEN = "self.low, self.high = min(self.low, x.min()), max(self.high, x.max())"
MERGE = "self.low, self.high = min(self.low, other.low), max(self.high, other.high)"


def observer(init="self.low, self.high = np.inf, -np.inf", observe=WIDEN, merge=MERGE, returned="return self",
             range="self.low, self.high"):  # fmt: skip
    return OBSERVER.format(init=init, observe=observe, merge=merge, returned=returned, range=range)


KEEPS = """\
class Observer:
    def __init__(self):
        self.seen = []

    def observe(self, x):
        self.seen.append(x.ravel())

    def merge(self, other):
        self.seen = self.seen + other.seen
        return self

    def range(self):
        x = np.concatenate(self.seen)
        return x.min(), x.max()
"""
SHARED = """\
class Observer:
    ends = [np.inf, -np.inf]

    def observe(self, x):
        self.ends[0], self.ends[1] = min(self.ends[0], x.min()), max(self.ends[1], x.max())

    def merge(self, other):
        self.observe(np.array(other.ends))
        return self

    def range(self):
        return tuple(self.ends)
"""
PERCENTILE = "def percentile(histograms, edges, percent):\n"
EACH = PERCENTILE + (
    "    each = []\n    for h in histograms:\n        if h.sum():\n            c = np.cumsum(h)\n"
    "            each.append(edges[np.searchsorted(c, percent / 100 * c[-1]) + 1])\n"
)
SUMMED = PERCENTILE + "    c = np.cumsum(np.sum(histograms, axis=0))\n"
FACE = """\
class FaceReader(quantization.CalibrationDataReader):
    def __init__(self, frames):
        self.frames = frames
        self.left = iter(frames)

    def get_next(self):
        {get_next}


def quantize_face(model, output, frames):
    quantization.quantize_static(model, output, FaceReader(frames), {options})
"""
NEXT = (
    "frame = next(self.left, None)\n"
    '        return None if frame is None else {"audio": frame.audio, "face": frame.face}'
)
OPTIONS = "per_channel=True, activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8"


def face(get_next=NEXT, options=OPTIONS):
    return FACE.format(get_next=get_next, options=options)


KL = """\
def kl_threshold(counts, width, codes=128):
    best, least = {first}, {start}
    for stop in range(codes, {end}):
        inside = counts[:stop].astype(float)
        p = inside.copy()
        {tail}
        code = {code}
        total = np.bincount(code, weights={source}, minlength=codes)
        used = np.bincount(code, weights={used}, minlength=codes)
        q = np.where(p > 0, (total / np.maximum(used, 1))[code], 0)
        at = p > 0
        {empty}
            continue
        {norm}
        divergence = {divergence}
        if divergence {less} least:
            best, least = stop, divergence
    return {returned}
"""


SLOTS = {
    "first": "len(counts)", "start": "np.inf", "end": "len(counts) + 1", "tail": "p[-1] += counts[stop:].sum()",
    "code": "np.arange(stop) * codes // stop", "source": "inside", "used": "p > 0", "empty": "if q[at].min() == 0:",
    "norm": "p, q = p / p.sum(), q / q.sum()", "divergence": "np.sum(p[at] * np.log(p[at] / q[at]))", "less": "<",
    "returned": "best * width",
}  # fmt: skip


def kl(**changed):
    return KL.format(**SLOTS | changed)


IN_PLACE = kl().replace("inside = counts[:stop].astype(float)", "inside = p = counts[:stop]").replace(
    "        p = inside.copy()\n", "")  # fmt: skip
SUM_IN_PLACE = """\
def percentile(histograms, edges, percent):
    total = histograms[0]
    for h in histograms[1:]:
        total += h
    c = np.cumsum(total)
    return edges[np.searchsorted(c, percent / 100 * c[-1]) + 1]
"""
MERGE_BOTH = MERGE + "\n        other.low, other.high = self.low, self.high"
CLASS_LEVEL = """\
class FaceReader(quantization.CalibrationDataReader):
    left = None

    def __init__(self, frames):
        if FaceReader.left is None:
            FaceReader.left = iter(frames)

    def get_next(self):
        frame = next(FaceReader.left, None)
        return None if frame is None else frame.feed


def quantize_face(model, output, frames):
    quantization.quantize_static(model, output, FaceReader(frames), {options})
"""
AGAIN = (
    "frame = next(self.left, None)\n        if frame is None:\n            self.left = iter(self.frames)\n"
    "            frame = next(self.left)\n        return frame.feed"
)


HOW = ("too few sentences", "another level", "an outlier", "padding taken for speech", "test sentences in it")
LEVEL = "a tenth of the level would take away 4.6"
DISPROOF = {HOW[0]: "as many as the other two", HOW[1]: LEVEL, HOW[2]: "its largest feature is",
            HOW[4]: "no sentence of the test is among them"}  # fmt: skip
CHOICES = {"05.4"}
WRONG_ANSWERS = {
    "05.1": [
        ("starts at 0", observer(init="self.low, self.high = 0.0, 0.0"), "start from inf and -inf, not from 0"),
        ("only the highest starts at 0", observer(init="self.low, self.high = np.inf, 0.0"), "starts at 0"),
        ("the last batch alone", observer(observe="self.low, self.high = x.min(), x.max()"), "only the last batch"),
        ("symmetric", observer(range="-max(-self.low, self.high), max(-self.low, self.high)"), "this is symmetric"),
        ("widened to 0", observer(range="min(self.low, 0), max(self.high, 0)"), "widened to contain 0"),
        ("swapped", observer(range="self.high, self.low"), "the two are swapped"),
        ("keeps everything", KEEPS, "it keeps the activations"),
        ("one memory for all", SHARED, "share one memory"),
        ("merge without return", observer(returned="pass"), "let it `return self`"),
        ("merge changes nothing", observer(merge="pass"), "merge changed nothing"),
        ("merge takes the other's", observer(merge="self.low, self.high = other.low, other.high"), "took the place"),
        ("merge averages", observer(
            merge="self.low = (self.low + other.low) / 2\n        self.high = (self.high + other.high) / 2"),
         "averaged"),
        ("merge changes the other too", observer(merge=MERGE + "\n        other.low, other.high = self.range()"),
         "which merge must leave as it is"),
        ("narrower", observer(merge="self.low, self.high = max(self.low, other.low), min(self.high, other.high)"),
         "narrower ends"),
        ("merge keeps the other", observer(
            init="self.low, self.high, self.others = np.inf, -np.inf, []", merge="self.others.append(other)",
            range="min([self.low] + [o.low for o in self.others]), max([self.high] + [o.high for o in self.others])"),
         "merge kept the other one itself"),
        ("elif", observer(observe="for v in x.ravel():\n            if v < self.low:\n                self.low = v\n"
                          "            elif v > self.high:\n                self.high = v"), "not `elif`"),
        ("0 is unseen", observer(
            init="self.low = self.high = 0",
            observe="self.low = min(self.low, x.min()) if self.low else x.min()\n"
                    "        self.high = max(self.high, x.max()) if self.high else x.max()"),
         "an end of 0 was taken for nothing seen"),
        ("starts at a billion", observer(init="self.low, self.high = 1e9, -1e9"), "was as far out"),
        ("merge widens to 0", observer(
            merge="self.low, self.high = min(self.low, other.low, 0), max(self.high, other.high, 0)"),
         "widened to contain 0"),
        ("two numbers a batch", observer(
            init="self.ends = []", observe="self.ends += [float(x.min()), float(x.max())]",
            merge="self.ends = self.ends + other.ends", range="min(self.ends), max(self.ends)"),
         "something of each batch"),
        ("starts at the smallest number above 0",
         observer(init="self.low, self.high = np.inf, np.finfo(np.float32).tiny"), "not the lowest"),
        ("starts at float16's ends", observer(init="self.low, self.high = 65504.0, -65504.0"), "float16's, 65504"),
        ("keeps float16", observer(observe=WIDEN + "\n        with np.errstate(over='ignore'):\n            "
                                   "self.low, self.high = np.float16(self.low), np.float16(self.high)"),
         "rounded to float16"),
        ("merge gives to both", observer(merge=MERGE_BOTH), "merge gave it this one's numbers as well"),
        ("an instance", observer().replace("class Observer", "class Made") + "\n\nObserver = Made()\n",
         "expected the class Observer itself"),
    ],
    "05.2": [
        ("percentiles averaged", EACH + "    return np.mean(each)\n", "not the mean of percentiles"),
        ("the largest percentile", EACH + "    return max(each)\n", "this is the largest of the batches'"),
        ("the last batch", EACH + "    return each[-1]\n", "only the last batch"),
        ("the first batch", EACH + "    return each[0]\n", "only the first batch"),
        ("percent as a share", SUMMED + "    found = np.searchsorted(c, percent * c[-1])\n"
         "    return edges[min(found + 1, len(edges) - 1)]\n",
         "percent is of 100"),
        ("percent as a share, not clamped", SUMMED + "    return edges[np.searchsorted(c, percent * c[-1]) + 1]\n",
         "99 percent is a share of 0.99"),
        ("the number of a bin", SUMMED + "    return np.searchsorted(c, percent / 100 * c[-1])\n",
         "the number of a bin"),
        ("from the top", SUMMED + "    return edges[np.searchsorted(c, (1 - percent / 100) * c[-1]) + 1]\n",
         "from the top"),
        ("each batch normalized", PERCENTILE + "    c = np.cumsum(sum(h / max(h.sum(), 1) for h in histograms))\n"
         "    return edges[np.searchsorted(c, percent / 100 * c[-1]) + 1]\n", "divided by its own sum"),
        ("percent of the way", PERCENTILE + "    return edges[0] + percent / 100 * (edges[-1] - edges[0])\n",
         "percent of the way"),
        ("one bin too high", SUMMED + "    found = np.searchsorted(c, percent / 100 * c[-1])\n"
         "    return edges[min(found + 2, len(edges) - 1)]\n",
         "one bin off"),
        ("one bin too low", SUMMED + "    return edges[np.searchsorted(c, percent / 100 * c[-1]) - 1]\n",
         "one bin off"),
        ("summed in place", SUM_IN_PLACE, "`+=` adds into the array itself"),
        ("percentile of the counts", PERCENTILE + "    return np.percentile(sum(histograms), percent)\n",
         "a percentile of the counts"),
        ("a share against counts", SUMMED + "    return edges[np.searchsorted(c, percent / 100) + 1]\n",
         "compared with percent / 100, a share"),
        ("percent against counts", SUMMED + "    return edges[np.searchsorted(c, percent) + 1]\n",
         "compared with percent itself"),
        ("percent against counts, argmax", SUMMED + "    return edges[np.argmax(c > percent)]\n",
         "compared with percent itself"),
        ("the bin behind at 100", SUMMED + "    return edges[np.searchsorted(c, percent / 100 * c[-1], 'right') + 1]\n",
         "100 percent are reached"),
        ("not a number", SUMMED + "    return np.nan\n", "every number lies between the edges"),
        ("both ends", SUMMED + "    return edges[np.searchsorted(c, (1 - (1 - percent / 100) / 2) * c[-1]) + 1]\n",
         "half of the rest"),
    ],
    "05.3": [
        ("swapped inputs", face(NEXT.replace('"audio": frame.audio, "face": frame.face',
                                             '"audio": frame.face, "face": frame.audio')), "the two are swapped"),
        ("one input", face(NEXT.replace('"audio": frame.audio, ', "")), "inputs are 'audio' and 'face'"),
        ("no end", face('return self.frames[0].feed'), "that is frame 0 again"),
        ("raises at the end", face("return next(self.left).feed"), "raised StopIteration"),
        ("a tuple", face("frame = next(self.left, None)\n        return frame and (frame.audio, frame.face)"),
         "expected a dictionary"),
        ("float64", face(NEXT.replace("frame.audio,", "frame.audio.astype(float),")), "the model takes float32"),
        ("without the batch axis", face(NEXT.replace("frame.audio,", "frame.audio[0],")), "expected shape"),
        ("int8 activations", face(options=OPTIONS.replace("QUInt8", "QInt8")), "asked for activation_type=QUInt8"),
        ("uint8 weights", face(options=OPTIONS.replace("weight_type=quantization.QuantType.QInt8",
                                                       "weight_type=quantization.QuantType.QUInt8")),
         "asked for weight_type=QInt8"),
        ("per tensor", face(options=OPTIONS.replace("per_channel=True, ", "")), "asked for per_channel=True"),
        ("QOperator", face(options=OPTIONS + ", quant_format=quantization.QuantFormat.QOperator"), "asked for Q/DQ"),
        ("one frame only", face(options=OPTIONS).replace("FaceReader(frames),", "FaceReader(frames[:1]),"),
         "frame 0 alone"),
        ("the last frame left out", face().replace("FaceReader(frames),", "FaceReader(frames[:-1]),"),
         "all frames but the last"),
        ("every second frame", face().replace("FaceReader(frames),", "FaceReader(frames[::2]),"), "every second frame"),
        ("percentile", face(options=OPTIONS + ", calibrate_method=quantization.CalibrationMethod.Percentile"),
         "the scale of"),
        ("Convs left out", face(options=OPTIONS + ", nodes_to_exclude=[[n.name for n in "
                                "onnx.load(model).graph.node if n.op_type == 'Conv'][-1]]"),
         "leaves some out"),
        ("starts again", face(AGAIN), "gave one more feed: asked for None"),
        ("an empty feed at the end", face(NEXT.replace("return None", "return {}")), "asked for None"),
        ("one iterator for all", CLASS_LEVEL.format(options=OPTIONS), "a second FaceReader has nothing left"),
        ("no get_next", face().replace("get_next", "next_feed"), "abstract method get_next"),
    ],
    "05.5": [
        ("Q of the clipped counts", kl(source="p"), "Q was made of the clipped counts"),
        ("the tail dropped", kl(tail="pass"), "the numbers beyond the threshold were dropped"),
        ("spread over all bins",
         kl(used="np.ones(stop)").replace("np.where(p > 0, ", "(").replace("[code], 0)", "[code])"),
         "spread over all its bins"),
        ("divided among all bins", kl(used="np.ones(stop)"), "divided by all its bins"),
        ("bins instead of a threshold", kl(returned="best"), "that is the number of bins"),
        ("the largest divergence", kl(start="-np.inf", less=">"), "that is the"),
        ("the whole range", kl(returned="len(counts) * width"), "nothing clipped"),
        ("the first candidate", kl(returned="codes * width"), "the first candidate"),
        ("in place", IN_PLACE, "your function changed `counts`"),
        ("neither divided by its sum", kl(norm="pass"), "not divided by their sums"),
        ("Q not divided by its sum", kl(norm="p = p / p.sum()"), "Q was not divided by its sum"),
        ("KL(Q || P)", kl(divergence="np.sum(q[at] * np.log(q[at] / p[at]))", empty="if False:",
                          ).replace("at = p > 0", "at = (p > 0) & (q > 0)"), "this is KL(Q || P)"),
        ("the middle of the last bin", kl(returned="(best - 0.5) * width"), "the middle of the last bin"),
        ("the middle of the bin behind", kl(returned="(best + 0.5) * width"), "the middle of the bin behind"),
        ("one bin short", kl(returned="(best - 1) * width"), "one bin short"),
        ("an epsilon", kl(empty="if False:", divergence="np.sum(p[at] * np.log(p[at] / (q[at] + 1e-12)))"),
         "a small number was added to Q"),
        ("zeros skipped", kl(empty="if False:").replace("at = p > 0", "at = (p > 0) & (q > 0)"), "left out of the sum"),
        ("the last stop missing", kl(end="len(counts)", first="codes"), "the last stop is missing"),
        ("the last stop missing, nothing found", kl(end="len(counts)", first="None"), "at the last stop alone"),
        ("spread where counts are", kl(used="inside > 0").replace("np.where(p > 0, ", "np.where(inside > 0, "),
         "P has the tail, too"),
        ("TensorRT's codes", kl(code="np.minimum(np.arange(stop) // (stop // codes), codes - 1)"), "as TensorRT does"),
        ("squares", kl(empty="if False:", divergence="np.sum((p - q) ** 2)"), "squared differences"),
        ("always 128 codes", kl().replace("    best", "    codes = 128\n    best", 1),
         "128 codes were taken"),
    ],
    "05.4": [
        *((f"{letter}, {how}", f'broken = ("{letter}", "{how}")', said)
          for letter in "AC" for how, said in (DISPROOF | {HOW[3]: "lengths"}).items()),
        ("the letter alone", 'broken = "B"', "expected a pair"),
        ("two letters", 'broken = ("B", "C")', "expected one of A, B, C and one of"),
        *((f"B, {how}", f'broken = ("B", "{how}")', said) for how, said in DISPROOF.items()),
    ],
}  # fmt: skip
