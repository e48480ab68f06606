"""What the online separators share: the loop over frames, level, silence, state."""

# License: BSD-3-Clause

from dataclasses import replace
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skbss.base import LinearSeparator, resolve
from skbss.callbacks import FitTask
from skbss.separators._frame_by_frame import FrameByFrameMixin
from skbss.spectrogram import Spectrogram
from skbss.updates.online import (
    coherence,
    frame_features,
    image_mixing,
    load,
    mean_powers,
    outputs,
    past_powers,
    power_of,
    sweeps,
    weighted_sum,
)
from skbss.updates.spatial import SPATIAL_UPDATES

# Frames that far below the running power (50 dB) are silence, from which nothing is
# learned.
SILENCE = 1e-5
# A frame counts at most as this often the running power in running averages (5 dB), so
# that clicks aren't remembered for seconds. With 20 dB a second of clicks kept
# separation down for 20 s, and the start was 1 dB worse.
PEAK = 3.0
# Mean change between quiet frames, in powers of e (1 dB), that tells a signal that has
# become quiet from the noise of a pause.
RESTLESS = 0.23
# A microphone whose share of the power is that far below its usual one (40 dB) is dead.
DEAD = 1e-4
# Least power of an output in a frame, relative to its running mean (-30 dB). Weights of
# quieter frames would drown out all others.
FLOOR = 1e-3
# The covariances start as those of so many frames of white noise, which has the level
# of the recording in every bin. They are regular from the first frame on.
LOADING = 1.0
# Frames from one revision of the weights of past frames to the next, once the ring is
# full. With 8 separation was 0.2 dB worse; with 1 it was no better.
REVISION = 4
# Mean coherence of the outputs, in so many newest frames, above which the sources are
# taken to have jumped. Most still scenes stay below 0.2, one came above 0.25; after 26
# jumps it rose above 0.33 within 2.5 s. Kept are fewer.
JUMP = 0.3
RECENT = 32
KEPT = 16
# Least running power in units of the arithmetic: at once a level falls or rises by no
# more (140 dB), which leaves squares finite in single precision.
LEAST_POWER = 2.0**-48
# Peaks below this are silence at any time (-600 dB): their reciprocals are finite.
INAUDIBLE = 2.0**-100


