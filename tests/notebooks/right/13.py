"""Right answers to the exercises of notebook 13 in other styles: name, code in the stub's place."""

STREAM = """\
def stream(session, frames, size):
    {start}
    while {more}:
        {step}
    return {joined}
"""
PAGE = """\
def page(facts):
    q, e, r = facts.quality, facts.elsewhere, "{format}"
    show = lambda number: format(number, r)
    NONE = "" if q.high > q.low else f", up to {{300 / facts.items:.2f}} % may change"
    out = dict(model={model}, machine=f"measured on {{facts.machine}}", recipe=f"call {{facts.call}}")
    out["versions"] = {versions}
    out["latency"] = {latency}
    out["size"] = {size}
    out["quality"] = {quality}
    foreseen = f"{{show(e.speedup)}}, {{show(e.low)}} to {{show(e.high)}}"
    out["elsewhere"] = f"not measured, {{e.card}} is expected to give {{foreseen}}"
    out["in float"] = {floats}
    out["not tested"] = {untested}
    out["reproduce"] = "run " + facts.reproduce
    return out
"""
PARTS = {
    "format": ".3f",
    "model": "facts.model",
    "versions": '" and ".join(map(" ".join, facts.versions.items()))',
    "latency": 'f"{show(facts.speedup)} times, {show(facts.low)} to {show(facts.high)}, on {facts.threads} threads"',
    "size": 'f"{show(facts.size_mb[0])} MB, now {show(facts.size_mb[1])} MB"',
    "quality": 'f"{facts.measure} {q.difference:.5f} ({q.low:.5f}, {q.high:.5f}) of {facts.items}" + NONE',
    "floats": 'str(facts.in_float) if facts.in_float else "none"',
    "untested": '", ".join(facts.untested)',
}


def page(**parts):
    return PAGE.format(**PARTS | parts)


ASSERTIONS = """\
def regression_test(fp32, int8, feeds, least_db):
    def door(value):
        return value.name, tuple(value.shape)

    one, two = open_session(fp32), open_session(int8)
    if {names}:
        raise AssertionError("the names or shapes changed")
    counted = graph.census(int8)
    {slow}
    for feed in feeds:
        was, now = one.run(None, feed), two.run(None, feed)
        {dB}
"""
NAMES = (
    "[door(v) for v in one.get_inputs() + one.get_outputs()] != [door(v) for v in two.get_inputs() + two.get_outputs()]"
)
SLOW = """assert ("", "ConvInteger") not in counted.integer, "ConvInteger"
    assert not [k for k in counted.float if k[1].removeprefix("Fused") in ("Conv", "MatMul", "Gemm")], counted"""
LOUD = 'assert min(sqnr_db(a, b) for a, b in zip(was, now)) >= least_db, "the SQNR has fallen"'


def assertions(names=NAMES, slow=SLOW, dB=LOUD):
    return ASSERTIONS.format(names=names, slow=slow, dB=dB)


def stream(start, more, step, joined):
    return STREAM.format(start=start, more=more, step=step, joined=joined)


