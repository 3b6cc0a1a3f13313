"""Right answers to the exercises of notebook 05 in other styles: name, code in the stub's place."""

FACE = """\
class FaceReader(quantization.CalibrationDataReader):
{reader}

def quantize_face(model, output, frames):
{call}
"""
ITER = """\
    def __init__(self, frames):
        self.left = iter(frames)

    def get_next(self):
        frame = next(self.left, None)
        return None if frame is None else {"audio": frame.audio, "face": frame.face}
"""
INDEX = """\
    def __init__(self, frames):
        self.frames = frames
        self.index = 0

    def get_next(self):
        if self.index == len(self.frames):
            return None
        self.index += 1
        return self.frames[self.index - 1].feed
"""
POP = """\
    def __init__(self, frames):
        self.feeds = [{"face": f.face, "audio": f.audio} for f in frames]

    def get_next(self):
        return self.feeds.pop(0) if self.feeds else None
"""
GENERATOR = """\
    def __init__(self, frames):
        self.feeds = (frame.feed for frame in frames)

    def get_next(self):
        for feed in self.feeds:
            return feed
"""
REWIND = """\
    def __init__(self, frames):
        self.frames = frames
        self.rewind()

    def rewind(self):
        self.left = iter(self.frames)

    def get_next(self):
        try:
            frame = next(self.left)
        except StopIteration:
            return None
        return dict(audio=frame.audio.copy(), face=frame.face.copy())
"""
CALL = """\
    quantization.quantize_static(
        model, output, FaceReader(frames), quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8, per_channel=True,
    )
"""
NAMED = """\
    reader = FaceReader(frames)
    types = quantization.QuantType
    quantization.quantize_static(
        model_input=model, model_output=output, calibration_data_reader=reader, per_channel=True,
        activation_type=types.QUInt8, weight_type=types.QInt8,
    )
    return output
"""
SYMMETRIC_WEIGHTS = CALL.replace("per_channel=True,", 'per_channel=True, extra_options={"WeightSymmetric": True},')


def face(reader=ITER, call=CALL):
    return FACE.format(reader=reader, call=call)


KL_LOOPS = """\
def kl_threshold(counts, width, codes=128):
    counts = [float(c) for c in counts]
    table = {}
    for stop in range(codes, len(counts) + 1):
        inside = np.array(counts[:stop])
        p = inside.copy()
        p[-1] += sum(counts[stop:])
        q = np.zeros(stop)
        borders = [-(-k * stop // codes) for k in range(codes + 1)]
        for start, end in zip(borders, borders[1:]):
            live = p[start:end] > 0
            if live.any():
                q[start:end][live] = inside[start:end].sum() / live.sum()
        if (q[p > 0] == 0).any():
            table[stop] = np.inf
            continue
        p, q = p / p.sum(), q / q.sum()
        table[stop] = sum(a * np.log(a / b) for a, b in zip(p, q) if a > 0)
    return width * min(table, key=table.get)
"""
KL_LAST = KL_LOOPS.replace("min(table, key=table.get)", "max(s for s in table if table[s] == min(table.values()))")
KL_SCIPY_LIKE = """\
def kl_threshold(h, w, codes=128):
    def kl(n):
        x = h[:n].astype('float64')
        p = np.append(x[:-1], x[-1] + h[n:].sum())
        g = (np.arange(n) * codes) // n
        on = p != 0
        s, c = np.zeros(codes), np.zeros(codes)
        np.add.at(s, g, x)
        np.add.at(c, g, on)
        with np.errstate(all="ignore"):
            q = np.where(on, s[g] / c[g], 0)
            p, q = p / p.sum(), q / q.sum()
            terms = np.where(on, p * np.log(p / q), 0)
        return terms.sum() if np.isfinite(terms).all() else np.inf
    sizes = np.arange(codes, h.size + 1)
    return np.float32(sizes[np.argmin([kl(n) for n in sizes])] * w)
"""

