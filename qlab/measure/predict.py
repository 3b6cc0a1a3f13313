"""A cost model: what a recipe would gain on a machine, before anything is quantized.

How long a product should take is measured in the fp32 model, and divided by what the machine card promises.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, replace

from qlab import machine
from qlab.files import ModelPath
from qlab.graph import Model
from qlab.graph.operators import CLIPS, LAYOUT, REARRANGING
from qlab.machine.card import Card
from qlab.measure.profile import ROUNDS, Ledger, by_family, ledger_of, profile
from qlab.measure.trace import side_by_side, stored, took
from qlab.recipes import RECIPES, Product
from qlab.recipes.choice import DYNAMIC, STATIC, choose
from qlab.runtime import Feeds

FULL_DEPTH = 64
FLOATS = 8  # bytes a number that an operator reads and writes as a float, or that Q and DQ around it do


class Yardstick:
    """Times of products by their work, from a Profile of the fp32 model.

    speed   how many times as fast as float32 the integer product is that the recipes would choose
    A product is looked up by its work: the same number of multiply-adds with weights of the same size, since fusing and
    quantizing rename nodes. Where none is like it, the fp32 model's mean rate for its kind of product serves.
    """

    def __init__(self, fp32, speed):
        self.speed = speed
        self._products = defaultdict(list)  # by their work, and by their kind
        for node in fp32.nodes:
            if node.multiplies and node.macs:
                self._products[_work(node)].append(node)
                self._products[_kind(node)].append(node)
        self._layout_ms = took(node for node in fp32.nodes if node.op_type in LAYOUT)
        self._convolutions_ms = fp32.ms_of(family="convolution")

    def float_ms(self, node):
        """Milliseconds of the same product in the fp32 model, or None if it has nothing of the kind."""
        alike, kind = (self._products.get(key) for key in (_work(node), _kind(node)))
        if alike:
            return took(alike) / len(alike)
        return took(kind) / sum(one.macs for one in kind) * node.macs if kind else None

    def layout_ms(self, node):
        """Milliseconds that the fp32 model needs besides, to bring this convolution's tensors into blocks and back."""
        if node.family != "convolution" or not self._convolutions_ms:
            return 0.0
        return self._layout_ms * (self.float_ms(node) or 0.0) / self._convolutions_ms

    def healthy_ms(self, node):
        """Milliseconds of the same product on the fastest integers, or None if the fp32 model has nothing like it."""
        milliseconds = self.float_ms(node)
        return None if milliseconds is None else milliseconds / integer_speed(node, max(self.speed, 1.0))

    def excess_ms(self, nodes):
        """Milliseconds by which these products are slower than on the fastest integers, all together."""
        return sum(max(0.0, node.ms - (self.healthy_ms(node) or node.ms)) for node in nodes)


def integer_speed(node, speed):
    """How many times as fast as in float32 a product, a NodeTime, is on integers; a large one is it `speed` times.

    1. Depthwise convolutions of images gain nothing: they have a kernel of their own, bounded by what it reads.
    2. Where fewer than FULL_DEPTH products go into a sum, turning sums into codes weighs as much as multiplying: the
       gain is in proportion to their number.
    """
    if node.depthwise and len(node.weights) == 4:
        return min(speed, 1.0)
    if speed <= 1 or len(node.weights) < 2 or node.op_type == "MatMulNBits":  # whose weights are packed
        return speed
    depth = math.prod(node.weights[1:]) if node.family == "convolution" else node.weights[-2]
    return 1 + (speed - 1) * min(1.0, depth / FULL_DEPTH)


def _work(node):
    return node.macs, math.prod(node.weights), node.depthwise


