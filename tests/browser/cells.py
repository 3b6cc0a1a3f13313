"""Which cells of a notebook must run before a given one can: read from the code, without running any."""

import ast
import builtins
import dis
from types import CodeType
from typing import NamedTuple


class Names(NamedTuple):
    """What a cell does to names: binds them, needs them from before, changes the objects behind them; and imports."""

    bound: set
    needed: set
    changed: set
    imported: set


def calls(cell, function):
    """Does the cell of code call `function`, by its bare name or as an attribute?"""
    if cell.cell_type != "code":
        return False
    called = [node.func for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return function in {getattr(name, "id", None) or getattr(name, "attr", None) for name in called}


def needed(notebook, targets):
    """The indices of all cells that must run, in order, so that the cells `targets` can.

    targets: {index: code that will stand there}. A cell needs, for each name that it uses,
    1. the last earlier cell that binds it, with all that this one needs;
    2. the cells from there on that change the object behind it: `x[0] = 1`, `x.scale = 2`, `x.append(3)`.
    The first cell of code, the set-up, is always among them.
    """
    code = {index: cell.source for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"} | targets
    names = {index: names_of(source) for index, source in code.items()}
    modules = set().union(*(of.imported for of in names.values()))
    chosen, waiting = set(), [min(names), *targets]
    while waiting:
        index = waiting.pop()
        if index not in chosen:
            chosen.add(index)
            for name in names[index].needed:
                waiting += _makers(name, index, names, name in modules)
    return sorted(chosen)


def _makers(name, index, names, is_module):
    """The cells before `index` of cases 1 and 2. A call such as `plots.bars(...)` changes no module."""
    for earlier in sorted((other for other in names if other < index), reverse=True):
        if name in names[earlier].bound:
            yield earlier
            return
        if name in names[earlier].changed and not is_module:
            yield earlier


def names_of(source):
    """The names of one cell. Bytecode keeps the order: a name that is bound before its first use is not needed."""
    code, tree = compile(source, "<cell>", "exec"), ast.parse(source)
    bound, used, inside = set(), set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_NAME", "STORE_GLOBAL"):
            bound.add(step.argval)
        elif step.opname in ("LOAD_NAME", "DELETE_NAME") and step.argval not in bound:
            used.add(step.argval)
        elif isinstance(step.argval, CodeType):
            inside |= _globals(step.argval)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {(alias.asname or alias.name).partition(".")[0] for node in imports for alias in node.names}
    return Names(bound, (used | inside - bound) - set(dir(builtins)), _changed(tree), imported)


def _globals(code):
    """The names that a function's code takes from the notebook, when it is called."""
    own = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(_globals(constant) for constant in code.co_consts if isinstance(constant, CodeType)))


def _changed(tree):
    """Names whose objects are changed in place: entries or attributes stored, or a method called for its effect."""
    stored = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
    ]
    called = [
        node.value.func for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    bases = map(_base, [*stored, *(function for function in called if isinstance(function, ast.Attribute))])
    return {base.id for base in bases if isinstance(base, ast.Name)}


def _base(node):
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node
