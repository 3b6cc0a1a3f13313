"""Faces that talk: moments side by side, and the same as an animation with its sound."""

import io

import numpy as np
from IPython.display import Image, display

from qlab import palette
from qlab.course.plots.canvas import INK, numbers, styled
from qlab.course.plots.inputs import Sound
from qlab.files import write_whole

FRAMES_A_SECOND, SAMPLE_RATE = 25, 16_000  # of qlab.models, which needs onnxruntime


@styled
def film_strip(rows, *, title, count=10):
    """Moments of a film, `count` of them evenly spaced: rows {name: float [n, 3, 96, 96] in 0..1}, one strip each.

    Below stand the seconds, at 25 pictures each.
    """
    rows = {name: _film(name, pictures) for name, pictures in rows.items()}
    length = min(map(len, rows.values()))
    chosen = np.linspace(0, length - 1, min(count, length)).round().astype(int)
    figure, axes = palette.figure(len(rows), height=0.55 + len(rows) * palette.WIDTH / len(chosen), squeeze=False)
    for (name, pictures), cell in zip(rows.items(), axes[:, 0], strict=True):
        height, width = pictures.shape[1:3]
        cell.imshow(np.concatenate(pictures[chosen], axis=1))
        cell.set_xticks([], [])
        cell.set_yticks([height / 2], [name], color=INK)
        cell.tick_params(length=0)
        cell.grid(False)
        cell.spines[:].set_visible(False)
    middle = (np.arange(len(chosen)) + 0.5) * width
    cell.set_xticks(middle, [f"{second:.2f}" for second in chosen / FRAMES_A_SECOND])
    cell.set_xlabel("time in seconds")
    axes[0, 0].set_title(title)
    return figure


class Film:
    """An animation: pictures {name: float [n, 3, 96, 96] in 0..1} side by side, 25 a second, with the Utterance said.

    It shows itself in a notebook, the sound in a player below; `save(path)` writes the GIF. Names are those of the
    pictures from left to right.
    """

    def __init__(self, pictures, sentence):
        self.films = {name: _film(name, film) for name, film in pictures.items()}
        self.sentence = sentence

    def gif(self):
        """The bytes of the GIF."""
        from PIL import Image as Pillow

        length = min(map(len, self.films.values()))
        wide = np.concatenate([film[:length] for film in self.films.values()], axis=2)
        # Colours from the whole film: its own for every picture would flicker.
        colours = Pillow.fromarray(np.concatenate(wide[:: max(length // 8, 1)])).quantize(256)
        plain = Pillow.Dither.NONE  # dots in the place of shades would look like the error of quantization
        first, *rest = (Pillow.fromarray(one).quantize(palette=colours, dither=plain) for one in wide)
        file = io.BytesIO()
        first.save(file, "gif", save_all=True, append_images=rest, duration=1000 // FRAMES_A_SECOND, loop=0)
        return file.getvalue()

    def save(self, path):
        """Write the GIF."""
        write_whole(path, self.gif())

    def _ipython_display_(self):
        names = ", ".join(self.films)
        display(Image(self.gif(), format="gif", width=200 * len(self.films), alt=f"{names}: {self.sentence.text}"))
        display(Sound(self.sentence.samples, rate=SAMPLE_RATE, said=self.sentence.text))

    def __repr__(self):
        return f"Film({', '.join(self.films)}: {self.sentence.text!r})"


def _film(name, pictures):
    """uint8 [n, 96, 96, 3]."""
    pictures = numbers(pictures, name)
    if pictures.ndim != 4 or pictures.shape[1] != 3 or not len(pictures):
        raise ValueError(
            f"{name}: expected pictures of shape [n, 3, height, width], at least one, got {pictures.shape}"
        )
    return np.rint(np.clip(pictures, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
