"""Is an answer still blank? Decided from the answer itself, so that it works wherever the cell's source is."""

import dis
import functools
import inspect
import types

_SETUP = {"RESUME", "NOP", "CACHE", "COPY_FREE_VARS", "MAKE_CELL", "NOT_TAKEN"}
_DEPTH = 3  # of containers within containers


def blank_part(answer):
    """What is still to be filled in, in words, or None if nothing is.

    1. `...` itself, or a container that holds it.
    2. A function that does nothing but return None or `...`: in bytecode, `...`, `pass` and a docstring leave no trace.
    3. A function where a `...` is still assigned or returned.
    4. A class in which no function has a body yet, or with a function of case 3.
    """
    return _blank(answer, _DEPTH)


def _blank(answer, depth):
    if answer is ...:
        return "the `...`"
    if depth and type(answer) in (list, tuple, set, frozenset, dict):
        entries = answer.values() if type(answer) is dict else answer
        return next((part for entry in entries if (part := _blank(entry, depth - 1))), None)
    if isinstance(answer, type):
        return _blank_class(answer)
    code = _code(answer)
    if code is None:
        return None
    if _does_nothing(code):
        return f"the body of `{code.co_name}`"
    return f"the `...` in `{code.co_name}`" if _keeps_ellipsis(code) else None


def _blank_class(answer):
    codes = [code for member in vars(answer).values() if (code := _code(member))]
    if codes and all(map(_does_nothing, codes)):
        return f"the body of `{answer.__name__}`"
    return next((f"the `...` in `{code.co_name}`" for code in codes if _keeps_ellipsis(code)), None)


def _code(answer):
    """The code object behind a function, however it is wrapped; None for anything else."""
    while isinstance(answer, functools.partial | staticmethod | classmethod | types.MethodType):
        answer = answer.func if isinstance(answer, functools.partial) else answer.__func__
    if isinstance(answer, property):
        answer = answer.fget
    if not isinstance(answer, types.FunctionType):
        return None
    return inspect.unwrap(answer, stop=lambda wrapped: not isinstance(wrapped, types.FunctionType)).__code__


def _does_nothing(code):
    instructions = [step for step in dis.get_instructions(code) if step.opname not in _SETUP]
    names = [step.opname for step in instructions]
    returned = instructions[0].argval if instructions else None
    return names in (["LOAD_CONST", "RETURN_VALUE"], ["RETURN_CONST"]) and (returned is None or returned is ...)


def _keeps_ellipsis(code):
    """Is a `...` stored under a name or returned? As an index, x[..., 0], it is neither."""
    instructions = [step for step in dis.get_instructions(code) if step.opname not in _SETUP]
    for step, following in zip(instructions, [*instructions[1:], None], strict=True):
        if step.argval is ... and (
            step.opname == "RETURN_CONST"
            or (step.opname == "LOAD_CONST" and following.opname.startswith(("STORE_FAST", "STORE_NAME", "RETURN")))
        ):
            return True
    return False