class OnlineSeparator(FrameByFrameMixin, LinearSeparator):
    """Base of the separators that learn frame by frame.

    The outputs are kept at a running mean power of one, by one factor per source that
    is the same at all frequencies. So nothing drifts, and all floors are relative.
    """

    _parameter_constraints: dict = {
        "forget": [Interval(Real, 0, 1, closed="right")],
        "inner_iter": [Interval(Integral, 1, None, closed="left")],
        "lookback": [Interval(Integral, 1, None, closed="left")],
        "spatial": [StrOptions({"ip1", "iss1"}), HasMethods("update")],
    }

    def _get_state(self):
        return self._state

    def _state_shapes(self, state):
        W = np.asarray(state["demixing"])
        if W.ndim != 3 or W.shape[0] != W.shape[1]:
            raise ValueError(
                f"Got a state whose demixing has shape {W.shape}, expected "
                "(n_sources, n_mics, n_freqs), as many sources as microphones."
            )
        n_mics, n_freqs = W.shape[1:]
        if self.__sklearn_is_fitted__():
            n_mics, n_freqs = self.n_features_in_, self._n_freqs_in
        blank = self._blank_state(n_mics, n_freqs, W.real.dtype)
        return {key: np.shape(value) for key, value in blank.items()}

    def _set_state(self, state):
        self._state = {k: v if v.ndim else v.item() for k, v in state.items()}
        self.n_features_in_, self._n_freqs_in = state["demixing"].shape[1:]

    @property
    def demixing_(self):
        """Demixing matrices after the last frame."""
        W = self._state["demixing"] / (self._state["scale"] or 1)
        return np.ascontiguousarray(W.transpose(2, 0, 1))

    @property
    def mixing_(self):
        """Mixing matrices after the last frame, by least squares."""
        W = self._state["demixing"]
        return self._write_mixing(np.empty(W.shape[::-1], W.dtype))

    def _write_mixing(self, out):
        W, R, scale = (self._state[k] for k in ("demixing", "covariance", "scale"))
        return image_mixing(W, R, scale, out)

    @property
    def n_frames_seen_(self):
        """Number of frames that were learned from, silent ones left out."""
        return int(self._state["n_frames"])

    _per_bin = False  # whether weights differ from bin to bin
    # Parameters that the state's sizes come from, with an entry and its axis.
    _sizes = {"lookback": ("ring", 0)}

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_state")

    def _blank_state(self, n_mics, n_freqs, dtype):
        """State before the first frame. Subclasses add what they learn."""
        eye = np.eye(n_mics, dtype=np.result_type(dtype, np.complex64))
        size = n_mics**2, n_freqs
        return {
            "demixing": np.repeat(eye[..., None], n_freqs, axis=2),
            "covariance": np.zeros(size, dtype),
            "ring": np.zeros((self.lookback, *size), dtype),  # features of past frames
            # Weighted sums of all past frames, and of those that have left the ring or
            # will before the next revision, since when they have faded.
            "weighted": np.zeros((n_mics, *size), dtype),
            "past": np.zeros((n_mics, *size), dtype),
            "fade": np.ones((n_mics, 1), dtype),
            "n_frames": 0,
            "n_kept": 0,  # frames since the last jump
            "power": 0.0,
            "scale": 0.0,
            "shares": np.zeros(n_mics),  # of the microphones in the power, usually
            # Of the quiet frames since the last loud one: number, sum of powers, sum of
            # changes, last logarithm.
            "quiet": np.zeros(4),
        }

    def _run(self, X, y=None, *, reset, monitored=False, separate=False):
        """Learn from the frames of X, and return them separated if asked for."""
        data = self._check_X(X, reset=reset)
        T, F, M = data.shape
        if reset:
            self._state = self._blank_state(M, F, data.real.dtype)
        for name, (key, axis) in self._sizes.items():
            size = self._state[key].shape[axis]
            if getattr(self, name) != size:
                raise ValueError(
                    f"Got {name}={getattr(self, name)} after learning with "
                    f"{name}={size}, which only `fit` and `fit_transform` can change."
                )
        self._spatial = resolve(self.spatial, SPATIAL_UPDATES)
        self._prepare()
        dtype = self._state["demixing"].dtype
        self._dtype = dtype.type(0).real.dtype
        is_record = isinstance(X, Spectrogram)
        if separate:
            Y = np.empty_like(data)
            mixing = np.empty((T, F, M, M) if is_record else 0, data.dtype)
        starts = range(0, T, 64)
        if monitored:
            task = FitTask(self, X, y, len(starts))
            starts = task.parts(starts, lambda: {"_state": self.get_state()}, "frames")
        for start in starts:
            block = data[start : start + 64].transpose(0, 2, 1)
            for t, x in enumerate(np.ascontiguousarray(block, dtype), start):
                out = self._frame(x)
                if not separate:
                    continue
                Y[t] = out.T
                if is_record:
                    self._write_mixing(mixing[t])
        if monitored:
            task.end()
        if separate:
            return replace(X, data=Y, mixing=mixing) if is_record else Y

    def _frame(self, x):
        """Learn from a frame (n_mics, n_freqs) and return its outputs."""
        state = self._state
        parts = x.view(self._dtype)
        peak = float(max(parts.max(), -parts.min()))
        if peak > INAUDIBLE:
            self._follow_level(peak)
        x = x * self._dtype.type(1 / (state["scale"] or 1))
        if peak <= INAUDIBLE:
            return outputs(state["demixing"], x)
        M = len(x)
        P = frame_features(x)
        powers = np.add.reduce(P[:M], axis=1, dtype=float) / x.shape[1]
        power = float(powers.mean())
        before = state["power"] or power
        now = min(power, PEAK * before)
        memory = self._memory(state["n_kept"] + 1)
        state["power"] = before + (now - before) / memory
        self._follow_drop(power)
        if now <= SILENCE * state["power"]:
            return outputs(state["demixing"], x)
        share = powers / powers.sum()
        state["shares"] += (share - state["shares"]) / memory
        if (share < DEAD * state["shares"]).any():
            return outputs(state["demixing"], x)
        state["n_frames"] += 1
        state["n_kept"] += 1
        state["covariance"] *= self._dtype.type(1 - 1 / memory)
        state["covariance"] += P * self._dtype.type(now / power / memory)
        return self._learn(x, P, power, memory)

    def _memory(self, n_frames):
        """Sum of the weights of so many frames: the memory grows from short to long."""
        if self.forget == 1:
            return float(n_frames)
        return (1 - self.forget**n_frames) / (1 - self.forget)

    def _follow_level(self, peak):
        """Choose the scale of the arithmetic, a power of two, anew where levels jump.

        Squares in single precision overflow above 1e19 and vanish below 1e-22.
        """
        state = self._state
        old, power = state["scale"], state["power"]
        if old == 0 or peak > 2.0**10 * old:
            level = peak
        elif 0 < power < 2.0**-24:
            level = old * np.sqrt(power)
        else:
            return
        # The reciprocal, too, must be finite in single precision.
        state["scale"] = float(2.0 ** np.clip(np.frexp(level)[1], -100, 120))
        if old:
            self._rescale_past(old / state["scale"])

    def _rescale_past(self, ratio):
        """Make the past louder by a factor."""
        state = self._state
        state["quiet"][:] = 0
        state["power"] = max(state["power"] * ratio**2, LEAST_POWER)
        for key in ("ring", "covariance"):
            state[key] *= self._dtype.type(ratio**2)
        # Outputs stay as they are, unless that would take them out of range.
        ratio = np.clip(ratio, 2.0**-20, 2.0**20)
        state["demixing"] /= self._dtype.type(ratio)
        for key in ("weighted", "past"):
            state[key] *= self._dtype.type(ratio**2)

    def _follow_drop(self, power):
        """Bring the past to the level of a signal that has become much quieter.

        Else its frames would weigh nothing until the memory has faded by as much. The
        signal is taken to be quieter when half a memory has passed without a frame
        above the floor. Pauses in which nothing but steady noise is heard don't count.
        """
        quiet = self._state["quiet"]
        if power > FLOOR * self._state["power"]:
            quiet[:] = 0
            return
        log = np.log(max(power, 1e-300))
        quiet += 1, power, abs(log - quiet[3]) if quiet[0] else 0, log - quiet[3]
        n_quiet, total, changes, _ = quiet
        if n_quiet > 1 and 2 * n_quiet * (1 - self.forget) >= 1:
            if changes > RESTLESS * n_quiet:
                level = max(total / n_quiet, LEAST_POWER * self._state["power"])
                self._rescale_past(np.sqrt(level / self._state["power"]))
            quiet[:] = 0

    def _learn(self, x, P, power, memory):
        """Update the model with a frame.

        Parameters
        ----------
        x : ndarray of shape (n_mics, n_freqs)
            The frame.
        P : ndarray of shape (n_mics ** 2, n_freqs)
            Its features.
        power : float
            Its mean power.
        memory : float
            Sum of the weights of all frames up to this one.

        Returns
        -------
        y : ndarray of shape (n_sources, n_freqs)
            The outputs.
        """
        state, dtype, M = self._state, self._dtype.type, len(x)
        n, N = state["n_frames"] - 1, self.lookback
        W = state["demixing"]
        if n == 0:
            size = power_of(outputs(W, x), False) / x.shape[1]
            W = W / np.sqrt(np.maximum(size, FLOOR * size.max()))[:, None]
        elif self._is_filling() or (n - N) % self._every == 0:
            self._revise(n)
            memory = self._memory(state["n_kept"])
        scale = 1 / (memory + LOADING)
        typical = self._variance(np.ones((M, 1), self._dtype))
        white = np.add.reduce(state["covariance"][:M], axis=0)
        # A trace of noise in bins without signal.
        white += 1e-10 * M * (state["power"] + power)
        B = state["weighted"] * dtype(scale)
        load(B, white * dtype(scale * LOADING / M) / typical)

        def weigh(power):
            return self._weigh(power) * dtype(scale)

        n_sweeps, per_bin = self.inner_iter, self._per_bin
        W, y = sweeps(W, B, x, P, weigh, n_sweeps, self._spatial, per_bin)
        power = power_of(y, per_bin)
        weights = self._commit(power, n % N)
        # One real factor per source, the same in all bins, changes nothing but the size
        # of numbers.
        mean = np.add.reduce(power, axis=1, keepdims=True) / x.shape[1]
        gain = 1 + (np.minimum(np.maximum(mean, FLOOR), PEAK) - 1) / (
            memory + 2 * LOADING
        )
        shrink = 1 / np.sqrt(gain)
        W *= shrink[:, None]
        y *= shrink
        state["demixing"] = W
        state["ring"][n % N] = P
        # Weights of outputs that are smaller now.
        fade = self.forget * typical / self._variance(1 / gain)
        state["weighted"] += weights[:, None] * P
        state["weighted"] *= fade[:, None]
        state["fade"] *= fade
        self._divide_powers(gain)
        return y

    @property
    def _every(self):
        """Frames from one revision to the next, once the ring is full."""
        return min(REVISION, self.lookback)

    def _revise(self, n):
        """Weigh the frames in the ring anew, of n frames so far.

        Weights that early, bad demixing matrices gave to frames would otherwise stay in
        the covariances as long as the frames, and hold the matrices back.
        """
        state, N = self._state, self.lookback
        slots = np.arange(min(n, N))
        ages = (n - 1 - slots) % N
        decay = self.forget ** (ages + 1.0)
        ring = state["ring"][: len(slots)]
        powers = past_powers(ring, state["demixing"])
        weights = self._past_weights(powers, decay.astype(self._dtype))
        if state["n_kept"] > N >= 2 * RECENT and self._jumped(ages, ring, weights):
            self._forget_place(ages, ring)
        weights[:, ages >= state["n_kept"] - 1] = 0
        state["weighted"] = weighted_sum(ring, weights)
        if self._is_filling():
            return
        state["past"] *= state["fade"][:, :, None]
        state["fade"][:] = 1
        state["weighted"] += state["past"]
        # Those that leave the ring before the next time keep their weights for good.
        leaving = np.arange(n, n + self._every) % N
        state["past"] += weighted_sum(ring[leaving], weights[:, leaving])

    def _is_filling(self):
        """Whether all frames that count, before the present one, stay in the ring."""
        state, N = self._state, self.lookback
        return state["n_frames"] <= N or state["n_kept"] <= N - self._every + 1

    def _jumped(self, ages, ring, weights):
        """Whether the outputs of the newest frames are coherent, as after a jump."""
        newest = np.flatnonzero(ages < RECENT)
        bins = slice(None, None, max(1, ring.shape[2] // 256))  # so many tell
        W = np.ascontiguousarray(self._state["demixing"][..., bins])
        P = ring[newest, :, bins]
        # Clicks are coherent, too.
        usual = mean_powers(P) < PEAK * self._state["power"]
        if 2 * np.count_nonzero(usual) < RECENT:
            return False
        weights = weights[:, newest[usual]]
        if weights.ndim == 3:
            weights = weights[..., bins]
        return coherence(W, weighted_sum(P[usual], weights)) > JUMP

    def _forget_place(self, ages, ring):
        """Forget all but the newest frames. The demixing matrices are kept."""
        state = self._state
        state["n_kept"] = KEPT + 1
        state["past"][:] = 0
        state["fade"][:] = 1
        P = ring[ages < KEPT]
        most = self._dtype.type(PEAK * state["power"])
        share = most / np.maximum(mean_powers(P), most) / KEPT
        state["covariance"] = weighted_sum(P, share[None])[0]

    def _prepare(self):
        """Get ready for frames."""

    def _variance(self, power):
        """Variances of frames of these mean powers, of shape (n_sources, n_frames)."""
        return power

    def _divide_powers(self, gain):
        """Follow outputs whose powers were divided by gains of shape (n_sources, 1)."""
