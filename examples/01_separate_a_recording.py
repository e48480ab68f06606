# License: BSD-3-Clause

"""
Separate a recording
====================

Two people talk at the same time, two microphones listen. From the WAV file to one WAV
file for each voice.
"""

# %%
# We write the bundled recording to a file first, to have one like yours. Any number of
# microphones will do, as long as there are at least as many as voices. If there are
# more, ``make_separator(n_sources=...)`` should know the number of voices. Mind that
# files are read as ``(n_samples, n_mics)``.

import tempfile
from pathlib import Path

import soundfile as sf
from IPython.display import Audio

from skbss import STFT, make_separator
from skbss.datasets import load_cocktail_party
from skbss.inspection import SpectrogramDisplay

folder = Path(tempfile.mkdtemp())
recording = load_cocktail_party()
sf.write(folder / "meeting.wav", recording.mixture, recording.sample_rate)

mixture, sample_rate = sf.read(folder / "meeting.wav")
print(f"{mixture.shape[0] / sample_rate:.1f} s, {mixture.shape[1]} microphones")
Audio(mixture[:, 0], rate=sample_rate)

# %%
# A separator is a stock pipeline of scikit-learn. This one has three stages, pipelines
# themselves, with settings that did best on speech in rooms.

separator = make_separator(sample_rate=sample_rate, random_state=0)
separator

# %%
# It learns and separates in one call. The louder voice comes first.

voices = separator.fit_transform(mixture)
for k, voice in enumerate(voices.T):
    sf.write(folder / f"voice_{k}.wav", voice, sample_rate)
print(sorted(path.name for path in folder.iterdir()))

# %%
# The first voice:

Audio(voices[:, 0], rate=sample_rate)

# %%
# And the second one:

Audio(voices[:, 1], rate=sample_rate)

# %%
# In the spectrograms, the harmonics of one voice are gone from the other.

stft = STFT(n_fft=1024, sample_rate=sample_rate)
names = ["first voice", "second voice"]
display = SpectrogramDisplay.from_estimator(stft, voices, names=names)

# %%
# The same from the shell:
#
# .. code-block:: sh
#
#     skbss separate meeting.wav -o separated