RIGHT_ANSWERS = {
    "13.1": [
        ("sums", "def character_accuracy(session, feeds, truths):\n"
                 "    bare = lambda text: text.replace(' ', '')\n"
                 "    said = [bare(n13.reading(session, feed)) for feed in feeds]\n"
                 "    truths = list(map(bare, truths))\n"
                 "    return 1 - sum(map(n13.edits, truths, said)) / sum(map(len, truths))\n"),
        ("split and join", "def character_accuracy(session, feeds, truths):\n"
                           "    errors = count = 0.0\n"
                           "    for i in range(len(feeds)):\n"
                           "        a = ''.join(truths[i].split())\n"
                           "        errors += n13.edits(''.join(n13.reading(session, feeds[i]).split()), a)\n"
                           "        count += len(a)\n"
                           "    return (count - errors) / count\n"),
        ("arrays", "def character_accuracy(session, feeds, truths):\n"
                   "    errors, counts = n13.without_spaces(session, feeds, truths)\n"
                   "    return np.float64(1) - errors.sum() / counts.sum()\n"),
        ("weighted mean", "def character_accuracy(session, feeds, truths):\n"
                          "    texts = [t.replace(' ', '') for t in truths]\n"
                          "    said = [n13.reading(session, f).replace(' ', '') for f in feeds]\n"
                          "    shares = [1 - n13.edits(t, s) / len(t) for t, s in zip(texts, said)]\n"
                          "    return np.average(shares, weights=[len(t) for t in texts])\n"),
        ("letters", "def character_accuracy(session, feeds, truths):\n"
                    "    wrong, total = [], []\n"
                    "    for feed, truth in zip(feeds, truths):\n"
                    "        kept = [c for c in truth if c != ' ']\n"
                    "        wrong.append(n13.edits(kept, [c for c in n13.reading(session, feed) if c != ' ']))\n"
                    "        total.append(len(kept))\n"
                    "    return np.array(1 - np.sum(wrong) / np.sum(total))\n"),
        ("read twice", "def character_accuracy(session, feeds, truths):\n"
                       "    bare = lambda text: text.replace(' ', '')\n"
                       "    first = [n13.reading(session, feed) for feed in feeds]\n"
                       "    again = [n13.reading(session, feed) for feed in feeds]\n"
                       "    wrong = [n13.edits(bare(a), bare(t)) for a, t in zip(again, truths)]\n"
                       "    assert first == again\n"
                       "    return 1 - sum(wrong) / len(''.join(map(bare, truths)))\n"),
        ("a library's", "def character_accuracy(session, feeds, truths):\n"
                        "    import jiwer\n"
                        "    bare = lambda texts: [text.replace(' ', '') for text in texts]\n"
                        "    return 1 - jiwer.cer(bare(truths), bare(n13.reading(session, feed) for feed in feeds))\n"),
    ],
    "13.2": [
        ("raise", assertions()),
        ("worst of all", assertions(dB="for a, b in zip(was, now):\n            found = sqnr_db(a, b)\n"
                                       "            if found < least_db:\n"
                                       "                raise AssertionError(f'{found} dB')")),
        ("sets", assertions(names="{door(v) for v in one.get_inputs()} != {door(v) for v in two.get_inputs()} or "
                                  "{door(v) for v in one.get_outputs()} != {door(v) for v in two.get_outputs()}")),
        ("counts", assertions(slow="floats = sum(n for (_, op), n in counted.float.items() if 'Conv' in op or "
                                   "'Mat' in op or 'Gemm' in op)\n    slow = counted.integer[('', 'ConvInteger')]\n"
                                   "    assert floats == 0 and slow == 0, (floats, slow)")),
        ("norms", assertions(dB="for a, b in zip(was, now):\n            noise = np.linalg.norm(a - b)\n"
                                "            assert noise == 0 or 20 * np.log10(np.linalg.norm(a) / noise) "
                                ">= least_db, 'dB'")),
        ("by qlab", assertions(dB="assert n13.least_db_of(fp32, int8, feed) >= least_db, 'dB'")),
    ],
    "13.3": [
        ("other words", page()),
        ("two places", page(format=".2f")),
        ("points", page(quality='f"{facts.measure.title()}: {100 * q.difference:+.3f} points ({100 * q.low:+.3f} to '
                                '{100 * q.high:+.3f}), n = {facts.items}; up to 3 / {facts.items} of all may change"')),
        ("a bare 0", page(quality='f"{facts.measure} {100 * q.difference:+.4g} points ({100 * q.low:+.4g} to '
                                  '{100 * q.high:+.4g}), {facts.items} items, 3/{facts.items}"')),
        ("both times", page(latency='f"{facts.fp32_ms:.2f} ms, now {facts.int8_ms:.2f}; x{facts.low:.2f}-'
                                    '{facts.high:.2f}, {facts.threads}-thread"')),
        ("typographic minus", page(quality='f"{q.difference:+.4f} ({q.low:+.4f} to {q.high:+.4f}) {facts.measure} of '
                                           '{facts.items}, 3/n = {3 / facts.items:.4f}".replace("-", "\\u2212")')),
        ("many digits", page(format=".8f", untested="str(facts.untested)", versions="str(facts.versions)")),
    ],
    "13.4": [
        ("while", stream("at, out, past = 0, [], n13.no_past()", "at < frames.shape[1]",
                         "y, a, c = session.run(None, dict(chunk=frames[:, at : at + size], **past)); out.append(y); "
                         "past = dict(att_cache=a, cnn_cache=c); at += size", "np.concatenate(out, axis=1)")),
        ("written into", stream("at, out, past = 0, np.empty_like(frames), n13.no_past()", "at < frames.shape[1]",
                                "out[:, at : at + size], past['att_cache'], past['cnn_cache'] = session.run(None, "
                                "{'chunk': frames[:, at : at + size], **past}); at += size", "out")),
        ("by names", stream("at, out, past = 0, [], n13.no_past()", "at < frames.shape[1]",
                            "y, a, c = session.run(['output', 'new_att_cache', 'new_cnn_cache'], {'chunk': "
                            "frames[:, at:min(at + size, frames.shape[1])], **past}); out += [y]; past = {'att_cache': "
                            "a, 'cnn_cache': c}; at += size", "np.hstack(out)")),
        ("keywords", stream("at, out, past = 0, [], n13.no_past()", "at < frames.shape[1]",
                            "y, a, c = session.run(output_names=None, input_feed=dict(chunk=frames[:, at : at + size], "
                            "**past)); out.append(y); past = dict(att_cache=a, cnn_cache=c); at += size",
                            "np.concatenate(out, axis=1)")),
        ("split", "def stream(session, frames, size):\n    past, out = list(n13.no_past().values()), []\n"
                  "    for chunk in np.split(frames, range(size, frames.shape[1], size), axis=1):\n"
                  "        y, *past = session.run(None, {'chunk': chunk, 'att_cache': past[0], 'cnn_cache': past[1]})\n"
                  "        out.append(y)\n    return np.concatenate(out, axis=1)\n"),
        ("recursion", "def stream(session, frames, size, past=None):\n"
                      "    y, a, c = session.run(None, {'chunk': frames[:, :size], **(past or n13.no_past())})\n"
                      "    rest = frames[:, size:]\n    if not rest.shape[1]:\n        return y\n"
                      "    return np.concatenate([y, stream(session, rest, size, {'att_cache': a, 'cnn_cache': c})], "
                      "1)\n"),
    ],
}  # fmt: skip
