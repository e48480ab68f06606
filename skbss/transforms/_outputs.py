"""What transformers of separated outputs share: checks of spectrograms."""

# License: BSD-3-Clause

from sklearn.base import BaseEstimator

from skbss.base import (
    SpectrogramInputMixin,
    SpectrogramOutputMixin,
    check_as_fitted,
    check_spectrogram,
)
from skbss.callbacks import CallbackSupportMixin

# The rate in Hz of spectrograms that don't have one.
SAMPLE_RATE = 16_000


def sample_rate_of(X):
    """Sample rate of what a record comes from, or that of most speech."""
    return getattr(X, "stft_params", {}).get("sample_rate") or SAMPLE_RATE


class OutputsTransformer(
    SpectrogramInputMixin, SpectrogramOutputMixin, CallbackSupportMixin, BaseEstimator
):
    """Base of transformers that learn something for each bin of separated outputs."""

    def _check_X(self, X, *, reset):
        """Return the data of a spectrogram, checked, also against what was fitted."""
        data = check_spectrogram(X, type(self).__name__)
        if reset:
            _, self._n_freqs_in, self.n_features_in_ = data.shape
        check_as_fitted(self, data, "outputs")
        return data
