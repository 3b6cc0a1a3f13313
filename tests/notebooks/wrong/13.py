"""Wrong answers to the exercises of notebook 13: name, code in the stub's place, what the refusal must say."""

METRIC = """\
def character_accuracy(session, feeds, truths):
    wrong, total, shares = 0, 0, []
    for feed, truth in zip(feeds, truths):
        truth, said = {truth}, {said}
        wrong += n13.edits(truth, said)
        total += len({length})
        shares.append({share})
    return {result}
"""
BARE, READ = "truth.replace(' ', '')", "n13.reading(session, feed).replace(' ', '')"


def metric(truth=BARE, said=READ, length="truth", share="0", result="1 - wrong / total"):
    return METRIC.format(**locals())


TEST = """\
def regression_test(fp32, int8, feeds, least_db):
    before, after = open_session(fp32), open_session(int8)
    shapes = lambda values: [(value.name, value.shape) for value in values]
    {inputs}
    {outputs}
    ran = graph.census(int8)
    {floats}
    {slow}
    for feed in {feeds}:
        for reference, seen in zip(before.run(None, feed), after.run(None, feed)):
            {dB}
"""
LINES = {
    "inputs": "assert shapes(before.get_inputs()) == shapes(after.get_inputs()), 'inputs'",
    "outputs": "assert shapes(before.get_outputs()) == shapes(after.get_outputs()), 'outputs'",
    "floats": "assert not [op for _, op in ran.float if 'Conv' in op or 'MatMul' in op or 'Gemm' in op], 'float'",
    "slow": "assert not ran.integer['', 'ConvInteger'], 'ConvInteger'",
    "feeds": "feeds",
    "dB": "assert sqnr_db(reference, seen) >= least_db, 'dB'",
}


def regression(**lines):
    return TEST.format(**LINES | lines)


STREAM = """\
def stream(session, frames, size):
    caches, outputs = n13.no_past(), []
    for start in range(0, {end}, {step}):
        output, att, cnn = session.run(None, {{"chunk": frames[:, {first} : start + size], **caches}})
        outputs.append({output})
        caches = {{{caches}}}
    return {joined}
"""


def stream(end="frames.shape[1]", step="size", first="start", output="output",
           caches='"att_cache": att, "cnn_cache": cnn', joined="np.concatenate(outputs, axis=1)"):  # fmt: skip
    return STREAM.format(**locals())


PAGE = """\
def page(facts):
    q, e = facts.quality, facts.elsewhere
    written = {{
        "model": facts.model, "machine": facts.machine, "recipe": facts.call, "reproduce": facts.reproduce,
        "versions": ", ".join(f"{{name}} {{version}}" for name, version in facts.versions.items()),
        "latency": f"{{facts.speedup:.2f}} times ({{facts.low:.2f}} to {{facts.high:.2f}}), threads: {{facts.threads}}",
        "size": f"{{facts.size_mb[0]:.2f}} to {{facts.size_mb[1]:.2f}} MB",
        "quality": f"{{facts.measure}} {{q.difference:+.4f}} ({{q.low:+.4f}} to {{q.high:+.4f}}) of {{facts.items}}"
        + "; none of them changed: up to {{:.1%}} may still".format(3 / facts.items) * (q.low == q.high == 0),
        "elsewhere": f"predicted for {{e.card}}: {{e.speedup:.2f}} ({{e.low:.2f}} to {{e.high:.2f}})",
        "in float": "; ".join(f"{{what}}: {{why}}" for what, why in facts.in_float.items()) or "nothing",
        "not tested": "; ".join(facts.untested),
    }}
    {change}
    return {result}
"""


def page(change="pass", result="written"):
    return PAGE.format(change=change, result=result)


