"""Which sound is spoken when: phonemes and their times, as espeak-ng and flite report them."""

import ctypes
import subprocess
from functools import cache
from typing import NamedTuple

from data.build import voices

SILENCE = "pau"

# espeak-ng's speak_lib.h
_SYNCHRONOUS, _PHONEME_EVENTS = 2, 1
_END, _PHONEME = 0, 7
_RATE, _PITCH = 1, 3
_UTF8 = 1


class Phoneme(NamedTuple):
    """One sound in the engine's own notation, from `start` to `end` in seconds of what the engine delivers."""

    symbol: str
    start: float
    end: float


def timed(voice, text, manner):
    """The phonemes of what `voices.speak(voice, text, manner)` says, in order."""
    engine, name = voice.split("/")
    if engine == "espeak-ng":
        return _espeak(name, text, *voices.espeak_settings(manner))
    command = ["flite", "-voice", name, *voices.flite_settings(name, manner), "-psdur", "-t", text, "none"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    ends = [(symbol, float(end)) for symbol, end in (pair.split(":") for pair in said)]
    starts = [0.0, *(end for _, end in ends[:-1])]
    return [Phoneme(symbol, start, end) for (symbol, end), start in zip(ends, starts, strict=True)]


class _Event(ctypes.Structure):
    class _Id(ctypes.Union):
        _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))

    _fields_ = (
        ("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Id),
    )  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte), ("age", ctypes.c_ubyte), ("variant", ctypes.c_ubyte), ("unused", ctypes.c_ubyte),
        ("score", ctypes.c_int), ("spare", ctypes.c_void_p),
    )  # fmt: skip


@cache
def _library():
    """The library behind the espeak-ng command, its sampling rate, and the list that its events go to.

    The command can't print times. The library's sound rises and falls with the command's (compared every 5 ms).
    """
    library, events = ctypes.CDLL("libespeak-ng.so.1"), []
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)

    @_CALLBACK
    def keep(_, count, event):
        index = 0
        while event[index].type != _END:
            if event[index].type == _PHONEME:
                events.append((event[index].id.string.decode(), event[index].sample / rate))
            index += 1
        return 0

    library.espeak_SetSynthCallback(keep)
    return library, events, keep  # the caller's reference keeps the callback alive


def _espeak(name, text, words_per_minute, pitch):
    library, events, _ = _library()
    events.clear()
    voice = _Voice(languages=name.encode())  # as the command does: by name, else by language
    if library.espeak_SetVoiceByName(name.encode()) and library.espeak_SetVoiceByProperties(ctypes.byref(voice)):
        raise ValueError(f"espeak-ng has no voice {name!r}")
    library.espeak_SetParameter(_RATE, words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    content = text.encode() + b"\0"
    library.espeak_Synth(content, len(content), 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    ends = [start for _, start in events[1:]] + [events[-1][1] + 0.05]
    return [
        Phoneme(SILENCE if symbol.startswith("_") else symbol, start, end)
        for (symbol, start), end in zip(events, ends, strict=True)
    ]
