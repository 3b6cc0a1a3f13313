"""Who speaks: the known voices (training, calibration, test) and the unseen ones, and how one sentence is spoken.

A voice is named `engine/voice`, for example `espeak-ng/en-us+f2` or `flite/awb`. espeak-ng builds its voices by formant
synthesis; flite's awb, rms and slt were built from recordings of people, kal16 from recorded diphones.
"""

import io
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import soundfile

ACCENTS = ("en-us", "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f5", "Alex", "Alicia", "Andrea", "Andy",
    "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike",
    "Nguyen", "Storm", "Tweaky", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb",
    "david", "ed", "edward", "edward2", "gustave", "iven", "iven2", "john", "kaukovalta", "klatt", "klatt2",
    "klatt3", "klatt4", "linda", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy",
    "rob", "robert", "sandro", "shelby", "steph", "steph2", "travis", "victor", "zac",
)  # fmt: skip
KNOWN_ESPEAK = tuple(f"espeak-ng/{ACCENTS[i % len(ACCENTS)]}+{variant}" for i, variant in enumerate(VARIANTS))
KNOWN_FLITE = ("flite/kal16", "flite/awb", "flite/rms")
UNSEEN = ("espeak-ng/en-us+Annie", "espeak-ng/en-gb+f4", "flite/slt")


@dataclass(frozen=True)
class Manner:
    """How a sentence is spoken.

    tempo: speed relative to the voice's own (1.2 is faster). pitch: factor on the fundamental where the engine takes
    one. tract: factor by which the whole spectrum is raised, as a shorter vocal tract would (1.0 leaves it).
    """

    tempo: float = 1.0
    pitch: float = 1.0
    tract: float = 1.0


def speak(voice, text, manner):
    """Samples float64 [n] and their rate in Hz, as the engine delivers them; the caller resamples by `manner.tract`.

    The resampling will also shorten the speech by that factor, so the engine is asked to speak slower in advance.
    """
    engine, name = voice.split("/")
    if engine == "espeak-ng":
        speed, pitch = map(str, espeak_settings(manner))
        command = ["espeak-ng", "-v", name, "-s", speed, "-p", pitch, "--stdout", text]
        return soundfile.read(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["flite", "-voice", name, *flite_settings(name, manner), "-t", text, "-o", str(path)]
        subprocess.run(command, check=True)
        return soundfile.read(path)


def espeak_settings(manner):
    """Words a minute and pitch (0 to 99), as espeak-ng takes them."""
    return round(170 * manner.tempo / manner.tract), round(min(max(50 * manner.pitch, 0), 99))


def flite_settings(name, manner):
    """Arguments of the flite command for the voice `name`."""
    settings = ["--setf", f"duration_stretch={manner.tract / manner.tempo:.3f}"]
    if name in PITCH_HZ:
        settings += ["--setf", f"int_f0_target_mean={PITCH_HZ[name] * manner.pitch / manner.tract:.1f}"]
    return settings


PITCH_HZ = {"awb": 130.0, "kal16": 95.0}  # flite's own mean; rms and slt ignore the setting
