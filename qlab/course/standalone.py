"""A function or a class of the reader's as text that stands alone, with the imports, helpers and constants it needs.

>>> print(standalone(to_codes, "quantize"))
import numpy as np


def to_codes(x, scale, zero_point):
    ...


quantize = to_codes

What a piece of code needs is read from the names in it, and theirs. The text is that of this very function object, as
it was when this was made, even if its cell was run anew since: the source is compiled once more, and where that gives
other code nothing is kept.
"""

import __future__

import ast
import contextlib
import inspect
import linecache
import symtable
import sys
import textwrap
import types
from typing import NamedTuple

import numpy as np

from qlab.course.show import kind

LONGEST = 4_000  # characters or entries of a constant: what is longer is data
_NUMBERS = {np.bool_, *(np.dtype(code).type for code in "bBhHiIlLqQefd")}
_FUTURE = __future__.annotations.compiler_flag


class NotKept(Exception):
    """Why the text of something cannot be kept, for its author to read."""


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
        found = find(value, name)
        for needed in _global_names(found.text):
            # A name from nowhere raises there as it does here.
            if needed in found.globals and not needed.startswith("__"):
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
    if type(value) is dict:
        return f"{{{inside}}}"
    return f"[{inside}]" if type(value) is list else f"{kind(value)}([{inside}])"


def _told(value):
    """What the value is, in words."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"of type `{kind(value)}`"


class Found(NamedTuple):
    """name: what the text defines, None for a lambda. imports: lines that the text needs to mean the same."""

    name: str | None
    text: str
    globals: dict
    imports: tuple


def find(value, called):
    """The source of a function, a lambda or a class. `called` is its name, for what NotKept says."""
    if isinstance(value, type):
        return _class(value, called)
    function = inspect.unwrap(value, stop=lambda inner: not hasattr(inner, "__wrapped__"))
    if not isinstance(function, types.FunctionType):
        raise NotKept(f"`{called}` is of type `{type(value).__name__}`, not a function with `def` or a class")
    code = function.__code__
    if code.co_freevars:
        names = ", ".join(f"`{name}`" for name in code.co_freevars)
        raise NotKept(f"`{called}` is made inside another function and uses its {names}: write it at the top of a cell")
    for node, text, _ in _definitions(code, function.__globals__):
        if function is not value and not getattr(node, "decorator_list", []):
            raise NotKept(f"`{called}` was wrapped after its definition: write the wrapper as a decorator above it")
        _check_defaults(function, node, called)
        return Found(getattr(node, "name", None), text, function.__globals__, _future(code))
    raise NotKept(f"the source of `{called}` is not to be had: define it in a cell without %%magic, and run that cell")


def code_of(value):
    """The code of a function, or of a method that a class defines itself; None for anything else."""
    functions = _own(value) if isinstance(value, type) else _functions(value)
    return functions[0].__code__ if functions else None


def _class(cls, called):
    """By its methods: a class itself does not know where it was written."""
    own = _own(cls)
    if not own:
        raise NotKept(f"the class `{called}` has no method of its own from which its source could be found")
    members = [method for member in vars(cls).values() for method in _functions(member)]
    if any(method not in own and linecache.getlines(method.__code__.co_filename) for method in members):
        raise NotKept(f"the class `{called}` was given a method after its definition: write it into the class")
    codes = {method.__code__ for method in own}
    for node, text, compiled in _definitions(own[0].__code__, own[0].__globals__, cls.__name__):
        for body in compiled:
            inside = {code for code in body.co_consts if isinstance(code, types.CodeType)}
            written = {code.co_name for code in inside if not code.co_name.startswith("<")}
            if body.co_name == node.name and codes <= inside and written <= {code.co_name for code in codes}:
                return Found(node.name, text, own[0].__globals__, _future(own[0].__code__))
    raise NotKept(f"the source of the class `{called}` is not to be had, or it was changed after its definition")


def _own(cls):
    """The functions that stand in the class's own text: not a dataclass's made ones, nor what was put in later."""
    methods = [method for member in vars(cls).values() for method in _functions(member)]
    return [method for method in methods if method.__code__.co_qualname == f"{cls.__qualname__}.{method.__name__}"]


def _functions(member):
    """The plain functions behind an entry of a class."""
    if isinstance(member, property):
        return [inner for part in (member.fget, member.fset, member.fdel) if part for inner in _functions(part)]
    member = getattr(member, "__func__", member)
    member = inspect.unwrap(member) if hasattr(member, "__wrapped__") else member
    return [member] if isinstance(member, types.FunctionType) else []


def _definitions(code, names, class_name=None):
    """What stands where the code (of the class, if one is named) says: nodes, their text, and all code of that place.

    Nothing, if the code's file gives this very code no more.
    """
    lines = linecache.getlines(code.co_filename, names)
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return
    compiled = list(_compiled(tree, code.co_firstlineno, code.co_flags & _FUTURE))
    for node in ast.walk(tree) if code in compiled else ():
        if _is_meant(node, code, class_name) and (text := _text(node, lines)):
            yield node, text, compiled


def _is_meant(node, code, class_name):
    if class_name:
        named = isinstance(node, ast.ClassDef) and node.name == class_name
        return named and node.lineno <= code.co_firstlineno <= node.end_lineno
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and _within(code, node)
    return getattr(node, "name", None) == code.co_name and _first_line(node) == code.co_firstlineno


def _within(code, node):
    """Was the code made from this node's part of the line? A line may hold several lambdas that look alike."""
    start, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    known = [place for place in code.co_positions() if None not in place and place[2:] != (0, 0)]
    return all(start <= (line, column) and (last, stop) <= end for line, last, column, stop in known)


