"""Clocks of channels that drift apart."""

# License: BSD-3-Clause

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import fft, next_fast_len, rfft

from skbss.parallel import block_map
from skbss.updates.recording import Recording, loaded_covariance
from skbss.updates.spatial import ip1

# Frames in which clocks are told, in seconds, how many there are at most, and how many
# frequencies in Hz are spread evenly up to a highest one: for a rough value first, then
# for an exact one, and for a look at whether there is something.
LOW = 100
ROUGH = {"seconds": 0.128, "most": 160, "n_bins": 160, "high": 4000}
EXACT = {"seconds": 0.256, "most": 640, "n_bins": 400, "high": 7800}
LOOK = {"seconds": 0.128, "most": 80, "n_bins": 64, "high": 7800}
# A channel is missing in frames this far below its mean power (60 dB).
MISSING = 1e-6
# Shortest recordings that tell of clocks, in seconds.
SHORTEST = 1.0
# How much finer than frames the rough likelihood is sampled.
FINER = 8
# Iterations of a separation between two searches, how many offsets are looked at, and
# how far to either side, in steps between which the likelihood hardly changes.
ROUNDS = (20, 25, 2.5), (10, 9, 0.5), (10, 9, 0.25)
LOOK_ROUNDS = ((12, 25, 2.5),)  # it only has to tell that there is something
# Iterations of a separation of all microphones between steps.
JOINT_ROUNDS = 30, 10, 10, 10, 10
# Least power of a source in a frame, relative to its mean.
FLOOR = 1e-6
TINY = np.finfo(float).tiny


def find_clock_offsets(x, ref_mic, sample_rate, max_offset, least_gain):
    """Find how much faster clocks of channels run than that of one of them.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_channels)
        The channels, aligned to some milliseconds.
    ref_mic : int
        The one.
    sample_rate : float
        In Hz.
    max_offset : float
        Largest relative difference.
    least_gain : float
        By how many nats per bin an offset has to be likelier than none.

    Returns
    -------
    offsets : ndarray of shape (n_channels,)
        The relative differences: channels have so many more samples for each of the
        reference. 0 where none is likely enough.
    """
    offsets = np.zeros(x.shape[1])
    others = [m for m in np.flatnonzero(x.any(axis=0)) if m != ref_mic]
    if len(x) < SHORTEST * sample_rate or not x[:, ref_mic].any():
        return offsets
    X, *when = clock_spectra(x, sample_rate, offsets, **ROUGH)
    for mic in others:
        offsets[mic] = rough_offset(X[..., [ref_mic, mic]], *when, max_offset)
    X, *when = clock_spectra(x, sample_rate, offsets, **EXACT)
    more, found = np.zeros(len(offsets)), []
    for mic in others:
        pair, none = X[..., [ref_mic, mic]], -offsets[mic]
        more[mic], gain = exact_offset(pair, *when, rounds=ROUNDS, none=none)
        if gain > least_gain:
            found.append(mic)
        else:
            more[mic] = none
    # Pairs lack what more microphones tell, which is what separates more talkers.
    if found and len(offsets) > 2:
        more = joint_offsets(X, *when, more, found)
    return offsets + more


def look_at_clocks(x, ref_mic, sample_rate, max_offset):
    """Look roughly at the offsets of clocks, as a check does.

    Parameters
    ----------
    x, ref_mic, sample_rate, max_offset
        As for `find_clock_offsets`.

    Returns
    -------
    offsets : ndarray of shape (n_channels,)
        To 0.5 parts per million, in a tenth of the time.
    gains : ndarray of shape (n_channels,)
        How much likelier they are than none, in nats per bin.
    """
    offsets, gains = np.zeros((2, x.shape[1]))
    if len(x) < SHORTEST * sample_rate:
        return offsets, gains
    X, *when = clock_spectra(x, sample_rate, offsets, **LOOK)

    def look(mic):
        pair = X[..., [ref_mic, mic]]
        if mic != ref_mic and pair.any(axis=(0, 1)).all():
            rough = rough_offset(pair, *when, max_offset)
            found = exact_offset(pair, *when, rough, rounds=LOOK_ROUNDS)
            offsets[mic], gains[mic] = found

    with block_map() as map_blocks:
        list(map_blocks(look, range(len(offsets))))
    return offsets, gains


