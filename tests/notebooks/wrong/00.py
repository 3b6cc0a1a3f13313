"""Wrong answers to the exercises of notebook 00: name, code in the stub's place, what the refusal must say."""

WRONG_ANSWERS = {
    "00.1": [
        (
            "only the CPU model",
            'facts = {"cpu"}',
            "only the CPU is named",
        ),
        (
            "the signs of the integer types forgotten",
            'facts = {"cpu", "threads", "versions", "model", "input shape", "op types", "spread"}',
            "'dtypes' is missing",
        ),
        (
            "one timing taken for the truth",
            'facts = {"cpu", "threads", "versions", "model", "input shape", "op types", "dtypes"}',
            "'spread' is missing",
        ),
        (
            "accuracy taken for a condition of speed",
            'facts = "accuracy cpu threads versions model dtypes spread".split() + ["input shape", "op types"]',
            "'accuracy' is not needed",
        ),
        (
            "one name where a set is asked for",
            'facts = "cpu"',
            "expected a set of names",
        ),
    ],
}
