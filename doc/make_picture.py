"""Draw the picture of the README and of the first ten minutes.

Run ``python doc/make_picture.py``; it writes ``doc/_static/separation.png``.
"""

# License: BSD-3-Clause

from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from skbss import make_separator
from skbss.datasets import load_cocktail_party
from skbss.inspection import SeparationDisplay


def draw(path):
    """Separate the bundled recording and write the picture of it to ``path``."""
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
    figure.savefig(path, dpi=110)
    Image.open(path).quantize(128).save(path, optimize=True)  # a third of the size


if __name__ == "__main__":
    draw(Path(__file__).parent / "_static" / "separation.png")
