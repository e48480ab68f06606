"""Make the picture and the sounds of the README and of the front page.

Run ``python doc/make_picture.py``; it writes ``separation.png``, ``mixture.mp3`` and
``voice_0.mp3``, ``voice_1.mp3`` into ``doc/_static``.
"""

# License: BSD-3-Clause

from pathlib import Path

import soundfile
from matplotlib.figure import Figure
from PIL import Image

from skbss import make_separator
from skbss.datasets import load_cocktail_party
from skbss.inspection import SeparationDisplay


def make(folder):
    """Separate the bundled recording; write its picture and its sounds."""
    recording = load_cocktail_party()
    rate = recording.sample_rate
    voices = make_separator(sample_rate=rate, random_state=0).fit_transform(
        recording.mixture
    )
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    SeparationDisplay.from_predictions(
        recording.mixture,
        voices,
        recording.references,
        sample_rate=rate,
        ax=figure.subplots(),
    )
    path = folder / "separation.png"
    figure.savefig(path, dpi=110)
    Image.open(path).quantize(128).save(path, optimize=True)  # a third of the size
    sounds = {"mixture": recording.mixture[:, 0]}
    sounds |= {f"voice_{k}": voice for k, voice in enumerate(voices.T)}
    for name, sound in sounds.items():
        sound = 0.9 * sound / abs(sound).max()
        soundfile.write(folder / f"{name}.mp3", sound, rate, "MPEG_LAYER_III")


if __name__ == "__main__":
    make(Path(__file__).parent / "_static")