def _kind(node):
    """A convolution over one frame is a matrix product in all but name, so its rate is not a depthwise one's."""
    return "depthwise" if node.depthwise else "dense"


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a recipe should gain. `ledger` has the times it rests on, by kind of work; printing it gives the table.

    card_name  the machine it is for; measured, whether its fp32 times were measured here or follow from the card
    limit      Amdahl's law: the speed-up if the products that the recipe quantizes took no time, and quantizing none
    low, high  the speed-up if the products gain half as much as on the card and quantizing costs twice as much, and if
               the products take a third less. Most models lie between
    """

    recipe: str
    card_name: str
    measured: bool
    ledger: Ledger
    low: float
    high: float
    limit: float

    @property
    def speedup(self):
        """fp32's time over the predicted one."""
        total = self.ledger.total
        return total.fp32_ms / total.quantized_ms

    def __repr__(self):
        basis = "from fp32 times measured here" if self.measured else "from its card alone"
        return (
            f"{self.recipe} on {self.card_name}, {basis}: {self.speedup:.2f} times as fast as fp32, {self.low:.2f} to "
            f"{self.high:.2f} ({self.limit:.3g} if its products were free)\n{self.ledger!r}"
        )


def predict(
    fp32: ModelPath | Model,
    feed: Feeds,
    recipe: str = "hybrid",
    *,
    card: str | Card | None = None,
    rounds: int = ROUNDS,
) -> Prediction:
    """The Prediction of what `recipes.<recipe>` would gain on the model file `fp32` for this feed.

    >>> measure.predict("model.onnx", {"x": x}, "dynamic")  # doctest: +SKIP
    dynamic on ..., from fp32 times measured here: 1.42 times as fast as fp32, 1.14 to 1.66 (4.1 if ...)
    ...

    1. A product that the recipe quantizes takes its fp32 time, divided by the card's speed of the pair it would get
       (less of it for short sums, none for depthwise convolutions); but not less than moving its tensors takes, a
       quarter of the bytes.
    2. Activations that are quantized while the model runs cost as much as copying them: B bytes read and B written, at
       the card's rate or, where that is higher, at the one at which fp32's operators beside the products read and write
       theirs: small tensors lie in a cache. With static ranges only what goes in and out of float operators among
       integers costs that.
    3. An activation that only the float convolution has fused into it (HardSwish) becomes operators of its own, each of
       which takes as long as moving its tensors.
    4. A bias that is added to what a matrix product gives, a constant, becomes part of it where the product finds its
       ranges while it runs.
    5. All else takes as long as before.
    fp32's times are measured here. With the card of another machine they follow from it: 2 operations a multiply-add at
    its float32 rate, or all bytes once at its copying rate, whichever takes longer.

    "dynamic" is recipes.dynamic as it is called plainly: recurrent layers stay in float.
    It knows nothing of caches and of single kernels, hence the range; measure.compare has the last word.
    Raises ValueError for another recipe, and what `profile` raises.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe is {recipe!r}; expected one of {', '.join(RECIPES)}")
    own, card = machine.card(), machine.card(card)
    before = profile(fp32, feed, rounds=rounds)
    measured = card.name == own.name
    if not measured:
        before = _on(card, before)
    recipe = RECIPES[recipe]
    speed = card.speed[choose(card, activations=recipe.activations).pair]
    ways = dict(on_integers(before, recipe))
    after = {node: replace(node, ms=_after(node, ways, card, speed)) for node in before.nodes}
    after |= {node: replace(node, ms=0.0) for node in _biases(before, ways)}
    card = replace(card, copy_gb_per_s=max(card.copy_gb_per_s, _rate(before)))
    saved = before.kernel_ms - took(after.values())
    predicted = replace(before, nodes=tuple(after.values()), total_ms=before.total_ms - saved)
    edges, activations = _activations_ms(ways, recipe, card)
    edges += _quantizing_ms(before.nodes, ways, recipe, card) if ways else 0.0  # else nothing is changed
    added = {"boundary": edges, "the rest": activations}
    more = sum(added.values())
    entries = [(family, (now, then + added.get(family, 0.0))) for family, (now, then) in by_family(before, predicted)]
    taken = took(after[node] for node in ways)
    least, most = (before.total_ms - saved / 2 + 2 * more), (predicted.total_ms - taken / 3 + more)
    whole = before.total_ms
    rest = whole - took(ways)
    limit = whole / rest if rest > 0 else float("inf")
    return Prediction(recipe.name, card.name, measured, ledger_of(entries), whole / least, whole / most, limit)


def on_integers(before, recipe):
    """(NodeTime, how) of the products of the fp32 Profile `before` that the Recipe puts on integers."""
    for node in before.nodes:
        product = Product(node.op_type, len(node.weights), node.depthwise, node.inside)
        if node.multiplies and (way := recipe.how(product)):
            yield node, way


def _after(node, ways, card, speed):
    if node not in ways:
        return node.ms
    # What lies in a cache moves faster than the card copies; but a quarter of the bytes takes a quarter of the time.
    moving = min(_moving_ms(node.bytes / 4, card), node.ms / 4)
    return max(node.ms / integer_speed(node, speed), moving)


def _rate(before):
    """10⁹ bytes a second that what computes beside the products reads and writes, 0 where nothing does.

    What only rearranges is left out: a Reshape takes no time for any number of bytes.
    """
    beside = [n for n in before.nodes if n.kind == "float" and not n.multiplies and n.op_type not in REARRANGING]
    return sum(node.bytes for node in beside) / (took(beside) * 1e6) if took(beside) else 0.0


def _biases(before, ways):
    """The Adds of a constant vector to a matrix product's result that is quantized while the model runs.

    onnxruntime fuses an Add whose constant has one number a column, and which alone reads the product.
    """
    links, held = side_by_side(before.nodes, lambda time: time.node), stored(before.model)
    results = {value.name for value in before.model.graph.output}
    for node in before.nodes:
        made = links.makers(node) if node.op_type == "Add" else ()
        columns = [held[name].dims for name in node.node.input if name in held]
        if len(made) == 1 and len(columns) == 1 and made[0].op_type == "MatMul" and ways.get(made[0]) == DYNAMIC:
            is_vector = columns[0] and columns[0][-1] == math.prod(columns[0]) == made[0].weights[-1]
            if is_vector and links.behind(made[0]) == [node] and not results & {*made[0].node.output}:
                yield node


def _quantizing_ms(nodes, ways, recipe, card):
    """What it costs to make codes of the products' inputs, or of what float operators read and give among integers."""
    milliseconds, near = 0.0, _beside_static_products(nodes, ways)
    for node in nodes:
        if node in ways:
            milliseconds += _moving_ms(2 * node.input_bytes, card) if ways[node] == DYNAMIC else 0.0
        elif node.kind == "float" and node.op_type not in LAYOUT | recipe.keeps:
            is_between = bool(recipe.keeps) and (recipe.spreads or node in near)
            milliseconds += _moving_ms(node.bytes, card) if is_between else 0.0
    return milliseconds


