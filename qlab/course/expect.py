"""What checks are written with: call the answer, and compare what it gives with a reference.

Each `expect_` function returns what it looked at, as an array or number, or raises `Almost` with what was expected and
what was seen. `mistakes` names wrong results that a check foresees, so that the message can say which one it is.
"""

import inspect

import numpy as np

from qlab.course.show import Almost, NotYet, brief, error_text, kind, learner_line, number


def call(function, *arguments, name="your function", **keywords):
    """What the learner's function returns for the arguments; it gets copies of arrays and containers.

    Raises Almost if it is not callable, raises, is a generator or a coroutine, or returns None; NotYet if it returns
    `...`.
    """
    if not callable(function):
        raise Almost(f"{name} is of type `{kind(function)}`: expected a function")
    seen_for = _inputs(arguments, keywords)
    try:
        result = function(*_copied(arguments), **_copied(keywords))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit and RecursionError too
        raise Almost(f"{name} raised {error_text(error)}{learner_line(error)}{seen_for}") from error
    if result is ...:
        raise NotYet(f"{name} still returns `...`")
    if result is None:
        raise Almost(f"{name} returned None{seen_for}: does it end in `return`?")
    if inspect.isgenerator(result) or inspect.iscoroutine(result):
        result.close()
        raise Almost(f"{name} gave a {kind(result)}, not a value: use `return` instead of `yield`, and no `async`")
    return result


