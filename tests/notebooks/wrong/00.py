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
            'facts = {"cpu", "threads", "versions", "model", "method", "input shape", "op types", "spread"}',
            "'dtypes' is missing",
        ),
        (
            "one timing taken for the truth",
            'facts = {"cpu", "threads", "versions", "model", "method", "input shape", "op types", "dtypes"}',
            "'spread' is missing",
        ),
        (
            "accuracy taken for a condition of speed",
            'facts = "accuracy cpu threads versions model method dtypes spread".split() + ["input shape", "op types"]',
            "'accuracy' is not needed",
        ),
        (
            "one name where a set is asked for",
            'facts = "cpu"',
            "expected a set of names",
        ),
        (
            "all that is on the list",
            "facts = set(FACTS)",
            "that is the whole list",
        ),
        (
            "the machine alone",
            'facts = {"cpu", "threads", "versions"}',
            "Missing is what ran on it",
        ),
        (
            "the networks alone",
            'facts = {"model", "method", "dtypes", "op types", "input shape"}',
            "Missing is on what machine",
        ),
        (
            "the date for the versions",
            'facts = {"cpu", "threads", "date", "model", "method", "input shape", "op types", "dtypes", "spread"}',
            "'date' is not needed",
        ),
        (
            "who ran it taken for a condition",
            'facts = set(FACTS) - {"accuracy", "chart colour", "date"}',
            "'author' is not needed",
        ),
        (
            "which operators were quantized taken for part of the model",
            'facts = {"cpu", "threads", "versions", "model", "method", "input shape", "dtypes", "spread"}',
            "'op types' is missing",
        ),
        (
            "the input's shape taken for part of the model",
            'facts = {"cpu", "threads", "versions", "model", "op types", "dtypes", "spread"}',
            "'input shape' is missing",
        ),
        (
            "threads taken for part of the CPU",
            'facts = {"cpu", "versions", "model", "method", "input shape", "op types", "dtypes", "spread"}',
            "'threads' is missing",
        ),
        (
            "versions forgotten",
            'facts = {"cpu", "threads", "model", "method", "input shape", "op types", "dtypes", "spread"}',
            "'versions' is missing",
        ),
        (
            "those that are not needed",
            'facts = {"accuracy", "author", "chart colour", "date"}',
            "those are the facts that are *not* needed",
        ),
        (
            "several names in one pair of quotes",
            'facts = {"cpu, threads, versions, model, method, input shape, op types, dtypes, spread"}',
            "give every name its own quotes",
        ),
        (
            "how many instead of which",
            "facts = 8",
            "expected a set of names",
        ),
        (
            "dynamic and static taken for one method",
            'facts = {"cpu", "threads", "versions", "model", "input shape", "op types", "dtypes", "spread"}',
            "'method' is missing",
        ),
        (
            "two facts, both about the machine",
            'facts = {"cpu", "threads"}',
            "Missing is what ran on it",
        ),
        (
            "half a name",
            'facts = "cpu threads versions model input shape op types dtypes spread method".split()',
            "do you mean 'input shape'?",
        ),
        (
            "another word for it",
            'facts = {"cpu", "threads", "versions", "model", "input shape", "operators", "dtypes", "spread", "method"}',
            "do you mean 'op types'?",
        ),
        (
            "the description instead of the name",
            "facts = {FACTS['spread']}",
            "tells what 'spread' is",
        ),
        (
            "an empty set",
            "facts = set()",
            "no fact is named yet",
        ),
    ],
}
