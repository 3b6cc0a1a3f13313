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
weight_only  weights of 2 to 8 bits in blocks, by rounding, HQQ or GPTQ; activations stay floats in the file. For models
          that wait for their weights: a few rows at a time, from memory
RECIPES   {name: Recipe}: what is known of each; a new one has its own file, and a place in this table
prepare   the pre-processed model that the recipes quantize, to collect ranges on

A result is run on a feed and compared to fp32 before it is written; `.notes` says what did not go as usual.
What is not said is read from the machine card: the fastest sign pair that gives right answers on this machine.
"""

from qlab.recipes.choice import Choice, Product, Recipe, Recipes
from qlab.recipes.dynamic import RECIPE as _DYNAMIC
from qlab.recipes.dynamic import dynamic
from qlab.recipes.hybrid import RECIPE as _HYBRID
from qlab.recipes.hybrid import hybrid
from qlab.recipes.job import prepare
from qlab.recipes.quantized import Quantized
from qlab.recipes.static import RECIPE as _STATIC
from qlab.recipes.static import static
from qlab.recipes.weight_only import weight_only

RECIPES = Recipes(_DYNAMIC, _STATIC, _HYBRID)

__all__ = [
    "RECIPES",
    "Choice",
    "Product",
    "Quantized",
    "Recipe",
    "dynamic",
    "hybrid",
    "prepare",
    "static",
    "weight_only",
]