def _copied(value):
    """Arrays and containers copied, so that an answer cannot change the check's inputs; anything else as it is."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple, set):
        return type(value)(map(_copied, value))
    return {key: _copied(entry) for key, entry in value.items()} if type(value) is dict else value


def _inputs(arguments, keywords):
    named = [brief(value) for value in arguments] + [f"{key}={brief(value)}" for key, value in keywords.items()]
    return f", called with {', '.join(named)}" if named else ""


def two_functions(answer, first, second):
    """(first, second) of an answer that is this pair of functions; (first, None) of the first alone.

    `first` and `second` are the names that the exercise gives them. Raises Almost for anything else, and if swapped.
    """
    if callable(answer) and getattr(answer, "__name__", "") != second:
        return answer, None
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(map(callable, answer)):
        raise Almost(f"expected ({first}, {second}), two functions; seen {brief(answer)}, a `{kind(answer)}`")
    if getattr(answer[0], "__name__", "") == second:
        raise Almost(f"the two functions are swapped: check takes ({first}, {second})")
    return tuple(answer)


def class_and_function(answer, first, second):
    """(first, second) of an answer that is a class and a function; (first, None) of the class alone.

    `first` and `second` are the names that the exercise gives them. Raises Almost for anything else, and if swapped.
    """
    if isinstance(answer, type):
        return answer, None
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Almost(f"expected ({first}, {second}), seen {brief(answer)}")
    if isinstance(answer[1], type) and not isinstance(answer[0], type):
        raise Almost(f"the two are swapped: check takes ({first}, {second})")
    return tuple(answer)


def judge_choice(answer, options):
    """Why the chosen option is right. options: {option: {"right": bool, "why": text}}; Almost for any but the right."""
    answer = answer.strip().lower() if isinstance(answer, str) else answer
    if not isinstance(answer, str) or answer not in options:
        raise Almost(f"expected one of {', '.join(map(repr, options))}, seen {brief(answer)}")
    if not options[answer]["right"]:
        raise Almost(f"{answer!r}: {options[answer]['why']}")
    return options[answer]["why"]


def expect_array(seen, what="the result"):
    """`seen` as an array of numbers. Lists of numbers are taken; strings, ragged lists, None and sets are not."""
    try:
        array = np.asarray(seen)
        array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise Almost(f"{what}: expected numbers, seen {brief(seen)} of type `{kind(seen)}`") from None
    if array.dtype.kind in "OSUMm":
        raise Almost(f"{what}: expected numbers, seen {brief(seen)} of type `{kind(seen)}`")
    return array


def expect_number(seen, what="the result"):
    """`seen` as one float; an array of exactly one entry is taken."""
    array = expect_array(seen, what)
    if array.size != 1:
        raise Almost(f"{what}: expected one number, seen {brief(array)}")
    return float(array.astype(np.float64).reshape(()))


def expect_shape(seen, shape, what="the result"):
    """The array has this shape."""
    array = expect_array(seen, what)
    if array.shape != tuple(shape):
        raise Almost(f"{what}: expected shape {tuple(shape)}, seen {array.shape}")
    return array


def expect_dtype(seen, dtype, what="the result"):
    """The array has this dtype (`int8`, `ml_dtypes.int4`, ...)."""
    array = expect_array(seen, what)
    if array.dtype != np.dtype(dtype):
        raise Almost(f"{what}: expected dtype {np.dtype(dtype)}, seen {array.dtype}")
    return array


def expect_close(seen, expected, what="the result", *, rtol=1e-5, atol=1e-8, mistakes=None, hint=""):
    """Every entry lies within atol + rtol * |expected| of the reference; NaN equals NaN.

    mistakes: {what was done wrong: the result that it gives, or a function without arguments that computes it}.
    """
    reference = np.asarray(expected)
    array = expect_shape(seen, reference.shape, what)
    apart = _apart(array, reference, rtol, atol)
    if apart.any():
        raise Almost(_difference(array, reference, apart, what) + _explanation(array, mistakes, rtol, atol, hint))
    return array


def expect_equal(seen, expected, what="the codes", *, mistakes=None, hint=""):
    """Every entry equals the reference: for integer codes, counts, shapes."""
    return expect_close(seen, expected, what, rtol=0, atol=0, mistakes=mistakes, hint=hint)


def tensors(seed=0):
    """Named float32 tensors that find mistakes: ordinary ones, then edges. -> iterator of (name, array)"""
    random = np.random.default_rng(seed)
    yield "a normal tensor", random.normal(size=(4, 6)).astype(np.float32)
    yield "a heavy-tailed tensor", random.standard_t(2, size=257).astype(np.float32)
    yield "a tensor of positive numbers", (random.random((3, 5)) + 0.5).astype(np.float32)
    yield "a tensor of negative numbers", (-random.random((3, 5)) - 0.5).astype(np.float32)
    yield "a tensor of tiny numbers", (random.normal(size=16) * 1e-4).astype(np.float32)
    yield "a tensor of large numbers", (random.normal(size=16) * 1e4).astype(np.float32)
    yield "a single number", np.float32([random.normal()])
    yield "a constant tensor", np.full((2, 3), 3, np.float32)
    yield "a tensor of zeros", np.zeros((2, 3), np.float32)


def _apart(array, reference, rtol, atol):
    array, reference = array.astype(np.float64), reference.astype(np.float64)
    return ~np.isclose(array, reference, rtol=rtol, atol=atol, equal_nan=True)


def _difference(array, reference, apart, what):
    """Where the result is furthest from the reference, and how many entries differ."""
    if array.ndim == 0:
        return f"{what}: expected {number(reference)}, seen {number(array)}"
    distance = np.abs(array.astype(np.float64) - reference.astype(np.float64))
    distance = np.where(apart, np.where(np.isfinite(distance), distance, np.inf), -1.0)
    place = np.unravel_index(int(distance.argmax()), array.shape)
    index = ", ".join(map(str, place))
    count = f"{int(apart.sum())} of {array.size} entries differ"
    return f"{what} at [{index}]: expected {number(reference[place])}, seen {number(array[place])} ({count})"


def _explanation(array, mistakes, rtol, atol, hint):
    """The foreseen mistake that gives exactly this result, otherwise the hint."""
    for name, result in (mistakes or {}).items():
        wrong = np.asarray(result() if callable(result) else result)
        if wrong.shape == array.shape and not _apart(array, wrong, rtol, atol).any():
            return f": {name}"
    return f": {hint}" if hint else ""
