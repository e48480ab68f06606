"""Stationary noise of outputs: its covariance, and the Wiener filter against it."""

# License: BSD-3-Clause

import numpy as np
from scipy.ndimage import correlate1d
from scipy.special import gammainc, gammaincinv

from skbss.linalg import solve_hpd
from skbss.parallel import bin_blocks, map_some
from skbss.updates.powers import invert_positive

# Bins over which powers are averaged before frames are compared, and how many of them
# are independent: by a Hann window, neighbors correlate by 2/3, the next by 1/6.
WIDTH = 5
N_INDEPENDENT = 2.87

# Share of noise in the weakest direction of half of the bins from which on a recording
# is noisy. It is below 0.06 in clean rooms, and above 0.15 with isotropic noise 20 dB
# below the voices or white noise 30 dB below.
NOISY = 0.1

# Least share of signal: where all is noise, all bins count alike.
LEAST_SHARE = 0.01

# Power of an output that has paused, relative to its mean: what is below is noise that
# was not taken off.
PAUSE = 0.1

# Least power of a frame without noise, relative to their mean: what weighs most are the
# frames in which a voice pauses, and in these noise isn't known exactly.
LEAST_VOICE = 0.05

# Loading of matrices relative to their diagonal, against rounding.
LOADING = 1e-12


def smooth(a, width, axis):
    """Average over neighbors; ends are repeated.

    Not by running sums, in which what is loud leaves its rounding errors.
    """
    return correlate1d(a, np.full(width, 1 / width), axis=axis, mode="nearest")


def with_neighbors(bins, reach, n_freqs):
    """Slice of bins with neighbors, and where the bins are in it."""
    start = max(bins.start - reach, 0)
    inner = slice(bins.start - start, bins.stop - start)
    return slice(start, min(bins.stop + reach, n_freqs)), inner


def selection_bias(quiet, n_sources):
    """Power of the quietest frames of stationary noise, relative to that of all.

    Mean powers of independent complex Gaussians have a gamma distribution.
    """
    shape = N_INDEPENDENT * n_sources
    return gammainc(shape + 1, gammaincinv(shape, quiet)) / quiet


