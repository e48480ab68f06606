"""What drives a pipeline frame by frame."""

# License: BSD-3-Clause

from copy import deepcopy

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skbss.base import is_finite_matrix
from skbss.frame_by_frame import part_of
from skbss.spectrogram import Spectrogram
from skbss.transforms import ISTFT, STFT, WPE, CrosstalkCanceller, ProjectionBack
from skbss.transforms.frames import blocks, n_frames_of, short_time_fft


def is_online(step):
    """Whether a step learns frame by frame."""
    return hasattr(step, "partial_fit_transform")


def check_pipeline(pipeline):
    """Raise an error unless a pipeline can work frame by frame."""
    if not isinstance(pipeline, Pipeline):
        raise TypeError(f"Stream needs a Pipeline. Got {type(pipeline).__name__}.")
    steps = [step for _, step in pipeline.steps]
    transforms = [step for step in steps if isinstance(step, STFT | ISTFT)]
    ends = isinstance(steps[0], STFT) and isinstance(steps[-1], ISTFT)
    if not ends or len(transforms) > 2:
        names = ", ".join(type(step).__name__ for step in steps)
        raise ValueError(
            "Stream needs a pipeline that begins with STFT, ends with ISTFT and has no "
            f"other of them between. Got {names}."
        )
    if steps[0].min_frames is not None and not hasattr(steps[0], "n_fft_"):
        raise ValueError(
            f"Stream needs to know the window. Got STFT with min_frames="
            f"{steps[0].min_frames}, which asks for the whole recording: fit the "
            "pipeline before, or set min_frames=None."
        )
    for step in steps[1:-1]:
        _check_step(step)


def _check_step(step):
    name = type(step).__name__
    if is_online(step) or step in (None, "passthrough"):
        return
    if not hasattr(step, "transform"):
        raise ValueError(f"Stream needs steps with transform. Got {name} without.")
    if isinstance(step, WPE | CrosstalkCanceller):
        raise ValueError(
            f"Stream can't use {name}, which filters over frames and would begin anew "
            "with every block: use OnlineWPE to dereverberate, and OnlineSeparator, "
            "which cancels crosstalk itself, to separate."
        )
    if isinstance(step, ProjectionBack) and step.method == "least_squares":
        raise ValueError(
            "Stream can't use ProjectionBack(method='least_squares'), whose factors "
            "need the whole recording: use method='inverse'."
        )
    try:
        check_is_fitted(step)
    except NotFittedError as error:
        raise ValueError(
            f"Stream can't learn with {name}, which needs the whole recording: fit the "
            "pipeline before, to apply what it learned, or use an online separator."
        ) from error


def separate(pipeline, record):
    """Apply the steps between STFT and ISTFT to frames, where online steps learn."""
    for _, step in pipeline.steps[1:-1]:
        if is_online(step):
            record = step.partial_fit_transform(record)
        elif step not in (None, "passthrough"):
            record = step.transform(record)
    return record


def restored(name, step, state):
    """Return a copy of an online step with its part of the state of a stream."""
    return deepcopy(step).set_state(part_of(state, name))


def analyze_frames(x, sft):
    """Transform the frames that are complete in x (n_samples, n_channels)."""
    if len(x) == sft.m_num:  # a block of a hop; views of windows take a while
        frames = x[None]
    else:
        frames = sliding_window_view(x, sft.m_num, axis=0)[:: sft.hop].swapaxes(1, 2)
    return scipy.fft.rfft(frames * sft.win[:, None], axis=1, overwrite_x=True)


def synthesize_frames(X, sft, overlap):
    """Overlap and add frames to what those before have left."""
    n_fft, hop = sft.m_num, sft.hop
    frames = scipy.fft.irfft(X, n_fft, axis=1) * sft.dual_win[:, None]
    x = np.zeros((n_fft + (len(frames) - 1) * hop, X.shape[2]), overlap.dtype)
    x[: len(overlap)] = overlap
    for start, frame in enumerate(frames):
        x[start * hop : start * hop + n_fft] += frame
    return x


