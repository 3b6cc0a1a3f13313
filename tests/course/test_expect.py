"""The messages that checks are made of say what was expected and what was seen."""

import ml_dtypes
import numpy as np
import pytest

from qlab.course import expect
from qlab.course.show import Almost, NotYet


def refusal(function, *arguments, **keywords):
    with pytest.raises(Almost) as caught:
        function(*arguments, **keywords)
    return str(caught.value)


def test_call_refuses_what_gives_no_value():
    assert "expected a function" in refusal(expect.call, 3)
    assert "returned None, called with 1: does it end in `return`?" in refusal(expect.call, lambda x: None, 1)
    assert "use `return` instead of `yield`" in refusal(expect.call, lambda: (x for x in ()))
    with pytest.raises(NotYet):
        expect.call(lambda: ...)


def test_call_gives_copies_of_arrays_wherever_they_are_and_other_objects_as_they_are():
    array, lock = np.zeros(2), iter(())

    def spoils(given, lock_seen, named):
        given[0]["x"][:] = 1
        named[:] = 1
        return lock_seen

    assert expect.call(spoils, [{"x": array}], lock, named=array) is lock
    assert array.tolist() == [0, 0]


def test_call_names_keyword_arguments():
    assert "called with 1, bits=4" in refusal(expect.call, lambda x, bits: [][x], 1, bits=4)


def test_the_largest_difference_is_told_with_its_place():
    seen = np.float32([[1, 2], [3, 9]])
    message = refusal(expect.expect_close, seen, [[1, 2.5], [3, 4]], "the codes")
    assert message == "the codes at [1, 1]: expected 4, seen 9 (2 of 4 entries differ)"


def test_nan_and_infinity_are_differences_and_equal_only_themselves():
    assert "expected 1, seen nan" in refusal(expect.expect_close, [np.nan, 1.5], [1, 1], "x")
    assert "seen inf" in refusal(expect.expect_close, np.inf, 1, "x")
    expect.expect_close([np.nan, np.inf], [np.nan, np.inf])


def test_a_foreseen_mistake_is_named_and_computed_only_when_needed():
    mistakes = {"you rounded down": lambda: np.floor([1.6]), "never": lambda: 1 / 0}
    assert refusal(expect.expect_equal, [1], [2], mistakes=mistakes).endswith(": you rounded down")
    expect.expect_equal([2], [2], mistakes={"never": lambda: 1 / 0})


def test_a_hint_stands_where_no_mistake_is_foreseen():
    assert refusal(expect.expect_equal, [5], [2], mistakes={"other": [7]}, hint="saturate").endswith(": saturate")


@pytest.mark.parametrize("seen", ["12", [[1], [1, 2]], None, {1, 2}, {"a": 1}, np.array([None]), [10**400]])
def test_what_is_no_array_of_numbers_is_named(seen):
    assert "expected numbers, seen" in refusal(expect.expect_array, seen)


def test_small_integer_types_are_numbers():
    codes = np.array([-8, 7], ml_dtypes.int4)
    assert expect.expect_dtype(codes, ml_dtypes.int4) is codes
    assert expect.expect_equal(codes, [-8, 7]) is codes
    assert "expected dtype int8, seen int4" in refusal(expect.expect_dtype, codes, "int8")


def test_one_number_may_come_as_an_array_of_one():
    assert expect.expect_number(np.float32([[2]])) == 2
    assert "expected one number, seen" in refusal(expect.expect_number, [1, 2])


def test_a_wrong_shape_is_told():
    assert refusal(expect.expect_close, [1, 2], [1], "the scales") == "the scales: expected shape (1,), seen (2,)"


def test_tensors_are_the_same_each_time_and_hold_the_edges():
    first, second = dict(expect.tensors(1)), dict(expect.tensors(1))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in first.values())
    assert {"a constant tensor", "a tensor of zeros", "a single number"} <= set(first)


def first(x):
    return x


def second(x):
    return x


@pytest.mark.parametrize(("answer", "pair"), [(first, (first, None)), ([first, second], (first, second))])
def test_a_pair_of_functions_or_its_first_alone_is_taken(answer, pair):
    assert expect.two_functions(answer, "first", "second") == pair


def test_what_is_no_pair_of_functions_is_told_what_was_expected():
    swapped = refusal(expect.two_functions, (second, first), "first", "second")
    assert swapped == "the two functions are swapped: check takes (first, second)"
    for answer in (second, (first, 3), "first"):
        assert "expected (first, second), two functions" in refusal(expect.two_functions, answer, "first", "second")