def quiet_covariance(X, scale, quiet, mixing=None):
    """Covariance of outputs in the quietest frames of each bin, bias corrected.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    scale : float
        What they are divided by.
    quiet : float
        Fraction of frames. If it is less than one frame, nothing is noise.
    mixing : ndarray of shape (n_freqs, n_sources, n_sources), default=None
        What outputs are multiplied by first.

    Returns
    -------
    noise : ndarray of shape (n_freqs, n_sources, n_sources)
        Hermitian, complex128.
    """
    n_frames, n_freqs, K = X.shape
    n_quiet = int(quiet * n_frames)
    noise = np.zeros((n_freqs, K, K), complex)
    if n_quiet == 0:
        return noise
    if mixing is not None:
        mixing = mixing.astype(X.dtype)
    tiny = np.finfo(X.real.dtype).tiny

    def learn(bins):
        outer, inner = with_neighbors(bins, WIDTH // 2, n_freqs)
        x = X[:, outer].transpose(1, 2, 0) * X.real.dtype.type(1 / scale)
        if mixing is not None:
            x = mixing[outer] @ x
        power = np.square(x.real)
        power += np.square(x.imag)
        mean = power.mean(2)[:, None]  # bins count alike
        gains = np.divide(1, mean, out=np.zeros_like(mean), where=mean > tiny)
        power = smooth((gains @ power)[:, 0], WIDTH, axis=0)[inner]
        frames = np.argpartition(power, n_quiet - 1, axis=1)[:, None, :n_quiet]
        x = np.take_along_axis(x[inner], frames, axis=2).astype(complex)
        noise[bins] = x @ x.conj().swapaxes(1, 2) / n_quiet

    map_some(learn, bin_blocks(n_freqs, 4 * n_frames * X[0, 0].nbytes))
    return noise / selection_bias(quiet, K)


def whitened_noise(X, mixing, recording, quiet):
    """Covariance of the noise of whitened microphones.

    Quiet frames are those of the microphones: outputs of noise aren't quiet in them.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_channels)
        Complex spectrogram of the microphones, or of outputs of a separator.
    mixing : ndarray of shape (n_freqs, n_mics, n_channels) or None
        What takes outputs to the microphones.
    recording : Recording
        `X` whitened.
    quiet : float
        Fraction of frames in which there is only noise.

    Returns
    -------
    noise : ndarray of shape (n_freqs, n_channels, n_channels)
        Hermitian, complex128.
    """
    Z = recording.Z.transpose(2, 0, 1)
    if mixing is not None:
        Z = Z @ np.linalg.pinv(mixing)
    N = quiet_covariance(X, recording.scale, quiet, mixing)
    return Z @ N @ Z.conj().swapaxes(1, 2)


def signal_shares(noise, n_sources):
    """Share of signal in the weakest direction that sources are told apart by.

    Parameters
    ----------
    noise : ndarray of shape (n_freqs, n_channels, n_channels)
        From `whitened_noise`.
    n_sources : int
        Number of directions that are needed, those with the largest shares.

    Returns
    -------
    share : ndarray of shape (n_freqs,) or None
        From `LEAST_SHARE` to 1. None where there is little noise.
    """
    weakest = np.linalg.eigvalsh(noise)[:, n_sources - 1]
    if np.median(weakest) <= NOISY:
        return None
    return np.clip(1 - weakest, LEAST_SHARE, 1)


def noise_powers(W, noise):
    """Powers of the noise in the outputs, (n_sources, n_freqs).

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices of whitened microphones.
    noise : ndarray of shape (n_freqs, n_mics, n_mics)
        From `whitened_noise`.
    """
    rows = W.transpose(2, 0, 1)
    return ((rows @ noise) * rows.conj()).sum(2).real.T


def without_noise(power, noise):
    """Powers of frames less that of the noise, and never far below their mean.

    Parameters
    ----------
    power : ndarray of shape (n_sources, ..., n_frames)
        Mean powers of frames.
    noise : ndarray of shape (n_sources, ...)
        Those of the noise.
    """
    power = np.maximum(power - noise[..., None].astype(power.dtype), 0)
    return np.maximum(power, LEAST_VOICE * power.mean(-1, keepdims=True))


def liveliness(recording, W, noise):
    """How much outputs go up and down without their noise, in nats.

    A voice pauses, two voices in one output pause less, and noise never does.

    Parameters
    ----------
    recording : Recording
        The recording.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices of its whitened microphones.
    noise : ndarray of shape (n_freqs, n_mics, n_mics)
        From `whitened_noise`.

    Returns
    -------
    liveliness : float
        How far the logarithm of the mean power of a frame is above the mean logarithm,
        all bins alike, as a mean of the outputs.
    """
    W = W / np.linalg.norm(W, axis=1, keepdims=True)
    N = noise_powers(W, noise).mean(1)
    power = np.maximum(recording.powers(W)[:, 0] - N[:, None], 0, dtype=float)
    return _liveliness(power)


def liveliness_of_outputs(Y, quiet):
    """How much outputs go up and down without their noise, in nats.

    Parameters
    ----------
    Y : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs whose bins have a mean power of 1.
    quiet : float
        Fraction of frames in which there is only noise.
    """
    N = quiet_covariance(Y, 1.0, quiet).mean(0).diagonal().real
    power = np.square(abs(Y), dtype=float).mean(1).T
    return _liveliness(np.maximum(power - N[:, None], 0))


def _liveliness(power):
    """How lively powers (n_sources, n_frames) are."""
    mean = power.mean(1, keepdims=True)
    power *= invert_positive(mean)
    power[mean[:, 0] == 0] = 1  # all of it is noise
    return float(np.log1p(PAUSE) - np.log(power + PAUSE).mean())


def reduce_noise(X, scale, noise, min_share):
    """Filter outputs by how much of their power is noise, in each frame and bin.

    Variances of sources are estimated twice: from the outputs less their noise, and
    from what is found by these.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    scale : float
        What they are divided by.
    noise : ndarray of shape (n_freqs, n_sources, n_sources)
        Covariance of the noise of the outputs, divided by the scale.
    min_share : float
        Least variance of sources, relative to the outputs' power.

    Returns
    -------
    Z : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs with less noise.
    """
    n_frames, n_freqs, K = X.shape
    Z = np.empty_like(X)

    N = noise.transpose(1, 2, 0)[:, :, None]
    own = np.einsum("kk...->k...", N).real

    def work(frames):
        x = X[frames].astype(complex) / scale
        # Later audio may be louder than any that was fitted to.
        peak = max(abs(x).max(), 1)
        x = np.ascontiguousarray(x.transpose(2, 0, 1)) / peak
        power = smooth(abs(x) ** 2, WIDTH, axis=2)
        least, known = min_share * power, own / peak**2
        r = np.maximum(power - known, least)
        for last in (False, True):
            size = (r + known).mean(0)
            size[size == 0] = 1
            V = N / peak**2 / size
            diagonal = np.einsum("kk...->k...", V)  # a view
            diagonal += r / size + LOADING
            z = solve_hpd(V.reshape(K, K, -1), x.reshape(K, -1)).reshape(r.shape)
            z *= r / size
            if not last:
                r = np.maximum(smooth(abs(z) ** 2, WIDTH, axis=2), least)
        Z[frames] = (z * peak * scale).transpose(1, 2, 0)

    map_some(work, bin_blocks(n_frames, 16 * n_freqs * K * (K + 8)))
    return Z
