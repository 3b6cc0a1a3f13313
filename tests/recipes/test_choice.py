from dataclasses import replace

import pytest

from qlab import machine
from qlab.recipes.choice import choose

VNNI, AVX2 = machine.card("x86-avx512-vnni"), machine.card("x86-avx2")
ARM = replace(VNNI, name="arm", speed={"u8s8": 3.05, "u8u8": 3.0, "s8s8": 3.0, "s8u8": None})
SLOW_S8 = replace(AVX2, name="slow s8", speed={**AVX2.speed, "u8s8": 1.3})


def test_where_u8_x_s8_is_fastest_and_exact_that_with_all_8_bits():
    choice = choose(VNNI)
    assert (choice.pair, choice.reduce_range, choice.symmetric) == ("u8s8", False, False)


def test_where_u8_x_s8_saturates_but_is_fastest_its_weights_get_scales_that_fit_pairs():
    choice = choose(AVX2)
    assert (choice.pair, choice.reduce_range, choice.fits_pairs) == ("u8s8", True, True)
    assert str(choice) == "activations uint8 x weights int8"
    assert "scales such that no sum of two products leaves 16 bits" in choice.why
    assert not choose(VNNI).fits_pairs
    assert not choose(SLOW_S8).fits_pairs


@pytest.mark.parametrize("settings", [{"reduce_range": True}, {"fits_pairs": False}])
def test_all_weights_have_7_bits_where_that_is_asked_for_or_nothing_else_can_be_done(settings):
    choice = choose(AVX2, **settings)
    assert (choice.reduce_range, choice.fits_pairs) == (True, False)
    assert str(choice) == "activations uint8 x 7-bit weights int8"
    assert "7-bit weights because 8-bit ones saturate" in choice.why


def test_where_u8_x_s8_saturates_and_u8_x_u8_is_faster_that():
    choice = choose(SLOW_S8)
    assert (choice.pair, choice.reduce_range) == ("u8u8", False)


def test_where_s8_x_s8_is_as_fast_as_anything_symmetric_codes():
    choice = choose(ARM)
    assert (choice.pair, choice.symmetric, choice.reduce_range) == ("s8s8", True, False)


def test_a_recipe_that_needs_unsigned_activations_never_gets_signed_ones():
    assert choose(ARM, "uint8").pair == "u8s8"


def test_this_machines_own_card_is_read_where_none_is_given(monkeypatch):
    monkeypatch.setattr(machine, "card", lambda name: ARM)
    assert choose().pair == "s8s8"


def test_what_the_caller_asks_for_is_kept_and_made_exact():
    assert choose(VNNI, "int8", "int8").pair == "s8s8"
    assert choose(VNNI, weight_dtype="uint8").pair == "u8u8"
    assert choose(AVX2, "uint8", "int8").reduce_range
    assert choose(AVX2, "int8", "int8").reduce_range  # onnxruntime makes u8 x s8 of it
    assert not choose(AVX2, "uint8", "uint8").reduce_range
    assert choose(VNNI, reduce_range=True).reduce_range


def test_saturation_that_the_caller_insists_on_is_said_aloud():
    assert "SATURATES" in choose(AVX2, "uint8", "int8", reduce_range=False).why


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation_dtype": "float16"}, "activation_dtype is 'float16'; expected 'uint8', 'int8' or None"),
        ({"weight_dtype": "int4"}, "weight_dtype is 'int4'"),
        ({"reduce_range": "yes"}, "reduce_range is 'yes'"),
        ({"activation_dtype": "int8", "weight_dtype": "uint8"}, "no such kernels"),
    ],
)
def test_settings_that_cannot_run_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        choose(VNNI, **settings)


def test_a_pair_without_a_kernel_on_the_machine_is_refused():
    card = replace(ARM, speed={**ARM.speed, "u8u8": None})
    with pytest.raises(ValueError, match="arm has no integer product for u8u8"):
        choose(card, "uint8", "uint8")
