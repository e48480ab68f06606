"""Frames of a signal: how many there are, from samples to spectra and back."""

# License: BSD-3-Clause

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import ShortTimeFFT, get_window
from sklearn.utils import check_array, gen_even_slices

from skbss.parallel import N_PARTS, map_some

# Frames are transformed in blocks of this size, which stay in the cache.
BLOCK_BYTES = 2**18


def blocks(n_frames, frame_bytes):
    """Slices of consecutive frames, of about `BLOCK_BYTES` bytes each."""
    # gen_batches of scikit-learn checks its arguments for longer than a frame takes.
    step = max(1, BLOCK_BYTES // frame_bytes)
    return [slice(k, min(k + step, n_frames)) for k in range(0, n_frames, step)]


def short_time_fft(n_fft, hop_length, window, *, dtype=np.float64):
    """Return scipy's ShortTimeFFT of an invertible transform.

    Parameters
    ----------
    n_fft, hop_length : int
        Lengths in samples.
    window : str, tuple or array-like of shape (n_fft,)
        As in `STFT`.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float64
        Precision of the window and its dual. What can't be inverted in single
        precision may be in double precision.

    Returns
    -------
    sft : scipy.signal.ShortTimeFFT
        Neither scaled nor phase shifted.

    Raises
    ------
    ValueError
        If the window is invalid, or the three can't be inverted together.
    """
    if isinstance(window, str | tuple):
        try:
            win = get_window(window, n_fft)
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f"Got window={window!r}, expected one that scipy.signal.get_window "
                f"knows: {error}"
            ) from error
        shown = repr(window)
    else:
        win = check_array(
            window, dtype=np.float64, ensure_2d=False, input_name="window"
        )
        if win.shape != (n_fft,):
            raise ValueError(
                f"Got a window of shape {win.shape}, expected (n_fft,) = ({n_fft},)."
            )
        shown = f"array of shape {win.shape}"
    sft = ShortTimeFFT(win.astype(dtype), hop_length, fs=1.0, phase_shift=None)
    if not sft.invertible:
        raise ValueError(
            f"Got window={shown}, hop_length={hop_length}, n_fft={n_fft}: this "
            "transform isn't invertible, as some samples have no weight in any frame. "
            "Choose a shorter hop: n_fft // 4 suits all common windows."
        )
    return sft


def n_frames_of(sft, n_samples):
    """Count the frames that a signal of `n_samples` reaches into.

    Signals shorter than half a window count as if zeros filled it.
    """
    return sft.p_num(max(n_samples, sft.m_num - sft.m_num_mid))


def analyze(x, sft):
    """Transform a real signal (n_samples, n_channels) of the precision of `sft`."""
    n_samples, n_channels = x.shape
    n_fft, hop = sft.m_num, sft.hop
    n_frames = n_frames_of(sft, n_samples)
    X = np.empty(
        (n_frames, sft.f_pts, n_channels), np.result_type(x.dtype, np.complex64)
    )
    # Repeated for every channel, the window meets the samples in contiguous memory.
    window = np.repeat(sft.win, n_channels).reshape(n_fft, n_channels)

    def work(block):
        begin = sft.k_min + block.start * hop
        end = sft.k_min + (block.stop - 1) * hop + n_fft
        part = x[max(begin, 0) : end]
        if len(part) < end - begin:
            before = max(-begin, 0)
            after = end - begin - before - len(part)
            part = np.pad(part, ((before, after), (0, 0)))
        frames = sliding_window_view(part, n_fft, axis=0)[::hop].swapaxes(1, 2)
        X[block] = scipy.fft.rfft(frames * window, axis=1, overwrite_x=True)

    map_some(work, blocks(n_frames, window.nbytes))
    return X


def synthesize(X, sft, n_samples):
    """Return the real signal (n_samples, n_channels) of a spectrogram."""
    n_frames, _, n_channels = X.shape
    n_fft, hop = sft.m_num, sft.hop
    x = np.zeros((n_fft + (n_frames - 1) * hop, n_channels), sft.win.dtype)
    dual = np.repeat(sft.dual_win, n_channels).reshape(n_fft, n_channels)
    reach = -(-n_fft // hop)  # frames that a hop is in

    def work(hops):
        """Add up all that is between two multiples of the hop."""
        begin, end = hops.start * hop, min(hops.stop * hop, len(x))
        first = max(0, hops.start - reach + 1)
        for block in blocks(min(hops.stop, n_frames) - first, dual.nbytes):
            block = slice(first + block.start, first + block.stop)
            frames = scipy.fft.irfft(X[block], n_fft, axis=1)
            frames *= dual
            for start, frame in enumerate(frames, block.start):
                low, high = max(start * hop, begin), min(start * hop + n_fft, end)
                x[low:high] += frame[low - start * hop : high - start * hop]

    n_hops = n_frames + reach - 1
    # Frames around where parts meet are transformed twice.
    n_parts = max(1, min(N_PARTS, n_hops // (8 * reach)))
    map_some(work, list(gen_even_slices(n_hops, n_parts)), least=2)
    return x[-sft.k_min : n_samples - sft.k_min]
