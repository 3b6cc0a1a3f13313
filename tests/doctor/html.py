"""Read an HTML page strictly: what must be closed is closed, and nothing comes from elsewhere."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "wbr"}
LOADING = {"src", "href", "srcset", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """A page's elements. Raises AssertionError where the nesting is wrong.

    tags   names of all elements; text, what is read; alts, texts of the images; links, where anything would come from
    """

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.alts, self.links, self._open = [], "", [], [], []
        self.attributes = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.tags.append(tag)
        self.attributes += names
        self.links += [value for name, value in attrs if name in LOADING]
        self.alts += [value for name, value in attrs if tag == "img" and name == "alt"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data if self._open[-1:] != ["style"] else ""
