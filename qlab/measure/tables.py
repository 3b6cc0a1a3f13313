"""Columns of text."""


def aligned(table, left=(0,)):
    """Lines of `table`, a list of rows of text, in columns: those numbered in `left` to the left, others to the right.

    >>> aligned([["what", "ms"], ["a", "10.5"]])
    ['what    ms', 'a     10.5']
    """
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
