"""Right answers to the exercises of notebook 00 in other styles: name, code in the stub's place."""

RIGHT_ANSWERS = {
    "00.1": [
        (
            "a list",
            'facts = ["model", "input shape", "dtypes", "op types", "cpu", "threads", "versions", "spread"]',
        ),
        (
            "a tuple, in capitals",
            'facts = ("CPU", "Threads", "Versions", "Model", "Input shape", "Op types", "Dtypes", "Spread")',
        ),
        (
            "the whole list less what is not needed",
            'facts = set(FACTS) - {"accuracy", "author", "chart colour", "date"}',
        ),
        (
            "the keys of a dict",
            'facts = {"model": 1, "input shape": 2, "dtypes": 3, "op types": 4, "cpu": 5, "threads": 6,\n'
            '         "versions": 7, "spread": 8}.keys()',
        ),
        (
            "yes or no for each",
            'facts = {name: name not in ("accuracy", "author", "chart colour", "date") for name in FACTS}',
        ),
        (
            "with underscores",
            'facts = set("cpu threads versions model input_shape op_types dtypes spread".split())',
        ),
        (
            "a NumPy array",
            'facts = np.array(["cpu", "threads", "versions", "model", "input shape", "op types", "dtypes", "spread"])',
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
