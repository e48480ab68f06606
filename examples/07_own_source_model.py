# License: BSD-3-Clause

"""
Your own source model
=====================

AuxIVA asks its source model two questions: how unlikely is a frame of this power, and
how much should it count? Any object that answers them can take part.
"""

# %%
# Both methods get mean powers of shape (n_sources, n_bands, n_frames), and return an
# array of this shape. Here a source has a loudness in each of a few bands of frequency,
# and one of the whole frame. The cost is the mean of the two Gaussian costs. The
# whole frame is what holds the bands together: without it each would be separated by
# itself, in an order of its own. The variance is one over the derivative of the cost
# with respect to the power. Deriving from BaseEstimator makes ``n_bands`` a parameter
# that searches can reach.

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, AuxIVA, ProjectionBack
from skbss.datasets import load_cocktail_party
from skbss.inspection import ConvergenceDisplay
from skbss.metrics import si_sdr_improvement


class BandsAndFrame(BaseEstimator):
    """Gaussians of some bands and of the whole frame."""

    def __init__(self, n_bands=4):
        self.n_bands = n_bands

    def cost(self, power):
        """Negative log-likelihood per frequency bin."""
        frame = power.mean(axis=1, keepdims=True)
        return (np.log(power) + np.log(frame)) / 2

    def variance(self, power):
        """Divisor of the bins of each band."""
        frame = power.mean(axis=1, keepdims=True)
        return 2 / (1 / power + 1 / frame)


# %%
# It takes the place of a name.

recording = load_cocktail_party()
pipe = make_pipeline(
    STFT(sample_rate=recording.sample_rate), AuxIVA(), ProjectionBack(), ISTFT()
)
for source in ("gauss", "laplace", BandsAndFrame(), BandsAndFrame(n_bands=16)):
    pipe.set_params(auxiva__source=source)
    y = pipe.fit_transform(recording.mixture)
    gain = si_sdr_improvement(recording.references, y, recording.mixture)
    print(f"{source!s:26} {gain.mean():.1f} dB")

# %%
# The cost is a concave function of the powers, so the objective never rises.

display = ConvergenceDisplay.from_estimator(pipe["auxiva"])

# %%
# Parameters of a model have names like those of other nested estimators.

pipe.set_params(auxiva__source__n_bands=8)
print(pipe["auxiva"].source)
