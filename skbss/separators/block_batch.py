"""Block-batch separation: a batch separator on successive blocks of frames."""

# License: BSD-3-Clause

from numbers import Integral

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.base import _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval

from skbss.base import LinearSeparator
from skbss.callbacks import FitTask, call_within
from skbss.spectrogram import separated


def align(previous, current, X):
    """Order of the current outputs in which they continue the previous ones.

    Parameters
    ----------
    previous, current : ndarray of shape (n_freqs, n_sources, n_mics)
        Demixing matrices of two blocks.
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Frames that both are applied to.

    Returns
    -------
    order : ndarray of shape (n_sources,)
        ``current[:, order]`` continues `previous`.
    """
    # Correlations of the outputs, from the covariance of the microphones alone.
    X = X.astype(complex) / (abs(X).max() or 1)
    C = np.einsum("tfm,tfn->fmn", X, X.conj(), optimize=True)
    cross = abs(previous @ C @ current.conj().transpose(0, 2, 1))
    # Rounding may bring the power of a nearly silent output below zero.
    powers = [
        np.einsum("fkm,fmn,fkn->fk", W, C, W.conj(), optimize=True).real.clip(0)
        for W in (previous, current)
    ]
    norm = np.maximum(np.sqrt(powers[0][:, :, None] * powers[1][:, None, :]), cross)
    correlation = np.divide(cross, norm, out=np.zeros_like(norm), where=norm > 0)
    # Every bin votes by its power, as loud bins matter most to the ear.
    weight = np.einsum("fmm->f", C).real
    similarity = np.einsum("f,fkl->kl", weight, correlation)
    return linear_sum_assignment(similarity, maximize=True)[1]


def continue_sources(previous, estimator, X):
    """Demixing and mixing matrices in the order and on the scale of the block before.

    Every column of the mixing matrices gets unit norm and the phase nearest to the one
    before, so that matrices of two blocks can be interpolated.

    Parameters
    ----------
    previous : tuple of two ndarrays, or None
        What was returned for the block before.
    estimator : estimator
        Fitted to the block.
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        The block.

    Returns
    -------
    W : ndarray of shape (n_freqs, n_sources, n_mics)
        Demixing matrices.
    A : ndarray of shape (n_freqs, n_mics, n_sources)
        Mixing matrices.
    """
    W, A = estimator.demixing_, estimator.mixing_
    gain = np.linalg.norm(A, axis=1).astype(complex)
    if previous is not None:
        order = align(previous[0], W, X)
        W, A, gain = W[:, order], A[:, :, order], gain[:, order]
        inner = (previous[1].conj() * A).sum(1)
        size = abs(inner)
        gain *= np.where(size > 0, inner / np.where(size > 0, size, 1), 1)
    return W * gain[:, :, None], A / gain[:, None, :]