RIGHT_ANSWERS = {
    "05.1": [
        (
            "None at first",
            "class Observer:\n    def __init__(self):\n        self.ends = None\n\n"
            "    def observe(self, x):\n        self._take(x.min(), x.max())\n\n"
            "    def _take(self, low, high):\n        if self.ends is not None:\n"
            "            low, high = min(low, self.ends[0]), max(high, self.ends[1])\n"
            "        self.ends = (low, high)\n\n"
            "    def merge(self, other):\n        if other.ends is not None:\n            self._take(*other.ends)\n"
            "        return self\n\n    def range(self):\n        return self.ends\n",
        ),
        (
            "loops in float",
            "class Observer:\n    def __init__(self):\n        self.lo = float('inf')\n"
            "        self.hi = -float('inf')\n\n    def observe(self, x):\n        for v in np.ravel(x):\n"
            "            self.lo = float(v) if v < self.lo else self.lo\n"
            "            self.hi = float(v) if v > self.hi else self.hi\n        return self\n\n"
            "    def merge(self, o):\n        self.lo, self.hi = min(self.lo, o.lo), max(self.hi, o.hi)\n"
            "        return self\n\n    def range(self):\n        return [self.lo, self.hi]\n",
        ),
        (
            "one array",
            "class Observer:\n    def __init__(self):\n        self.ends = np.array([np.inf, -np.inf])\n\n"
            "    def observe(self, x):\n        self.ends = np.array([min(self.ends[0], np.min(x)), "
            "max(self.ends[1], np.max(x))])\n\n    def merge(self, other):\n"
            "        self.ends = np.array([np.minimum(self.ends[0], other.ends[0]), "
            "np.maximum(self.ends[1], other.ends[1])])\n        return self\n\n"
            "    def range(self):\n        return self.ends\n",
        ),
        (
            "the range as two numbers to observe",
            "class Observer:\n    def __init__(self):\n"
            "        self.low, self.high = np.inf, -np.inf\n\n    def observe(self, x):\n"
            "        x = np.asarray(x, np.float64)\n        self.low = np.minimum(self.low, x.min())\n"
            "        self.high = np.maximum(self.high, x.max())\n\n    def merge(self, other):\n"
            "        self.low, self.high = min(self.low, other.low), max(self.high, other.high)\n"
            "        return self\n\n    def range(self):\n        return np.float32(self.low), np.float32(self.high)\n",
        ),
        (
            "slots",
            "class Observer:\n    __slots__ = ('a', 'b')\n\n    def __init__(self):\n"
            "        self.a, self.b = np.inf, -np.inf\n\n    def observe(self, x):\n"
            "        self.a, self.b = min(self.a, x.min()), max(self.b, x.max())\n\n    def merge(self, other):\n"
            "        if other.a <= other.b:\n            self.a, self.b = min(self.a, other.a), max(self.b, other.b)\n"
            "        return self\n\n    def range(self):\n        return (self.a, self.b)\n",
        ),
        (
            "a dataclass",
            "from dataclasses import dataclass\n\n\n@dataclass\nclass Observer:\n"
            "    low: float = np.inf\n    high: float = -np.inf\n\n    def observe(self, x):\n"
            "        self.low, self.high = min(self.low, x.min()), max(self.high, x.max())\n\n"
            "    def merge(self, other):\n        self.low, self.high = min(self.low, other.low), "
            "max(self.high, other.high)\n        return self\n\n    def range(self):\n"
            "        return self.low, self.high\n",
        ),
    ],
    "05.2": [
        (
            "a loop",
            "def percentile(histograms, edges, percent):\n    total = sum(int(h.sum()) for h in histograms)\n"
            "    wanted, seen = total * percent / 100, 0\n    for i in range(len(edges) - 1):\n"
            "        seen += sum(int(h[i]) for h in histograms)\n        if seen >= wanted:\n"
            "            return edges[i + 1]\n    return edges[-1]\n",
        ),
        (
            "within the bin",
            "def percentile(hs, edges, percent):\n    counts = np.sum(hs, axis=0)\n"
            "    below = np.concatenate([[0], np.cumsum(counts)])\n"
            "    return np.interp(percent / 100 * below[-1], below, edges)\n",
        ),
        (
            "the left edge",
            "def percentile(histograms, edges, percent):\n    c = np.cumsum(sum(histograms))\n"
            "    return float(edges[np.argmax(c >= percent / 100 * c[-1])])\n",
        ),
        (
            "the middle of a bin",
            "def percentile(histograms, edges, percent):\n    c = np.cumsum(sum(histograms))\n"
            "    i = int(np.searchsorted(c, percent * c[-1] / 100))\n    return (edges[i] + edges[i + 1]) / 2\n",
        ),
        (
            "numbers made again",
            "def percentile(histograms, edges, percent):\n    counts = np.sum(histograms, axis=0)\n"
            "    return np.percentile(np.repeat((edges[:-1] + edges[1:]) / 2, counts), percent)\n",
        ),
        (
            "the last bin that is not behind",
            "def percentile(histograms, edges, percent):\n    c = np.cumsum(np.sum(histograms, axis=0)) * 100\n"
            "    found = np.searchsorted(c, percent * c[-1] / 100, side='right')\n"
            "    return edges[min(found + 1, len(edges) - 1)]\n",
        ),
        (
            "a sum in an array of its own",
            "def percentile(histograms, edges, percent):\n    total = np.zeros(len(edges) - 1)\n"
            "    for h in histograms:\n        total += h\n    c = np.cumsum(total) / total.sum()\n"
            "    return edges[np.searchsorted(c, percent / 100) + 1]\n",
        ),
        (
            "an array of one",
            "def percentile(histograms, edges, percent):\n"
            "    c = np.sum(np.stack(histograms), axis=0).cumsum() / np.sum(histograms)\n"
            "    return edges[1:][c >= percent / 100 - 1e-12][:1]\n",
        ),
    ],
    "05.3": [
        ("an index", face(INDEX)),
        ("a list that is emptied", face(POP, NAMED)),
        ("a generator", face(GENERATOR)),
        ("with rewind", face(REWIND, NAMED)),
        ("no base class", face().replace("(quantization.CalibrationDataReader)", "")),
        ("an option that changes nothing", face(ITER, SYMMETRIC_WEIGHTS)),
        ("another that changes nothing", face(ITER, SYMMETRIC_WEIGHTS.replace("True},", "False},"))),
    ],
    "05.4": [
        ("a list, small letters", 'broken = ["b", "Padding taken for speech"]\n'),
        ("the other way round", 'broken = ("padding taken for speech", "B")\n'),
        ("one text", 'broken = "B: padding taken for speech"\n'),
        ("an array", 'broken = np.array(["B", "padding taken for speech"])\n'),
        ("a set's name and a word", 'broken = ("set B", "padding.")\n'),
    ],
    "05.5": [
        ("loops", KL_LOOPS),
        ("the last of the best", KL_LAST),
        ("a function of the size", KL_SCIPY_LIKE),
        ("an array of one", KL_LOOPS.replace("return width *", "return np.array([width]) *")),
        ("Q alone divided by its sum", KL_LOOPS.replace("p, q = p / p.sum(), q / q.sum()", "q = q / q.sum()")),
        ("bits for nats", KL_LOOPS.replace("np.log(", "np.log2(")),
    ],
}