WRONG_ANSWERS = {
    "13.1": [
        ("the error rate", metric(result="wrong / total"), "larger must be better"),
        ("spaces kept", metric(truth="truth", said="n13.reading(session, feed)"), "spaces still count"),
        ("strip", metric(truth="truth.strip()", said="n13.reading(session, feed).strip()"), "spaces still count"),
        ("only what was read", metric(truth="truth"), "not from the truth"),
        ("only the truth", metric(said="n13.reading(session, feed)"), "not from what was read"),
        ("mean of lines", metric(share="1 - n13.edits(truth, said) / len(truth)", result="np.mean(shares)"),
         "a short line then weighs as much"),
        ("whole lines", metric(share="truth == said", result="np.mean(shares)"), "whole lines"),
        ("of what was read", metric(length="said"), "the characters read"),
        ("a denominator with spaces", "def character_accuracy(session, feeds, truths):\n"
         "    said = [n13.reading(session, feed).replace(' ', '') for feed in feeds]\n"
         "    wrong = sum(n13.edits(t.replace(' ', ''), s) for t, s in zip(truths, said))\n"
         "    return 1 - wrong / sum(map(len, truths))\n", "still counted in what it is divided by"),
        ("a floor", metric(result="max(0, 1 - wrong / total)"), "a floor hides"),
        ("per cent", metric(result="100 * (1 - wrong / total)"), "in per cent"),
        ("a list", metric(share="n13.edits(truth, said)", result="shares"), "expected one number"),
        ("printed", metric(result="print(1 - wrong / total)"), "returned None"),
    ],
    "13.2": [
        ("no names", regression(inputs="pass"), "whoever feeds it fails"),
        ("outputs by zip alone", regression(outputs="pass"), "one output more"),
        ("names without shapes", regression(
            inputs="assert [v.name for v in before.get_inputs()] == [v.name for v in after.get_inputs()], 1",
            outputs="assert [v.name for v in before.get_outputs()] == [v.name for v in after.get_outputs()], 2"),
         "its batch is fixed to 1"),
        ("convolutions alone", regression(floats="assert not [op for _, op in ran.float if 'Conv' in op], 'Conv'"),
         "its MatMul computes in float"),
        ("floats forgotten", regression(floats="pass"), "'floats' passes"),
        ("only Conv by that name", regression(floats="assert ('', 'Conv') not in ran.float, 'Conv'"),
         "(there: ('com.microsoft"),
        ("only three names", regression(floats="assert not [op for _, op in ran.float if op in ('Conv', 'MatMul', "
                                              "'Gemm')], 'float'"), "'fused' passes"),
        ("None for a message", regression(slow="assert not ran.integer['', 'ConvInteger'], None"),
         "without a message"),
        ("slow forgotten", regression(slow="pass"),
         "'slow' passes"),
        ("no SQNR", regression(dB="pass"), "'fallen' passes"),
        ("a limit of its own", regression(dB="assert sqnr_db(reference, seen) >= 20, 'dB'"), "is least_db used?"),
        ("the first feed", regression(feeds="feeds[:1]"), "look at every feed"),
        ("the first output", regression(dB="assert sqnr_db(reference, seen) >= least_db, 'dB'\n            break"),
         "look at every output"),
        ("NaN is not below", regression(dB="noise = np.linalg.norm(reference - seen)\n            assert not "
         "(noise > 0 and 20 * np.log10(np.linalg.norm(reference) / noise) < least_db), 'dB'"), "its output is NaN"),
        ("without a message", regression(slow="assert not ran.integer['', 'ConvInteger']"), "without a message"),
        ("returns False", regression(inputs="if shapes(before.get_inputs()) != shapes(after.get_inputs()): "
                                            "return False"),
         "raises AssertionError or returns nothing"),
        ("too strict", regression(dB="assert np.array_equal(reference, seen), 'not equal'"), "a good file is refused"),
        ("census of the file as written", regression(
            floats="assert not [op for _, op in graph.census(int8, optimized=False).float if 'Conv' in op], 'Conv'"),
         "a good file is refused"),
    ],
    "13.3": [
        ("a point left out", page('del written["not tested"]'), "'not tested' is missing"),
        ("no interval", page('written["latency"] = f"{facts.speedup:.2f} times, threads: {facts.threads}"'),
         "a number without its interval"),
        ("no threads", page('written["latency"] = f"{facts.speedup:.2f} ({facts.low:.2f} to {facts.high:.2f})"'),
         "on how many threads?"),
        ("another card's number", page('written["latency"] = f"{e.speedup:.2f} ({e.low:.2f} to {e.high:.2f}), threads: '
                                       '{facts.threads}"'), "it is not this machine's"),
        ("own number elsewhere", page('written["elsewhere"] = f"predicted for {e.card}: {facts.speedup:.2f} '
                                      '({facts.low:.2f} to {facts.high:.2f})"'), "given as other-card's"),
        ("as if measured", page('written["elsewhere"] = f"{e.card}: {e.speedup:.2f} ({e.low:.2f} to {e.high:.2f})"'),
         "say that it is predicted"),
        ("calibration data", page('q = facts.calibration_quality; written["quality"] = f"{q.difference:+.4f} '
                                  '({q.low:+.4f} to {q.high:+.4f}), {facts.items} items"'),
         "measured on the calibration data"),
        ("quality without interval", page('written["quality"] = f"{q.difference:+.4f}, {facts.items} items"'),
         "without its paired interval"),
        ("of what", page('written["quality"] = f"{q.difference:+.4f} ({q.low:+.4f} to {q.high:+.4f}), {facts.items} '
                         'items"'), "a difference of what?"),
        ("calibration data as well", page('written["quality"] += f"; in calibration '
                                          '{facts.calibration_quality.difference:+.4f}"'), "leave it out"),
        ("how many", page('written["quality"] = f"{q.difference:+.4f} ({q.low:+.4f} to {q.high:+.4f})"'),
         "on how many items"),
        ("rounded away", page('written["quality"] = f"{q.difference:.1f} ({q.low:.1f} to {q.high:.1f})"'),
         "is missing"),
        ("versions forgotten", page('written["versions"] = ", ".join(facts.versions)'), "'versions'"),
        ("reasons forgotten", page('written["in float"] = ", ".join(facts.in_float) or "nothing"'), "'in float'"),
        ("nothing said of nothing", page('written["in float"] = str(facts.in_float)'), "nothing stayed in float here"),
        ("empty where nothing is", page('written["in float"] = written["in float"].replace("nothing", "")'),
         'write "nothing"'),
        ("surer than it should be", page('written["quality"] = written["quality"].split("; none")[0]'), "(3/n)"),
        ("one size", page('written["size"] = f"{facts.size_mb[1]:.2f} MB"'), "the size before"),
        ("Markdown", page(result="n13.markdown(written)"), "expected a dict"),
    ],
    "13.4": [
        ("caches never fed back", stream(caches="**n13.no_past()"), "no past in att_cache"),
        ("att_cache alone", stream(caches='"att_cache": att, "cnn_cache": caches["cnn_cache"]'), "it must be fed back"),
        ("the last chunk dropped", stream(end="frames.shape[1] - size + 1"), "the last, short chunk is missing"),
        ("the past fed as well", stream(first="max(0, start - 14)"), "chunk"),
        ("the last one padded", "def stream(session, frames, size):\n"
         "    more = np.zeros((1, -frames.shape[1] % size, 144), np.float32)\n"
         "    out = n13.stream(session, np.concatenate([frames, more], axis=1), size)\n"
         "    return out[:, : frames.shape[1]]\n", "or the last one is padded"),
        ("everything so far", stream(first="0"), "a stream has not heard the rest yet"),
        ("in one call", "def stream(session, frames, size):\n    return n13.whole(session, frames)\n",
         "a stream has not heard the rest yet"),
        ("joined along the batch", stream(joined="np.array(outputs[0])"), "expected shape"),
        ("the two swapped", stream(caches='"att_cache": cnn, "cnn_cache": att'), "raised"),
        ("the last chunk's output", stream(joined="output"), "join outputs along the time axis"),
    ],
}  # fmt: skip