class BlockBatch(LinearSeparator):
    """Separate long recordings block by block with a batch separator.

    Speakers move and rooms change, while a batch separator assumes that one demixing
    matrix per frequency holds throughout. Here it only has to hold for a block. Every
    block starts from the demixing matrices of the one before, its outputs are put into
    the order of the ones before, and where blocks overlap, the demixing matrices pass
    gradually from one to the next.

    Parameters
    ----------
    estimator : estimator
        The batch separator, `AuxIVA` or `ILRMA`. It is cloned for use.
    block_size : int, default=200
        Length of a block in frames: 12.8 s at a hop of 64 ms (`STFT(4096)` at 16 kHz),
        25.6 s at one of 128 ms (`STFT()`), which is long where somebody moves. Longer
        blocks are separated better as long as nothing does.
    overlap : int, default=50
        Frames that two successive blocks share, at most half of `block_size`: over them
        sources are recognized, and one block's matrices turn into the next one's.

    Attributes
    ----------
    demixing_ : ndarray of shape (n_freqs, n_sources, n_mics)
        Demixing matrices of the last block.
    mixing_ : ndarray of shape (n_freqs, n_mics, n_sources)
        Their inverses.
    n_blocks_ : int
        Number of blocks.
    n_features_in_ : int
        Number of microphones.

    See Also
    --------
    AuxIVA, ILRMA : The batch separators.

    Notes
    -----
    `fit_transform` separates every block with its own matrices, `transform` applies
    those of the last block, to audio that follows.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss import ISTFT, STFT, AuxIVA, BlockBatch, ProjectionBack
    >>> from skbss.datasets import make_convolutive_mixture
    >>> x, _ = make_convolutive_mixture(80000, random_state=0)
    >>> separator = BlockBatch(AuxIVA(max_iter=20), block_size=100, overlap=20)
    >>> pipe = make_pipeline(STFT(n_fft=1024), separator, ProjectionBack(), ISTFT())
    >>> pipe.fit_transform(x).shape
    (80000, 2)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "transform"])],
        "block_size": [Interval(Integral, 1, None, closed="left")],
        "overlap": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(self, estimator, *, block_size=200, overlap=50):
        self.estimator = estimator
        self.block_size = block_size
        self.overlap = overlap

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Separate block by block and keep the demixing matrices of the last one.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            Complex spectrogram of the recording.
        y : None
            Ignored.

        Returns
        -------
        self : BlockBatch
            The fitted separator.
        """
        for _ in self._blocks(self._check_X(X, reset=True), X, y):
            pass
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X, y=None):
        """Separate block by block.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            Complex spectrogram of the recording.
        y : None
            Ignored.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            The separated sources. A record carries a mixing matrix for each frame.
        """
        data = self._check_X(X, reset=True)
        parts, mixing, index = [], [], []
        for frames, W, A in self._blocks(data, X, y):
            x = data[frames]
            parts.append((W @ x[..., None])[..., 0].astype(data.dtype))
            # One matrix for each frame where they change, one for many where not.
            index.append(sum(map(len, mixing)) + np.arange(len(x)) % len(A))
            mixing.append(A.astype(data.dtype))
        Y, mixing, index = map(np.concatenate, (parts, mixing, index))
        return separated(X, Y, mixing, index)

    def _blocks(self, X, record=None, y=None):
        """Yield slices of frames, demixing and mixing matrices, one for all or each."""
        if self.overlap > self.block_size // 2:
            raise ValueError(
                f"Got overlap={self.overlap}, expected at most half of "
                f"block_size={self.block_size}."
            )
        hop = self.block_size - self.overlap
        # The last block takes what would be too short for a block of its own.
        starts = range(0, max(len(X) - self.block_size, 0) + 1, hop)
        fade = np.arange(1, self.overlap + 1) / (self.overlap + 1)
        fade = fade[:, None, None, None]
        estimator = clone(self.estimator).set_params(warm_start=True)
        previous = None
        task = FitTask(self, record, y, len(starts))
        tasks = task.subtasks("block", len(starts))
        for block_task, start in zip(tasks, starts, strict=True):
            last = start == starts[-1]
            block = X[start:] if last else X[start : start + self.block_size]
            # Activations belong to the frames of the block before.
            vars(estimator).pop("activations_", None)
            call_within(block_task, self, estimator, "fit", block)
            W, A = continue_sources(previous, estimator, block)
            faded = start
            if previous is not None:
                faded += self.overlap
                W_fading = (1 - fade) * previous[0] + fade * W
                A_fading = (1 - fade) * previous[1] + fade * A
                # So that the outputs still are what they explain of the microphones.
                A_fading = A_fading @ np.linalg.inv(W_fading @ A_fading)
                yield slice(start, faded), W_fading, A_fading
            yield slice(faded, len(X) if last else start + hop), W[None], A[None]
            previous = W, A
        self.demixing_, self.mixing_ = previous
        self.n_features_in_, self._n_freqs_in = X.shape[2], X.shape[1]
        self.n_blocks_ = len(starts)
        task.end()
