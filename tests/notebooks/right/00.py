"""Right answers to the exercises of notebook 00 in other styles: name, code in the stub's place."""

RIGHT_ANSWERS = {
    "00.1": [
        (
            "a list",
            'facts = ["model", "method", "input shape", "dtypes", "op types", "cpu", "threads", "versions", "spread"]',
        ),
        (
            "a tuple, in capitals",
            'facts = ("CPU", "Threads", "Versions", "Model", "Method", "Input shape", "Op types", "Dtypes", "Spread")',
        ),
        (
            "the whole list less what is not needed",
            'facts = set(FACTS) - {"accuracy", "author", "chart colour", "date"}',
        ),
        (
            "the keys of a dict",
            'facts = {"model": 1, "input shape": 2, "dtypes": 3, "op types": 4, "cpu": 5, "threads": 6,\n'
            '         "versions": 7, "spread": 8, "method": 9}.keys()',
        ),
        (
            "yes or no for each",
            'facts = {name: name not in ("accuracy", "author", "chart colour", "date") for name in FACTS}',
        ),
        (
            "yes or no from NumPy",
            'facts = dict(zip(FACTS, ~np.isin(list(FACTS), ["accuracy", "author", "chart colour", "date"])))',
        ),
        (
            "1 or 0 for each",
            'facts = {name: int(name not in ("accuracy", "author", "chart colour", "date")) for name in FACTS}',
        ),
        (
            "with underscores",
            'facts = set("cpu threads versions model method input_shape op_types dtypes spread".split())',
        ),
        (
            "a NumPy array",
            'facts = np.array(["cpu", "threads", "versions", "model", "method", "input shape"])\n'
            'facts = np.append(facts, ["op types", "dtypes", "spread"])',
        ),
        (
            "a loop",
            "facts = []\n"
            "for name in FACTS:\n"
            '    if name in ("accuracy", "author", "chart colour", "date"):\n'
            "        continue\n"
            "    facts.append(name)",
        ),
    ],
}
