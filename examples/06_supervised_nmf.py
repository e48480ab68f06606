# License: BSD-3-Clause

"""
Separate known voices with a single microphone
==============================================

A single channel doesn't tell which sounds belong together. But if each voice can be
heard alone for some seconds, :class:`~skbss.OnlineISNMF` learns its spectra there, and
later tells the voices apart while they talk at the same time.
"""

# %%
# The bundled recording has two voices of 8 s. Of each we learn from one half and
# separate the other, which has other words.

import numpy as np
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, OnlineISNMF
from skbss.datasets import load_cocktail_party
from skbss.inspection import SeparationDisplay
from skbss.metrics import si_sdr_improvement

recording = load_cocktail_party()
first, second = np.array_split(recording.references, 2)  # (n_samples, n_sources)
stft = STFT(n_fft=2048)

# %%
# Ten spectra a voice. Four seconds are few frames, so the model hears them five times,
# and forgets nothing.


def learn_spectra(voice):
    """Return the spectra (n_freqs, 10) of a voice that is heard alone."""
    X = stft.fit_transform(voice)
    model = OnlineISNMF(10, n_sources=1, forget=1.0, random_state=0)
    for _ in range(5):
        model.partial_fit(X)
    return model.basis_


# %%
# The joined spectra are kept as they are. Each voice takes the share of the mixture
# that its spectra have in the model. Frames are separated as they come in.


def separate(mixture, training):
    """Separate voices whose spectra are learned from their training signals."""
    basis = np.hstack([learn_spectra(training[:, [k]]) for k in range(2)])
    separator = OnlineISNMF(20, basis_init=basis, update_basis=False)
    return make_pipeline(stft, separator, ISTFT()).fit_transform(mixture)


# %%
# The outputs come in the order of the spectra: no permutation is sought.

for name, training, test in [
    ("second", first, second),
    ("first", second, first),
]:
    mixture = test.sum(axis=1, keepdims=True)
    estimate = separate(mixture, training)
    gain = si_sdr_improvement(test, estimate, mixture, permute=False)
    print(
        f"SI-SDR improvement in the {name} half: "
        f"{gain[0]:.1f} and {gain[1]:.1f} dB, mean {gain.mean():.1f} dB"
    )

# %%
# That is modest next to what two microphones and :class:`~skbss.ILRMA` give, and
# depends on how much the voice at hand resembles the seconds learned from. The picture
# is of the half that was separated last.

display = SeparationDisplay.from_predictions(
    mixture, estimate, test, sample_rate=recording.sample_rate
)
