"""The table of recipes: a new one has its own file, and a place here."""

from qlab.recipes.choice import Recipes
from qlab.recipes.dynamic import RECIPE as _DYNAMIC
from qlab.recipes.hybrid import RECIPE as _HYBRID
from qlab.recipes.static import RECIPE as _STATIC

RECIPES = Recipes(_DYNAMIC, _STATIC, _HYBRID)
