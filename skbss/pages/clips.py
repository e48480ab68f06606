"""Audio and spectrograms of recordings, small enough for a page."""

# License: BSD-3-Clause

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from matplotlib import colormaps
from PIL import Image
from scipy.signal import spectrogram

from skbss.io import read_audio, to_integers

_WINDOW = 0.032  # seconds
_SIZE = (320, 120)  # columns and rows of a spectrogram, at most
_RANGE = 64  # dB, one color each
# Lossless first; MP3 plays everywhere too and takes a third of the space.
CODECS = {"flac": ("FLAC", "PCM_16"), "mpeg": ("MP3", "MPEG_LAYER_III")}


@dataclass(frozen=True, eq=False)
class Clip:
    """One channel of an audio file, at most full scale."""

    samples: np.ndarray
    sample_rate: int


def read_clip(path: Path) -> Clip:
    """Read the first channel of a file, scaled down if it is beyond full scale."""
    x, info = read_audio(path, dtype=np.float32)
    x = np.ascontiguousarray(x[:, 0])
    return Clip(x / max(1.0, np.abs(x).max()), info.sample_rate)


def encode(clip: Clip, codec: str) -> bytes | None:
    """Compress a clip; return None if the codec is missing or lacks the rate."""
    file, (audio_format, subtype) = io.BytesIO(), CODECS[codec]
    samples = to_integers(clip.samples, 16) if codec == "flac" else clip.samples
    try:
        sf.write(file, samples, clip.sample_rate, subtype, format=audio_format)
    except (ValueError, sf.SoundFileError):  # what libsndfile cannot do
        return None
    return file.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    """Return bytes as an address that holds them, of MIME type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def power(clip: Clip) -> np.ndarray:
    """Compute a spectrogram of at most 120 times 320 values, low frequencies last.

    Each is the strongest of the frames and bins that share a pixel.
    """
    n_fft = 2 ** round(np.log2(_WINDOW * clip.sample_rate))
    n_fft = max(8, min(n_fft, 2 ** int(np.log2(len(clip.samples) + 8))))
    x = np.pad(clip.samples, (0, max(0, n_fft - len(clip.samples))))
    # ShortTimeFFT has a Python loop over frames, which takes ten times as long.
    _, _, found = spectrogram(
        x, window="hann", nperseg=n_fft, noverlap=n_fft // 2, detrend=False
    )
    for axis, size in enumerate(reversed(_SIZE)):
        n = found.shape[axis]
        starts = np.linspace(0, n, min(n, size), endpoint=False).astype(int)
        found = np.maximum.reduceat(found, starts, axis=axis)
    return found[::-1]


def picture(power: np.ndarray, peak: float) -> bytes:
    """Draw a spectrogram as PNG, in 64 colors of a dB each below `peak`."""
    floor = np.finfo(float).tiny
    level = 10 * np.log10(np.maximum(power, floor) / max(peak, floor))
    levels = np.clip(level + _RANGE, 0, _RANGE - 1).astype(np.uint8)
    image = Image.fromarray(levels)
    image.putpalette(
        colormaps["inferno"](np.linspace(0, 1, _RANGE), bytes=True)[:, :3].tobytes()
    )
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return file.getvalue()
