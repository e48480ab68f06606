# License: BSD-3-Clause

"""
Your own source model
=====================

AuxIVA asks its source model two questions: how unlikely is a frame of this power, and
how much should it count? Any object that answers them can take part.
"""

# %%
# A generalized Gaussian: the norm of a frame to the power of 2 ``beta``. With 1/2 it is
# the Laplace model, and the smaller ``beta``, the less do loud frames count. The
# variance is one over the derivative of the cost with respect to the power. Deriving
# from BaseEstimator makes ``beta`` a parameter that searches can reach.

from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, AuxIVA, ProjectionBack
from skbss.datasets import load_cocktail_party
from skbss.inspection import ConvergenceDisplay
from skbss.metrics import si_sdr_improvement


class GeneralizedGauss(BaseEstimator):
    """Frames of norm n have the negative log-likelihood n to the power of 2 beta."""

    def __init__(self, beta=0.25):
        self.beta = beta

    def cost(self, power, n_freqs):
        """Negative log-likelihood, of the shape of power (n_sources, n_frames)."""
        return power**self.beta

    def variance(self, power, n_freqs):
        """Divisor of each frame, of the same shape."""
        return power ** (1 - self.beta) / self.beta


# %%
# It takes the place of a name.

recording = load_cocktail_party()
pipe = make_pipeline(
    STFT(sample_rate=recording.sample_rate), AuxIVA(), ProjectionBack(), ISTFT()
)
for source in ("gauss", "laplace", GeneralizedGauss(), GeneralizedGauss(beta=0.1)):
    pipe.set_params(auxiva__source=source)
    y = pipe.fit_transform(recording.mixture)
    gain = si_sdr_improvement(recording.references, y, recording.mixture)
    print(f"{source!s:30} {gain.mean():.1f} dB")

# %%
# The cost is a concave function of the power, so the objective never rises.

display = ConvergenceDisplay.from_estimator(pipe["auxiva"])

# %%
# Parameters of a model have names like those of other nested estimators.

pipe.set_params(auxiva__source__beta=0.5)
print(pipe["auxiva"].source)
