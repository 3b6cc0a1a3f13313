"""An fp32 model in, a quantized model out.

>>> from qlab import models, recipes
>>> recipes.dynamic(models.path("conformer"), "conformer.int8.onnx")  # doctest: +SKIP
dynamic: conformer.int8.onnx, 5.65 MB (before: 14.7 MB)
  activations uint8 x weights int8, a weight scale per output channel: the fastest usable pair on ... (3.3x float32)
  on integers: 56 of 74 MatMul (dynamic)
  in float: 20 of 20 Conv: not among the operators that this recipe quantizes
  in float: 18 of 74 MatMul: no constant weights: both factors move with the input
  in float besides, no products: 49 Transpose, 44 Reshape, 36 Add, 27 Mul, 25 LayerNormalization, ...

dynamic   weights ahead of time, activations while the model runs; needs no data. For Transformers, LSTMs
static    weights and activations ahead of time, from a few representative feeds. For convolutional networks
hybrid    convolutions static, then matrix products dynamic. For conformers, and whatever mixes the two
RECIPES   {name: Recipe}: what is known of each; a new one has its own file, and a place in this table
search    any of them, with as few layers in float as a bound on the loss of your own metric asks for: a Search
prepare   the pre-processed model that the recipes quantize, to collect ranges on

Before: equalize, smooth, the same function of floats with channels that share one scale better. After: correct_bias

A result is run on a feed and compared to fp32 before it is written; `.notes` says what did not go as usual.
What is not said is read from the machine card: the fastest sign pair that gives right answers on this machine.
"""

from qlab.recipes.choice import Choice, Product, Recipe
from qlab.recipes.correct_bias import correct_bias
from qlab.recipes.dynamic import dynamic
from qlab.recipes.equalize import equalize
from qlab.recipes.found import Search
from qlab.recipes.hybrid import hybrid
from qlab.recipes.job import prepare
from qlab.recipes.quantized import Quantized
from qlab.recipes.rewrites import Rewritten
from qlab.recipes.search import search
from qlab.recipes.smooth import smooth
from qlab.recipes.static import static
from qlab.recipes.table import RECIPES

__all__ = [
    "RECIPES",
    "Choice",
    "Product",
    "Quantized",
    "Recipe",
    "Rewritten",
    "Search",
    "correct_bias",
    "dynamic",
    "equalize",
    "hybrid",
    "prepare",
    "search",
    "smooth",
    "static",
]
