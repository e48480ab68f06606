"""What transformers of separated outputs share: checks of spectrograms."""

# License: BSD-3-Clause

from sklearn.base import BaseEstimator

from skbss.base import (
    SpectrogramInputMixin,
    SpectrogramOutputMixin,
    check_spectrogram,
)
from skbss.callbacks import CallbackSupportMixin


class OutputsTransformer(
    SpectrogramInputMixin, SpectrogramOutputMixin, CallbackSupportMixin, BaseEstimator
):
    """Base of transformers that learn something for each bin of separated outputs."""

    def _check_X(self, X, *, reset):
        """Return the data of a spectrogram, checked, also against what was fitted."""
        name = type(self).__name__
        data = check_spectrogram(X, name)
        _, n_freqs, n_sources = data.shape
        if reset:
            self.n_features_in_ = n_sources
            self._n_freqs_in = n_freqs
        elif n_sources != self.n_features_in_:
            raise ValueError(
                f"X has {n_sources} features, but {name} is expecting "
                f"{self.n_features_in_} features as input (the outputs)."
            )
        elif n_freqs != self._n_freqs_in:
            raise ValueError(
                f"X has {n_freqs} frequency bins, but {name} was fitted on "
                f"{self._n_freqs_in}."
            )
        return data