class FrameStream:
    """Work block by block through a pipeline of frames; see `skbss.Stream`.

    Parameters
    ----------
    pipeline : Pipeline
        From `STFT` to `ISTFT`. It is copied.
    """

    def __init__(self, pipeline):
        check_pipeline(pipeline)
        for _, step in pipeline.steps:
            if hasattr(step, "_parameter_constraints"):
                step._validate_params()
        # Transforming something is the public way to the defaults' values.
        record = clone(pipeline.steps[0][1]).fit_transform(np.zeros((1, 1)))
        self._stft_params = record.stft_params
        self.pipeline = deepcopy(pipeline)
        self.reset()

    @property
    def hop_length(self):
        """Samples from one frame to the next."""
        return self._stft_params["hop_length"]

    @property
    def latency(self):
        """Most samples that the output is behind the input."""
        return self._stft_params["n_fft"] - 1

    @property
    def latency_seconds(self):
        """`latency` in seconds, or None if `STFT` has no sample_rate."""
        rate = self._stft_params["sample_rate"]
        return None if rate is None else self.latency / rate

    def reset(self):
        """Forget the signal and what online steps have learned from it."""
        # clone keeps no state, which is just what an online step begins with.
        steps = [
            (name, clone(step) if is_online(step) else step)
            for name, step in self.pipeline.steps
        ]
        self.pipeline = Pipeline(steps)
        self._input = None

    def process(self, block):
        """Take a block of the signal and return what is complete of the sources."""
        if not is_finite_matrix(block):
            block = check_array(
                block,
                dtype=[np.float64, np.float32],
                ensure_min_samples=0,
                input_name="block",
            )
        dtype = block.dtype if self._input is None else self._input.dtype
        # Powers of frames, summed over frequency, have to be finite, too.
        limit = np.sqrt(np.finfo(dtype).max) / self._stft_params["n_fft"] ** 2
        peak = abs(block).max(initial=0)
        if peak > limit:
            raise ValueError(
                f"Got samples of up to {peak:.3g} in a block, expected at most "
                f"{limit:.3g} in {dtype}: their power would overflow."
            )
        if self._input is None:
            self._start(block.shape[1], block.dtype)
        n_mics = self._input.shape[1]
        if block.shape[1] != n_mics:
            raise ValueError(
                f"Got a block of {block.shape[1]} channels, but the stream began with "
                f"{n_mics}."
            )
        self._input = np.concatenate(
            [self._input, block.astype(self._input.dtype, copy=False)]
        )
        n_complete = (len(self._input) - self._sft.m_num) // self._sft.hop + 1
        return self._advance(n_complete)

    def flush(self):
        """End the signal and return the rest of the sources."""
        if self._input is None:
            return np.empty((0, 0))
        n_samples = len(self._input) + self._position
        n_missing = n_samples - max(self._position, 0)
        n_sources = self._overlap.shape[1]
        y = np.empty((0, n_sources), self._overlap.dtype)
        if n_samples > 0:
            n_frames = n_frames_of(self._sft, n_samples) - self._n_frames
            end = self._sft.m_num + (n_frames - 1) * self._sft.hop
            n_zeros = max(end - len(self._input), 0)
            self._input = np.pad(self._input, ((0, n_zeros), (0, 0)))
            y = np.concatenate([self._advance(n_frames), self._cut(self._overlap)])
        self._begin(self._input.shape[1], n_sources, y.dtype)
        return y[:n_missing]

    def get_state(self):
        """Return the state, with the names of online steps in front of theirs."""
        if self._input is None:
            raise NotFittedError("Stream has no state before the first block.")
        state = {
            "n_fft": self._sft.m_num,
            "hop_length": self._sft.hop,
            "n_frames": self._n_frames,
            "input": self._input.copy(),
            "overlap": self._overlap.copy(),
        }
        for name, step in self._online_steps():
            state |= {f"{name}.{key}": v for key, v in step.get_state().items()}
        return state

    def set_state(self, state):
        """Continue from a state, or leave all as it is."""
        needed = "n_fft", "hop_length", "n_frames", "input", "overlap"
        if missing := [key for key in needed if key not in state]:
            raise ValueError(f"Got a state without {', '.join(missing)}.")
        for key in ("n_fft", "hop_length"):
            if state[key] != self._stft_params[key]:
                raise ValueError(
                    f"Got a state with {key}={state[key]}, but the pipeline has "
                    f"{key}={self._stft_params[key]}."
                )
        signal, overlap, n_frames = self._check_buffers(state)
        # Copies take the states first: if one of them is wrong, nothing has changed.
        steps = [
            (name, restored(name, step, state) if is_online(step) else step)
            for name, step in self.pipeline.steps
        ]
        pipeline = Pipeline(steps)
        n_sources = self._count_sources(pipeline, signal.shape[1], signal.dtype)
        if overlap.shape[1] != n_sources:
            raise ValueError(
                f"Got a state whose overlap has {overlap.shape[1]} columns, expected "
                f"{n_sources}, one for each source."
            )
        self.pipeline = pipeline
        self._begin(signal.shape[1], n_sources, signal.dtype)
        self._n_frames, self._input, self._overlap = n_frames, signal, overlap

    def _check_buffers(self, state):
        """Return copies of the input, the overlap and the number of frames."""
        arrays = [np.array(state[key]) for key in ("input", "overlap")]
        for key, array in zip(("input", "overlap"), arrays, strict=True):
            is_real = array.ndim == 2 and array.dtype in (np.float64, np.float32)
            if not (is_real and np.isfinite(array).all()):
                raise ValueError(
                    f"Got a state whose {key} isn't a finite matrix of floats."
                )
        signal, overlap = arrays
        if signal.dtype != overlap.dtype:
            raise ValueError(
                f"Got a state whose input is {signal.dtype} and overlap "
                f"{overlap.dtype}, expected the same precision."
            )
        n_fft, hop = self._stft_params["n_fft"], self._stft_params["hop_length"]
        if len(overlap) != n_fft - hop:
            raise ValueError(
                f"Got a state whose overlap has {len(overlap)} rows, expected "
                f"{n_fft - hop}."
            )
        if len(signal) >= n_fft:
            raise ValueError(
                f"Got a state whose input has {len(signal)} rows, expected less than "
                f"n_fft={n_fft}: whole frames are worked on at once."
            )
        n_mics = signal.shape[1]
        if self._input is not None and self._input.shape[1] != n_mics:
            raise ValueError(
                f"Got a state of {n_mics} microphones, but the stream began with "
                f"{self._input.shape[1]}."
            )
        n_frames = np.asarray(state["n_frames"])
        if n_frames.ndim or n_frames.dtype.kind not in "iu" or n_frames < 0:
            raise ValueError(
                f"Got a state with n_frames={n_frames}, expected a number from 0 on."
            )
        return signal, overlap, int(n_frames)

    @property
    def _position(self):
        """Sample of the signal that the next frame begins with, at first negative."""
        return self._sft.k_min + self._n_frames * self._sft.hop

    def _online_steps(self):
        return [(name, step) for name, step in self.pipeline.steps if is_online(step)]

    def _start(self, n_mics, dtype):
        """Check that the pipeline works, and allocate what it needs."""
        self._begin(n_mics, self._count_sources(self.pipeline, n_mics, dtype), dtype)

    def _count_sources(self, pipeline, n_mics, dtype):
        """Learn the number of sources from silence, which finds all errors as well."""
        record = clone(pipeline.steps[0][1]).fit_transform(
            np.zeros((n_mics, n_mics), dtype)
        )
        return separate(deepcopy(pipeline), record).shape[2]

    def _begin(self, n_mics, n_sources, dtype):
        """Empty the buffers."""
        params = self._stft_params
        self._sft = short_time_fft(
            params["n_fft"], params["hop_length"], params["window"], dtype=dtype
        )
        self._n_frames = 0
        # Of the signal from the next frame on, which at first precedes it.
        self._input = np.zeros((-self._sft.k_min, n_mics), dtype)
        # What the frames so far contribute to samples of frames to come.
        self._overlap = np.zeros((self._sft.m_num - self._sft.hop, n_sources), dtype)

    def _cut(self, y):
        """Leave out what precedes the signal of samples from the present position."""
        return y[max(-self._position, 0) :]

    def _advance(self, n_frames):
        """Take frames from the input and return the samples that they complete."""
        if n_frames < 1:
            return np.empty((0, self._overlap.shape[1]), self._overlap.dtype)
        n_fft, hop = self._sft.m_num, self._sft.hop
        n_mics = self._input.shape[1]
        outputs = []
        for block in blocks(n_frames, n_fft * n_mics * self._input.itemsize):
            begin, end = block.start * hop, (block.stop - 1) * hop + n_fft
            X = analyze_frames(self._input[begin:end], self._sft)
            record = Spectrogram(X, self._stft_params, n_samples=end - begin)
            y = synthesize_frames(
                separate(self.pipeline, record).data, self._sft, self._overlap
            )
            n_out = len(X) * hop
            outputs.append(self._cut(y[:n_out]))
            self._overlap = y[n_out:].copy()
            self._n_frames += len(X)
        # Copied, so that a long block isn't kept for its end.
        self._input = self._input[n_frames * hop :].copy()
        return np.concatenate(outputs)
