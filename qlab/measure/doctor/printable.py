"""Names from a model are a stranger's text: what could steer a terminal is shown, not obeyed."""


def printable(text):
    r"""`text` with control characters, direction marks and broken letters as escapes; line ends stay.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )
