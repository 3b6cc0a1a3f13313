"""A function or a class of the reader's as text that stands alone, with the imports, helpers and constants it needs.

>>> print(standalone(to_codes, "quantize"))
import numpy as np


def to_codes(x, scale, zero_point):
    ...


quantize = to_codes

What a piece of code needs is read from the names in it, and theirs. The text is that of this very function object, even
if its cell was run anew since: text and bytecode are compared, and where they differ nothing is kept.
"""

import ast
import symtable
import sys
import types

import numpy as np

from qlab.course import sources
from qlab.course.brief import kind
from qlab.course.sources import NotKept

__all__ = ["NotKept", "standalone"]

_NUMBERS = {np.bool_, *(np.dtype(code).type for code in "bBhHiIlLqQefd")}
LONGEST = 4_000  # characters or entries of a constant: what is longer is data


def standalone(answer, name):
    """The text of a module in which `name` is the answer. Raises NotKept, which says why, where none can be made."""
    if not callable(answer):
        raise NotKept(f"it is of type `{kind(answer)}`, not a function or a class")
    page = _Page()
    own = getattr(answer, "__name__", name)
    page.add(own if own.isidentifier() else name, answer)
    if own.isidentifier() and own != name:
        if name in page.meant:
            raise NotKept(f"it uses something else that is called `{name}`: give that another name")
        page.definitions.append(f"{name} = {own}")
    return page.text()


class _Page:
    """Imports, constants and definitions, each before what needs it."""

    def __init__(self):
        self.meant = {}  # name -> what it stands for
        self.imports, self.constants, self.definitions = {}, [], []  # imports: lines, in order

    def text(self):
        imports = sorted(self.imports, key=lambda line: ("__future__" not in line, line.startswith("from "), line))
        head = "\n\n".join(filter(None, ["\n".join(imports), "\n".join(self.constants)]))
        return "\n\n\n".join(filter(None, [head, *self.definitions])) + "\n"

    def add(self, name, value):
        """Let `name` stand for the value, once; two values of one name cannot live in one module."""
        if name in self.meant:
            if self.meant[name] is not value:
                raise NotKept(f"two different things in it are called `{name}`: give one of them another name")
            return
        self.meant[name] = value
        if line := _import_line(name, value):
            self.imports[line] = None
        elif isinstance(value, type) or callable(value):
            self._define(name, value)
        elif (written := _literal(value)) is not None:
            self.constants.append(f"{name} = {written}")
            if "numpy." in written:
                self.add("numpy", np)
        else:
            raise NotKept(f"it uses `{name}`, {_told(value)}, which cannot be kept as text: make it an argument")

    def _define(self, name, value):
        found = sources.find(value, name)
        for needed in _global_names(found.text):
            if needed in found.globals and not needed.startswith(
                "__"
            ):  # a name from nowhere raises there as it does here
                self.add(needed, found.globals[needed])
                self._import_submodules(needed, found)
        self.imports.update(dict.fromkeys(found.imports))
        if not found.name:
            self.definitions.append(f"{name} = {found.text}")
        elif found.name == name:
            self.definitions.append(found.text)
        else:
            self.add(found.name, value)
            self.definitions.append(f"{name} = {found.name}")

    def _import_submodules(self, name, found):
        """`import onnx` alone does not promise onnx.helper: what is reached through a module is imported as well."""
        for path in _attribute_paths(found.text, name):
            module = self.meant[name]
            for attribute in path:
                inner = getattr(module, attribute, None) if isinstance(module, types.ModuleType) else None
                if not isinstance(inner, types.ModuleType) or inner.__name__ != f"{module.__name__}.{attribute}":
                    break
                if attribute in getattr(module, "__all__", ()):  # the module itself promises it
                    module = inner
                    continue
                self.imports[f"import {inner.__name__}"] = None
                self.add(inner.__name__.partition(".")[0], sys.modules[inner.__name__.partition(".")[0]])
                module = inner


def _import_line(name, value):
    """The line that brings an importable value under this name, or None."""
    if isinstance(value, types.ModuleType):
        if sys.modules.get(value.__name__) is not value or value.__name__ == "__main__":
            raise NotKept(f"it uses the module `{name}`, which cannot be imported by its name")
        return f"import {value.__name__}" + (f" as {name}" if name != value.__name__ else "")
    own = getattr(value, "__name__", None)
    for module in (getattr(value, "__module__", None), type(value).__module__):
        named = isinstance(own, str) and own.isidentifier() and module not in (None, "__main__")
        if named and getattr(sys.modules.get(module), own, None) is value:
            return f"from {module} import {own}" + (f" as {name}" if name != own else "")
    return None


def _global_names(text):
    """Every name in the code that is looked up among the globals, in alphabetical order."""
    table = symtable.symtable(text, "<kept>", "exec")
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    waiting = table.get_children()
    while waiting:
        scope = waiting.pop()
        names |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global()}
        waiting += scope.get_children()
    return sorted(names)


def _attribute_paths(text, name):
    """[["helper", "make_node"]] for onnx.helper.make_node and the name onnx."""
    paths = []
    for node in ast.walk(ast.parse(text)):
        path = []
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        if path and isinstance(node, ast.Name) and node.id == name:
            paths.append(path)
    return paths


def _literal(value, depth=4):
    """The value as Python source, or None: numbers, text, and small containers of them."""
    if type(value) in _NUMBERS:
        return f"numpy.{type(value).__name__}({_literal(value.item())})"
    if type(value) in (float, complex) and not np.isfinite(value):
        return f'{type(value).__name__}("{value}")'
    if type(value) is complex:  # its repr adds up: -0j would come back as -0-0j
        return f"complex({value.real!r}, {value.imag!r})"
    if value is None or type(value) in (bool, int, float, str, bytes):
        return repr(value) if len(repr(value)) <= LONGEST else None
    if type(value) not in (tuple, list, dict, set, frozenset) or not depth or len(value) > LONGEST:
        return None
    if type(value) is dict:
        pairs = [(_literal(key, depth - 1), _literal(entry, depth - 1)) for key, entry in value.items()]
        written = [f"{key}: {entry}" for key, entry in pairs if key and entry]
    else:
        written = [text for entry in value if (text := _literal(entry, depth - 1))]
    if len(written) < len(value):
        return None
    inside = ", ".join(written)
    if type(value) is tuple:
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return {list: f"[{inside}]", dict: f"{{{inside}}}", set: f"set([{inside}])", frozenset: f"frozenset([{inside}])"}[
        type(value)
    ]


def _told(value):
    """What the value is, in words."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"of type `{kind(value)}`"
