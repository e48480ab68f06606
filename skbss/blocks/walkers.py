"""Two talkers who walk all the time."""

# License: BSD-3-Clause

from dataclasses import replace

import numpy as np

from skbss.base import check_ref_mic
from skbss.blocks.tracks import best_order
from skbss.blocks.voices import describe_voices
from skbss.spectrogram import window_length
from skbss.transforms import ISTFT, STFT
from skbss.updates.walks import BLOCK, N_SIDE, WINDOW, Phases, follow

# Talkers so few steps of the grid apart are too close to be told apart. What is said
# from one such time to the next is one piece, if it has so many blocks.
CLOSE, LEAST_BLOCKS = 2, 3


def separate_walkers(x, sample_rate, ref_mic=0):
    """Separate two talkers by the delays between two microphones, as they walk.

    Parameters
    ----------
    x : array-like of shape (n_samples, n_mics)
        The recording.
    sample_rate : float
        In Hz.
    ref_mic : int, default=0
        The microphone that is divided among the talkers, by masks. The other one is
        that to which delays are longest.

    Returns
    -------
    y : ndarray of shape (n_samples, 2)
        The talkers, which sum to the microphone.

    Raises
    ------
    ValueError
        If there is a single microphone, or no such reference.
    """
    x = np.asarray(x)
    n_mics = x.shape[1]
    if n_mics < 2:
        raise ValueError(f"Got {n_mics} microphone, expected at least 2.")
    check_ref_mic(ref_mic, n_mics)
    n_fft = window_length(sample_rate, WINDOW)
    record = STFT(n_fft, sample_rate=sample_rate).fit_transform(x)
    hop = record.stft_params["hop_length"]
    n_frames = max(1, round(BLOCK * sample_rate / hop))
    freqs = np.fft.rfftfreq(n_fft, 1 / sample_rate)

    def phases(other):
        return Phases(record.data[..., [ref_mic, other]], freqs)

    others = [mic for mic in range(n_mics) if mic != ref_mic]
    longest = {mic: phases(mic).longest_delay(n_frames) for mic in others}
    best = max(longest, key=longest.get)
    pair = phases(best)
    delays = longest[best] * np.linspace(-1, 1, 2 * N_SIDE + 1)
    path = follow(pair.likelihoods(n_frames, delays))
    middles = (np.arange(len(path)) + 0.5) * n_frames
    frames = np.arange(len(record))
    tracks = [np.interp(frames, middles, some) for some in delays[path].T]
    masks = pair.masks(np.array(tracks))
    masks = masks.transpose(2, 0, 1).astype(record.data.real.dtype)
    y = ISTFT().fit_transform(
        replace(record, data=masks * record.data[..., [ref_mic] * 2])
    )
    pieces = [slice(a * n_frames * hop, b * n_frames * hop) for a, b in pieces_of(path)]
    return by_voices(y, pieces, sample_rate)


def pieces_of(path):
    """Divide a path into pieces, from one time when talkers are close to the next.

    Parameters
    ----------
    path : ndarray of int of shape (n_blocks, 2)
        Places of both.

    Returns
    -------
    pieces : list of (int, int)
        First block of each, and the one after its last.
    """
    close = np.r_[False, abs(np.diff(path, axis=1)[:, 0]) <= CLOSE, False]
    edges = np.flatnonzero(np.diff(close)).reshape(-1, 2)
    cuts = [0]
    for middle in edges.sum(1) // 2:
        if middle - cuts[-1] >= LEAST_BLOCKS:
            cuts.append(int(middle))
    return list(zip(cuts, [*cuts[1:], len(path)], strict=True))


def by_voices(y, pieces, sample_rate):
    """Put the outputs of pieces into one order, by what they sound like.

    Parameters
    ----------
    y : ndarray of shape (n_samples, n_sources)
        The outputs.
    pieces : list of slice
        Of the samples. The longest ones tell most, and come first.
    sample_rate : float
        In Hz.

    Returns
    -------
    y : ndarray of shape (n_samples, n_sources)
        In order.
    """
    out, known = y.copy(), None
    for piece in sorted(pieces, key=lambda some: some.start - some.stop):
        voices = describe_voices(y[piece], sample_rate)
        if known is not None:
            order = best_order(known.similarity(voices))
            out[piece], voices = y[piece][:, order], voices.take(order)
        known = voices if known is None else known.joined(voices)
    return out
