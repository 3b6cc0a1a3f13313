"""Whose functions run, as a quiet line and as a table."""

from qlab.course import kept, places
from qlab.course.show import GOOD, WAITING, Shown, box, rich, strong

_HEADS = ("place", "whose", "file")


class Line(Shown):
    """One line that does not ask for attention."""

    def __init__(self, said):
        self.said = said

    def text(self):
        return self.said

    def html(self):
        return f'<span style="color: {WAITING}">{rich(self.said)}</span>'


class Table(Shown):
    """Every place of the reader's quantizer: whose function stands there, and in which file."""

    def __init__(self, standings):
        self.standings = standings

    def text(self):
        rows = [_HEADS, *map(_row, self.standings)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self._title(), *lines])

    def html(self):
        rows = [_cells("th", _HEADS)]
        for standing in self.standings:
            place, whose, file = _row(standing)
            whose = strong(GOOD, whose) if standing.yours else rich(whose)
            rows.append(
                _cells("td", (f"<code>{rich(place)}</code>", whose, f"<code>{rich(file)}</code>" if file else ""))
            )
        return box(GOOD, f"{rich(self._title())}<table>{''.join(rows)}</table>")

    def _title(self):
        yours = sum(standing.yours for standing in self.standings)
        return f"your own quantizer: {yours} of {len(self.standings)} functions are yours"


def _cells(tag, cells):
    return "<tr>" + "".join(f'<{tag} style="text-align: left">{cell}</{tag}>' for cell in cells) + "</tr>"


def _row(standing):
    there = kept.look(standing.place).state not in (kept.NONE, kept.GONE)
    return f"mine.{standing.place}", standing.whose, places.shown(standing.place) if there else ""