def _first_line(node):
    decorators = getattr(node, "decorator_list", [])
    return min([getattr(node, "lineno", 0), *(decorator.lineno for decorator in decorators)])


def _text(node, lines):
    """The node's own lines, moved to the left edge; "" if that would change what they say."""
    if isinstance(node, ast.Lambda):
        text = f"({ast.get_source_segment(''.join(lines), node)})"
        text = text if "\n" in text else text[1:-1]
    else:
        text = textwrap.dedent("".join(lines[_first_line(node) - 1 : node.end_lineno])).rstrip()
    try:
        (alone,) = ast.parse(text).body
    except (SyntaxError, ValueError):
        return ""
    alone = alone.value if isinstance(node, ast.Lambda) else alone
    return text if ast.dump(alone) == ast.dump(node) else ""


def _compiled(tree, line, flags):
    """Every code object that the source gives, and the statement around the line alone.

    IPython compiles a cell statement by statement, Python a file at once; the bytecode may differ, since a name that
    the same piece imports is known to be a module.
    """
    tops = [top for top in tree.body if _first_line(top) <= line <= top.end_lineno]
    for piece in (tree, *(ast.Module([top], []) for top in tops)):
        with contextlib.suppress(SyntaxError, ValueError):
            yield from _codes(compile(piece, "<source>", "exec", flags=flags, dont_inherit=True))


def _codes(code):
    """Every code object in a module's, however deep."""
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield inner
            yield from _codes(inner)


def _future(code):
    return ("from __future__ import annotations",) if code.co_flags & _FUTURE else ()


def _check_defaults(function, node, called):
    """A default is computed once, when `def` runs: what it was computed from must still have that value."""
    arguments = node.args
    written = [*arguments.defaults, *filter(None, arguments.kw_defaults)]
    values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for expression, value in zip(written, values, strict=False):
        now = function.__globals__.get(expression.id, value) if isinstance(expression, ast.Name) else value
        if now is not value or len(written) != len(values):
            raise NotKept(f"a default of `{called}` has changed since it was defined: run its cell again")
