"""Notebook 09: what the harness of right and wrong answers does not reach."""

import math

import numpy as np
import onnx
import pytest

from qlab import graph, machine, measure, models
from qlab.course.check import judge
from qlab.course.lessons import n09


def hurried(candidates, rounds, clock):
    found = {}
    for name, run in candidates.items():
        started = clock()
        for _ in range(rounds):
            run()
        found[name] = (clock() - started) / rounds
    return found


@pytest.mark.parametrize("how", [{"first": 0.1}, {"slows": 1.0}, {"first": 0.1, "slows": 2.0, "hiccups": 0.1}])
def test_a_simulated_machine_fools_the_hurried_benchmark_and_not_the_honest_one(how):
    costs = {"fp32": 0.02, "int8": 0.01}
    fooled, told = (n09.World(costs, **how) for _ in range(2))
    found = hurried(fooled.candidates, 20, fooled.clock)
    honest = n09.benchmark(told.candidates, 21, told.clock)
    assert abs(found["fp32"] / found["int8"] / 2 - 1) > 0.1
    assert honest["fp32"] / honest["int8"] == pytest.approx(2, rel=0.05)


def test_a_simulated_run_moves_the_clock_by_what_was_written_down():
    world = n09.World({"a": 0.5}, first=1.0, slows=10.0, hiccups=0.3, lucky=0.3)
    seconds = []
    for _ in range(30):
        started = world.clock()
        world.candidates["a"]()
        seconds.append(world.clock() - started)
    np.testing.assert_allclose(seconds, [each for _, each in world.ran])
    assert seconds[0] > 1


@pytest.mark.parametrize(("parts", "overhead", "times"), [([(0.7, 3.3)], 0.08, 1.69), ([], 0, 1), ([(1, 4)], 0, 4)])
def test_amdahls_law_with_overhead(parts, overhead, times):
    assert n09.speedup(parts, overhead) == pytest.approx(times, rel=0.01)


def test_each_amdahl_mistake_is_another_number_in_some_case():
    cases = list(n09._amdahl_cases())
    names = {what for case in cases for what, _ in n09._amdahl_mistakes(*case)}
    for name in names:
        found = [dict(n09._amdahl_mistakes(*case)).get(name, n09.speedup(*case)) for case in cases]
        assert any(
            not math.isclose(one, n09.speedup(*case), rel_tol=1e-4) for one, case in zip(found, cases, strict=True)
        )


def test_each_mistake_in_the_cost_model_is_another_number_in_some_case():
    cases = [case[1:] for case in n09._cost_cases()]
    for name in dict(n09._cost_mistakes(*cases[0])):
        found = [dict(n09._cost_mistakes(*case))[name] for case in cases]
        assert any(not np.allclose(one, n09.cost(*case), rtol=1e-4) for one, case in zip(found, cases, strict=True)), (
            name
        )


@pytest.mark.parametrize("name", n09._MADE)
def test_the_pair_of_a_node_is_that_of_the_profile(name):
    path = n09.made(name)
    model = n09.running(path)
    if name == "product":
        feed = {"x": np.ones((3, 64), np.float32)}
    elif name == "island":
        feed = {"x": np.ones((1, 2, 6), np.float32)}
    elif name.startswith("digits"):
        feed = {"images": models.digit_split()[0][:2]}
    else:
        feed = models.feed(models.utterances("test")[0].samples)
    profiled = {node.name: node.sign_pair for node in measure.profile(path, feed, rounds=1).nodes if node.sign_pair}
    read = {node.name: signs for node in model.graph.node if (signs := n09.pair(node, model))}
    assert read == profiled


def test_the_three_causes_each_occur_alone_or_not_at_all_in_some_model():
    seen = [n09.causes(n09.running(n09.made(name)), card) for name in n09._MADE for card in n09._cards_with_others()]
    assert set() in seen
    for name in (n09.SLOW, n09.CONV, n09.ISLAND):
        assert {name} in seen