def clock_spectra(x, sample_rate, offsets, *, seconds, most, n_bins, high):
    """Spectra of frames all over a recording, by which clocks are compared.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_channels)
        The channels.
    sample_rate : float
        In Hz.
    offsets : ndarray of shape (n_channels,)
        Relative differences of the clocks: frames begin later by these.
    seconds : float
        Length of frames.
    most : int
        Most frames; fewer if they would overlap by more than three quarters.
    n_bins : int
        Number of frequencies, at most.
    high : float
        Highest frequency, in Hz.

    Returns
    -------
    X : ndarray of shape (n_frames, n_bins, n_channels)
        Spectra, at the times of the reference's clock.
    times : ndarray of shape (n_frames,)
        Of the frames, in seconds.
    frequencies : ndarray of shape (n_bins,)
        In Hz.
    """
    size = round(seconds * sample_rate)
    last = int((len(x) - size) / (1 + max(offsets.max(), 0)))
    starts = np.linspace(0, last, min(most, 1 + 4 * last // size)).astype(int)
    high = min(high, 0.45 * sample_rate)
    bins = np.linspace(LOW * seconds, high * seconds, n_bins).astype(int)
    bins = np.unique(bins.clip(1, size // 2))
    frequencies = bins * sample_rate / size
    window = np.hanning(size + 2)[1:-1]
    X = np.empty((len(starts), len(bins), len(offsets)), complex)
    for mic, offset in enumerate(offsets):
        later = starts * offset
        frames = sliding_window_view(x[:, mic], size)[starts + later.astype(int)]
        X[..., mic] = rfft(window * frames)[:, bins]
        rest = (later - later.astype(int)) / sample_rate
        if offset:
            X[..., mic] *= np.exp(2j * np.pi * rest[:, None] * frequencies)
    X /= abs(X).max() or 1
    # Where a channel is missing, as before a recorder was started, none tells anything.
    power = (abs(X) ** 2).sum(1)
    X[(power < MISSING * power.mean(0)).any(1)] = 0
    return X, starts / sample_rate, frequencies


def rough_offset(X, times, frequencies, max_offset):
    """Find about how much faster the clock of a channel runs than another one's.

    It is where channels are most coherent over time: of largest likelihood if they are
    stationary and Gaussian [1]_, all frames being as loud.

    Parameters
    ----------
    X, times, frequencies : ndarray
        From `clock_spectra`.
    max_offset : float
        Largest relative difference.

    Returns
    -------
    offset : float
        The relative difference.

    Notes
    -----
    Talkers who take turns make it wrong by what lies between their delays, over the
    duration: up to 5 parts per million of ten seconds.

    References
    ----------
    .. [1] S. Miyabe, N. Ono and S. Makino, "Blind compensation of interchannel sampling
       frequency mismatch for ad hoc microphone array based on maximum likelihood
       estimation", Signal Processing 107, 2015. :doi:`10.1016/j.sigpro.2014.09.015`
    """
    level = np.sqrt((abs(X) ** 2).sum(2, keepdims=True))
    X = X / np.maximum(level, 1e-6 * (level.max() or 1))
    power = (abs(X) ** 2).sum(0).prod(1)
    n_fft = next_fast_len(FINER * len(X))
    cross = abs(fft(X[..., 0].conj() * X[..., 1], n_fft, axis=0)) ** 2
    step = step_of(times)
    n_steps = int(max_offset / step)
    offsets = step * np.arange(-n_steps, n_steps + 1)
    turns = offsets[:, None] * frequencies * times[1]
    where = np.rint(-turns * n_fft).astype(int) % n_fft
    coherence = cross[where, np.arange(len(frequencies))] / np.maximum(power, TINY)
    values = -np.log1p(-np.minimum(coherence, 1 - 1e-9)).mean(1)
    return float(offsets[values.argmax()])


def step_of(times):
    """Difference of offsets between which the likelihood hardly changes."""
    return 1 / (8 * ROUGH["high"] * (times[-1] - times[0]))


def exact_offset(X, times, frequencies, offset=0.0, *, rounds, none=0.0):
    """Find the offset of clocks exactly, while two sources are separated.

    Talkers who take turns look like a clock that drifts, but not where it is known who
    speaks when. So two sources are separated, the offset is moved to where the
    recording is likeliest, given how loud each of them is in each frame, and both once
    more.

    Parameters
    ----------
    X, times, frequencies : ndarray
        From `clock_spectra`.
    offset : float, default=0.0
        Where to begin.
    rounds : sequence of tuple
        How often, and how; see `ROUNDS`.
    none : float, default=0.0
        What stands for no offset.

    Returns
    -------
    offset : float
        The relative difference.
    gain : float
        How much likelier it is than none, in nats per bin.
    """
    times = times - times.mean()
    turn = 2j * np.pi * times[:, None] * frequencies
    W = None
    for n_iter, n_offsets, n_steps in rounds:
        Y = X * np.exp(np.multiply.outer(turn, [0, offset]))
        W, weights = _separate(Y, W, n_iter)
        reach = n_steps * step_of(times)
        offsets = offset + reach * np.linspace(-1, 1, n_offsets)
        costs = _costs(X, weights, turn, [*offsets, none])
        offset = _lowest(offsets, costs[:-1])
    return offset, float(costs[-1] - costs[:-1].min())


def joint_offsets(X, times, frequencies, offsets, mics):
    """Find offsets of clocks still more exactly, while all sources are separated.

    Parameters
    ----------
    X, times, frequencies : ndarray
        From `clock_spectra`.
    offsets : ndarray of shape (n_channels,)
        Where to begin.
    mics : list of int
        Channels whose offsets are moved; others keep theirs.

    Returns
    -------
    offsets : ndarray of shape (n_channels,)
        The relative differences.

    Notes
    -----
    Between iterations of the separation there are steps of Gauss and Newton of its
    likelihood, for demixing matrices and variances as they are.
    """
    turn = 2j * np.pi * (times - times.mean())[:, None] * frequencies
    offsets, W = offsets.copy(), None
    for n_iter in JOINT_ROUNDS:
        Y = X * np.exp(np.multiply.outer(turn, offsets))
        W, weights = _separate(Y, W, n_iter)
        A, b = np.zeros((len(mics), len(mics))), np.zeros(len(mics))
        for k, weight in enumerate(weights):
            slopes = turn[..., None] * W[:, k, mics] * Y[..., mics]
            weighted = (weight[:, None, None] * slopes).reshape(-1, len(mics)).conj().T
            A += (weighted @ slopes.reshape(-1, len(mics))).real
            b -= (weighted @ np.einsum("fm,tfm->tf", W[:, k], Y).ravel()).real
        offsets[mics] += np.linalg.lstsq(A, b)[0]
    return offsets


def _separate(Y, W, n_iter):
    """Iterate AuxIVA, without what its separator does for long recordings.

    Parameters
    ----------
    Y : ndarray of shape (n_frames, n_bins, n_channels)
        Spectra.
    W : ndarray of shape (n_bins, n_channels, n_channels) or None
        Demixing matrices to start from.
    n_iter : int
        How often.

    Returns
    -------
    W : ndarray of shape (n_bins, n_channels, n_channels)
        New ones.
    weights : ndarray of shape (n_channels, n_frames)
        Inverse variances of the outputs.
    """
    if W is None:
        W = np.tile(np.eye(Y.shape[2], dtype=complex), (Y.shape[1], 1, 1))
    recording = Recording(Y)
    W = recording.from_microphones(W)
    for iteration in range(n_iter + 1):
        power = recording.powers(W)
        mean = power.mean(2, keepdims=True)
        weights = 1 / np.maximum(power / np.where(mean > 0, mean, 1), FLOOR)
        if iteration < n_iter:
            W = ip1(W, loaded_covariance(recording.covariances(weights / len(Y))))
    return recording.learned(W, [])["demixing_"], weights[:, 0]


def _costs(X, weights, turn, offsets):
    """Negative log-likelihoods of offsets, in nats per bin.

    In each bin those are of the demixing matrix that suits best, which is known where
    two sources are at two microphones: the smaller generalized eigenvalue of the
    weighted covariances, and the determinant of one, tell how likely it is.
    """
    P = np.einsum("kt,tfm->mkf", weights, abs(X) ** 2) / len(X)
    P += 1e-9 * P.mean((1, 2), keepdims=True) + TINY
    turned, step, factor = X[..., 0] * X[..., 1].conj(), 0.0, 1.0
    C = np.empty((len(offsets), len(weights), X.shape[1]), complex)
    for k, next_step in enumerate(np.diff(offsets, prepend=0.0)):
        if abs(next_step - step) > 1e-9 * abs(step):  # most steps are equal
            step, factor = next_step, np.exp(-next_step * turn)
        turned = turned * factor
        C[k] = weights @ turned / len(X)
    det = P[0] * P[1] - abs(C) ** 2
    half = P[0, 0] * P[1, 1] + P[0, 1] * P[1, 0] - 2 * (C[:, 0].conj() * C[:, 1]).real
    half /= 2
    product = det[:, 0] * det[:, 1]
    root = np.sqrt(np.maximum(half**2 - product, 0))
    # Half of det[1] times the smaller generalized eigenvalue.
    return len(X) * np.log(product / (half + root) + TINY).mean(1)


def _lowest(offsets, costs):
    """Lowest place of a parabola through the lowest cost and its neighbors."""
    i = int(np.clip(costs.argmin(), 1, len(costs) - 2))
    a, b, c = costs[i - 1 : i + 2]
    bend = a - 2 * b + c
    part = np.clip((a - c) / (2 * bend), -1, 1) if bend > 0 else 0.0
    return float(offsets[i] + part * (offsets[1] - offsets[0]))