def _activations_ms(products, recipe, card):
    """(Q and DQ around them, they themselves): activations that the quantized convolutions can no longer have in them.

    Relu and Clip fold into the codes' range. recipes.static has a table for those with an integer kernel, which reads
    and writes a byte a number. onnxruntime computes HardSwish as a HardSigmoid and a product, of codes in a static
    model.
    """
    edges, own = 0.0, 0.0
    for node in products:
        activation = next((one.s.decode() for one in node.node.attribute if one.name == "activation"), "")
        if activation in ("", *CLIPS):
            continue
        results = node.macs / math.prod(node.weights[1:])
        if activation in recipe.keeps:
            own += _moving_ms(2 * results, card)
            continue
        product = (3 if "Mul" in recipe.keeps else 12) if activation == "HardSwish" else 0
        edges += _moving_ms(FLOATS * results, card)
        own += _moving_ms((FLOATS + product) * results, card)
    return edges, own


def _beside_static_products(nodes, ways):
    """The nodes that read what a static product gives, or give what one reads, in any layout."""
    links, near = side_by_side(nodes, lambda time: time.node), set()
    for node in nodes:
        for source in links.makers(node):
            source = links.maker(source) if source.op_type in LAYOUT else source
            near |= {other for one, other in ((source, node), (node, source)) if ways.get(one) == STATIC}
    return near


def _moving_ms(number_of_bytes, card):
    return number_of_bytes / (card.copy_gb_per_s * 1e6)


def _on(card, before):
    """The Profile as it should be on another machine: a roofline of its float32 and its copying rate."""

    def milliseconds(node):
        return max(2 * node.macs / (card.float32_gflops * 1e6), _moving_ms(node.bytes, card))

    nodes = tuple(replace(node, ms=milliseconds(node) if node.kind != "other" else 0.0) for node in before.nodes)
    return replace(before, nodes=nodes, total_ms=took(nodes), profiler_ms=0.0)
