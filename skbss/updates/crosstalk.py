"""Leaks between outputs: their filters over several frames, and what removes them."""

# License: BSD-3-Clause

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from skbss.parallel import bin_blocks, block_map
from skbss.updates.powers import frame_parts, invert_positive, mean_powers, powers
from skbss.updates.recording import level
from skbss.updates.source import frame_blocks, source_variance

# Mean power of a band, relative to the output's there, that frames have at least.
FLOOR = 1e-10

# Least variance relative to its mean over time: how much more than usual a frame counts
# in which an output pauses.
LEAST_VARIANCE = 1e-8

# Loading of the normal equations relative to their diagonal, in rounding errors.
LOADING = 10

# Bounds of the ratio of two outputs' powers in a bin; beyond, one of them is silent.
RATIO = 1e12


def band_size(n_freqs, n_bands):
    """Bins in each band, but for the last, which has those that are left."""
    return max(1, n_freqs // n_bands)


def band_means(power, n_bands):
    """Average powers (n_frames, n_freqs, n_sources) over the bins of bands."""
    size = band_size(power.shape[1], n_bands)
    starts = np.arange(0, power.shape[1], size)
    sums = np.add.reduceat(power, starts, axis=1)
    return sums / np.diff(starts, append=power.shape[1])[:, None]


def band_weights(X, scale, source):
    """Level of each output and bin, and weights of bands and frames.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    scale : float
        What they are divided by before they are squared.
    source : object
        Source model with `variance` and `n_bands`.

    Returns
    -------
    amplitude : ndarray of shape (n_freqs, n_sources)
        Root mean square over time, of outputs divided by the scale.
    weights : ndarray of shape (n_sources, n_bands, n_frames)
        Inverse variances of the outputs at unit power in every bin, over the number of
        frames; real, in the precision of `X`.
    """
    n_frames, n_freqs, K = X.shape
    mean, gains = mean_powers(X, scale)
    n_bands = -(-n_freqs // band_size(n_freqs, source.n_bands))
    power = np.empty((K, n_bands, n_frames), X.real.dtype)

    def write_means(part):
        means = band_means(powers(X[part], scale) * gains, source.n_bands)
        power[..., part] = means.transpose(2, 1, 0)

    def write_variance(part):
        np.maximum(power[..., part], FLOOR, out=power[..., part])
        power[..., part] = source_variance(source, power[..., part])

    with block_map() as map_blocks:
        list(map_blocks(write_means, frame_parts(X)))
        list(map_blocks(write_variance, frame_blocks(power)))
    least = LEAST_VARIANCE * power.mean(2, keepdims=True)
    np.maximum(power, least, out=power)
    np.divide(1 / n_frames, power, out=power)
    return np.sqrt(mean), power


def delayed(a, lags):
    """View an array whose last axis is time at all of some delays.

    Parameters
    ----------
    a : ndarray of shape (..., n_frames)
        Zero before and after.
    lags : range
        In frames, from at most 0 to at least 0; negative ones look ahead.

    Returns
    -------
    view : ndarray of shape (..., n_lags, n_frames)
        ``view[..., i, t] = a[..., t - lags[i]]``.
    """
    padding = [(0, 0)] * (a.ndim - 1) + [(lags[-1], -lags[0])]
    windows = sliding_window_view(np.pad(a, padding), a.shape[-1], axis=-1)
    return windows[..., ::-1, :]


def normal_equations(x, weights, lags):
    """Sum over time what the least squares of every output on the others need.

    Parameters
    ----------
    x : ndarray of shape (n_bins, n_sources, n_frames)
        Outputs.
    weights : ndarray of shape (n_bins, n_sources, n_frames)
        Weights w of frames, for each output as the target.
    lags : range
        Delays.

    Yields
    ------
    others : ndarray of shape (n_sources - 1,)
        The outputs that output k = 0, 1, ... is regressed on, in their order below.
    A : ndarray of shape (n_bins, n_regressors, n_regressors)
        Sums over t of ``w[k, t] * conj(r[a, t]) * r[b, t]``, where regressor a or b
        belongs to output j and lag i: ``r[(j, i), t] = x[others[j], t - lags[i]]``.
    b : ndarray of shape (n_bins, n_regressors)
        Sums over t of ``w[k, t] * conj(r[a, t]) * x[k, t]``.
    """
    n_bins, K, n_frames = x.shape
    # In twice the outputs, one after the other, all but one are neighbors.
    x = np.concatenate([x, x[:, :-1]], axis=1)
    parts = np.stack([x.real, x.imag], axis=2)
    rows = delayed(parts, lags).swapaxes(2, 3)
    weighted = np.empty((n_bins, K - 1, *rows.shape[2:]), parts.dtype)
    for k, root in enumerate(np.sqrt(weights).swapaxes(0, 1)):
        np.multiply(rows[:, k + 1 : k + K], root[:, None, None, None], out=weighted)
        R = weighted.reshape(n_bins, -1, n_frames)
        A = R @ R.swapaxes(1, 2)  # by half the products, as it is symmetric
        b = R @ (parts[:, k] * root[:, None]).swapaxes(1, 2)
        others = np.arange(k + 1, k + K) % K
        yield others, conj_products(A), conj_products(b)[..., 0]


def conj_products(products):
    """Put products of real and imaginary parts together, conj(a) b.

    Parameters
    ----------
    products : ndarray of shape (n_bins, 2 * n_rows, 2 * n_columns)
        Of the real and imaginary parts of each row with those of each column.

    Returns
    -------
    complex_products : ndarray of shape (n_bins, n_rows, n_columns)
        Complex.
    """
    re, im = products[:, ::2], products[:, 1::2]
    out = np.empty((len(re), re.shape[1], re.shape[2] // 2), complex)
    np.add(re[..., ::2], im[..., 1::2], out=out.real)
    np.subtract(re[..., 1::2], im[..., ::2], out=out.imag)
    return out


def leakage(x, level, weights, lags, ridge):
    """Solve for the leaks of all outputs into each.

    Parameters
    ----------
    x : ndarray of shape (n_bins, n_sources, n_frames)
        Outputs at unit power in every bin.
    level : ndarray of shape (n_bins, n_sources)
        What they were divided by.
    weights, lags : ndarray, range
        As in `normal_equations`.
    ridge : ndarray of shape (n_lags,)
        What is added to the diagonal for filters of outputs at their levels.

    Returns
    -------
    filters : ndarray of shape (n_bins, n_sources, n_sources, n_lags)
        ``filters[f, k, j, i]`` is what of output j, `lags[i]` frames before, is in
        output k; zero for k = j.
    """
    n_bins, K = level.shape
    filters = np.zeros((n_bins, K, K, len(lags)), complex)
    for k, (others, A, b) in enumerate(normal_equations(x, weights, lags)):
        own, other = level[:, k, None], level[:, others]
        ratio = np.full(other.shape, RATIO)
        np.divide(own, other, out=ratio, where=other > own / RATIO)
        ratio = np.maximum(ratio, 1 / RATIO)[:, :, None]
        diagonal = np.einsum("fii->fi", A)  # a view
        diagonal *= 1 + LOADING * np.finfo(x.dtype).eps
        diagonal += (ridge * ratio**2).reshape(n_bins, -1)
        c = np.linalg.solve(A, b[..., None]).reshape(n_bins, K - 1, len(lags))
        filters[:, k, others] = c * ratio
    return filters


def leakage_filters(X, source, lags, ridge):
    """Learn filters of what leaks from each output into each other one.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    source : object
        Source model with `variance` and `n_bands`.
    lags : range
        Delays in frames, from at most 0 to at least 0.
    ridge : ndarray of shape (n_lags,)
        As in `leakage`.

    Returns
    -------
    filters : ndarray of shape (n_freqs, n_lags, n_sources, n_sources)
        As from `leakage`.
    """
    n_frames, n_freqs, K = X.shape
    scale = level(X)
    amplitude, weights = band_weights(X, scale, source)
    gains = (invert_positive(amplitude) / scale).astype(weights.dtype)
    size = band_size(n_freqs, source.n_bands)
    bands = np.arange(n_freqs) // size
    filters = np.empty((n_freqs, K, K, len(lags)), complex)

    def learn(bins):
        x = X[:, bins].transpose(1, 2, 0) * gains[bins, :, None]
        w = weights[:, bands[bins]].swapaxes(0, 1)
        filters[bins] = leakage(x, amplitude[bins], w, lags, ridge)

    bin_bytes = 32 * K * len(lags) * n_frames
    with block_map() as map_blocks:
        list(map_blocks(learn, bin_blocks(n_freqs, bin_bytes)))
    return filters


def cancel(X, filters, lags):
    """Take leaks out of the outputs and give them back to where they came from.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    filters : ndarray of shape (n_freqs, n_sources, n_sources, n_lags)
        From `leakage_filters`.
    lags : range
        Their delays.

    Returns
    -------
    Y : ndarray of shape (n_frames, n_freqs, n_sources)
        New outputs.
    """
    n_frames, n_freqs, K = X.shape
    Y = np.empty_like(X)
    filters = filters.astype(X.dtype)

    def work(bins):
        x = np.ascontiguousarray(X[:, bins].transpose(1, 2, 0))

        def filtered(signals, c):
            past = delayed(signals, lags).reshape(len(x), -1, n_frames)
            return c.reshape(len(x), K, -1) @ past

        leaks = filters[bins].copy()
        clean = x - filtered(x, leaks)
        # What is taken from one output goes to another: columns sum to zero.
        diagonal = np.einsum("fkki->fki", leaks)  # a view
        diagonal -= leaks.sum(1)
        Y[:, bins] = (x - filtered(clean, leaks)).transpose(2, 0, 1)

    with block_map() as map_blocks:
        bin_bytes = 2 * n_frames * len(lags) * X[0, 0].nbytes
        list(map_blocks(work, bin_blocks(n_freqs, bin_bytes)))
    return Y