def test_the_parts_of_the_time_multiply_out_to_the_speed_up_of_the_nodes():
    examination = measure.examine(
        models.path("digits"), n09.made("digits dynamic u8"), {"images": models.digit_split()[0][:8]}, rounds=2
    )
    share, times, overhead = n09.spent(examination)
    expected = examination.fp32.kernel_ms / examination.quantized.kernel_ms
    assert n09.speedup([(share, times)], overhead) == pytest.approx(expected)
    assert n09.with_ratios_of(machine.card(), examination, 1.25) == pytest.approx(1.25)


def test_the_reference_hybrid_runs_its_convolutions_static_and_its_matrix_products_dynamic():
    facts = n09._reference_hybrid()
    assert facts.counts["QLinearConv"] == 20
    assert n09._matrices(facts.counts) == 56
    assert (facts.signed, facts.left, not facts.one_scale) == (0, 0, True)


def test_a_prepared_layer_has_the_numbers_of_its_product():
    profile = measure.profile(models.path("digits"), {"images": models.digit_split()[0][:4]}, rounds=1)
    (gemm,) = (node for node in profile.nodes if "Gemm" in node.op_type)
    layer = n09.bytes_and_operations(gemm)
    weights = next(t for t in onnx.load(models.path("digits")).graph.initializer if t.name == gemm.node.input[1])
    assert layer.w == math.prod(weights.dims)
    assert layer.macs == 4 * layer.w
    assert layer.x == 4 * layer.w // 10


def test_the_roofs_of_all_pairs_meet_where_bytes_limit_and_part_by_the_cards_ratios_where_arithmetic_does(monkeypatch):
    monkeypatch.setattr(n09, "rate", lambda number_of_bytes: 1.0)
    monkeypatch.setattr(n09, "call_s", lambda: 0.0)
    card = machine.card("x86-avx512-vnni")
    roofs = n09.roofs(1024, (1, 100_000), ("u8s8", "u8u8"), card)
    assert roofs["u8s8"][0] == roofs["u8u8"][0] == pytest.approx(4)
    assert roofs["u8s8"][1] == pytest.approx(card.speed["u8s8"])
    assert roofs["u8u8"][1] == pytest.approx(card.speed["u8u8"])


def test_the_raced_product_of_codes_is_exact_in_small_sums():
    weights = np.random.default_rng(0).integers(0, 100, (8, 8)).astype(np.int8)
    x = np.arange(16).reshape(2, 8)
    for name in ("float32", "u8s8", "u8u8"):
        y = n09._rows_session(name, weights).run(None, {"x": x.astype(n09._type_of(name))})[0]
        np.testing.assert_array_equal(y, x @ weights.astype(int))


def test_no_single_answer_fits_all_of_09_3():
    names = ("ConvInteger", "sign pair", "float island")
    for mask in range(8):
        answer = {name for bit, name in enumerate(names) if mask >> bit & 1}
        assert judge("09.3", lambda path, card, answer=answer: answer).status == "almost"


def test_the_figures_draw_without_a_kernel_and_at_the_ends():
    assert n09.timeline(0.5, 2, 0.1).alt
    for share, times, overhead in ((0, 1 / 8, 0), (1, 8, 1), (1, 8, 0)):
        assert n09.amdahl(share, times, overhead, pairs={"u8s8": 3.0, "s8u8": None}).alt
    raced = {64: {"float32": [(1, 1.0), (2, 1.0)], "u8s8": [(1, 2.0), (2, 3.0)]}}
    assert n09.rows(raced, {64: {"u8s8": [2.0, 3.0]}}, title="rows").alt
    lines = {"one": {"the article": 0.7, "this machine": (1.4, 1.3, 1.5), "with x's ratios": math.nan}}
    assert n09.three_machines(lines, title="lines").alt


def test_what_the_graph_shows_is_read_where_the_file_cannot_be_opened(monkeypatch):
    def refuse(path):
        raise ValueError("no kernel")

    monkeypatch.setattr(graph, "optimized", refuse)
    assert "ConvInteger" in {node.op_type for node in n09.running(n09.made("digits dynamic u8")).graph.node}
