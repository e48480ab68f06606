"""What the recursive separators share: the loop over frames, silence, state."""

# License: BSD-3-Clause

from dataclasses import replace
from numbers import Integral, Real

import numpy as np

from skbss.base import LinearSeparator, resolve
from skbss.callbacks import FitTask
from skbss.frame_by_frame import FrameByFrameMixin
from skbss.separators._changes import Changes
from skbss.separators._level import FLOOR, LevelMixin
from skbss.sklearn_parts import HasMethods, Interval, StrOptions
from skbss.spectrogram import Spectrogram
from skbss.updates.online import (
    coherence,
    frame_features,
    image_mixing,
    load,
    mean_powers,
    outputs,
    past_powers,
    phase_to,
    power_of,
    relative_to,
    scale_to,
    sweep,
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
# A microphone whose share of the power is that far below its usual one (40 dB) is dead.
DEAD = 1e-4
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
# A record keeps its mixing matrices for this share of the frames that were learned from
# since the start or a jump, and for so many at most.
HOLD = 1 / 16
LONGEST = 32
# Peaks below this are silence at any time (-600 dB): their reciprocals are finite.
INAUDIBLE = 2.0**-100


class RecursiveSeparator(FrameByFrameMixin, LevelMixin, LinearSeparator):
    """Base of the separators that learn frame by frame, by recursive covariances.

    The outputs are kept at a running mean power of one, by one factor per source that
    is the same at all frequencies. So nothing drifts, and all floors are relative.

    A frame replaces the entries of the state that it changes, all of them or none.
    """

    _parameter_constraints: dict = {
        "forget": [Interval(Real, 0, 1, closed="right")],
        "inner_iter": [Interval(Integral, 1, None, closed="left")],
        "lookback": [Interval(Integral, 1, None, closed="left")],
        "spatial": [StrOptions({"ip1", "iss1"}), HasMethods("update")],
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
    }

    # Parameters that the state's sizes come from, with an entry and its axis.
    _sizes = {"lookback": ("ring", 0)}
    # Lowest values of entries of the state.
    _least = dict.fromkeys(["n_frames", "n_kept", "power", "scale", "shares"], 0)
    _least |= {"fade": 0, "held_at": -1, "ref_mic": 0}
    _features = "ring", "covariance", "weighted", "past"

    @property
    def demixing_(self) -> np.ndarray:
        """Demixing matrices after the last frame."""
        W = self._state["demixing"] / (self._state["scale"] or 1)
        return W.transpose(2, 0, 1).copy()

    @property
    def mixing_(self) -> np.ndarray:
        """Mixing matrices after the last frame, by least squares."""
        return self._image_mixing().transpose(2, 0, 1).copy()

    def _image_mixing(self):
        state = self._state
        A = image_mixing(state["demixing"], state["covariance"])
        return A * A.real.dtype.type(state["scale"])

    @property
    def n_frames_seen_(self) -> int:
        """Number of frames that were learned from, silent ones left out."""
        return self._state["n_frames"]

    @property
    def n_features_in_(self) -> int:
        """Number of microphones."""
        return self._state["demixing"].shape[1]

    @property
    def _n_freqs_in(self):
        return self._state["demixing"].shape[2]

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
            # Relative mixing matrices that records have, the microphone that they are
            # relative to, and from which frame on.
            "held": np.repeat(eye[..., None], n_freqs, axis=2),
            "ref_mic": self.ref_mic,
            "held_at": -1,
        }

    def _first_state(self, n_mics, n_freqs, dtype):
        """State to begin with."""
        return self._blank_state(n_mics, n_freqs, dtype)

    def _state_like(self, state):
        W, held = np.asarray(state["demixing"]), np.asarray(state["held"])
        if W.ndim != 3 or W.shape[0] != W.shape[1] or 0 in W.shape:
            raise ValueError(
                f"Got a state whose demixing has shape {W.shape}, expected "
                "(n_sources, n_mics, n_freqs), as many sources as microphones."
            )
        n_mics, n_freqs = W.shape[1:]
        if hasattr(self, "_state"):
            n_mics, n_freqs = self.n_features_in_, self._n_freqs_in
        dtype = np.float32 if W.dtype == np.complex64 else np.float64
        blank = self._blank_state(n_mics, n_freqs, dtype)
        if held.ndim == 3 and len(held) > self.ref_mic:  # after another separator
            shape = len(held), *blank["held"].shape[1:]
            blank["held"] = np.empty(shape, blank["held"].dtype)
        return blank

    def _check_state(self, state):
        n_mics = state["demixing"].shape[1]
        for key in self._features:
            if (state[key][..., :n_mics, :] < 0).any():
                raise ValueError(f"Got a state whose {key} has negative powers.")
        n_frames = state["n_frames"]
        for key in ("n_kept", "held_at"):
            if state[key] > n_frames:
                raise ValueError(
                    f"Got a state with {key}={state[key]}, more than the {n_frames} "
                    "frames that were learned from."
                )
        if n_frames and not (state["scale"] > 0 and state["power"] > 0):
            raise ValueError(
                f"Got a state with scale={state['scale']} and power={state['power']} "
                f"after {n_frames} frames, expected positive numbers."
            )
        self._check_parameters(state)

    def _check_parameters(self, state):
        """Raise ValueError if parameters aren't those that a state was learned with."""
        learned = {
            name: state[key].shape[axis] for name, (key, axis) in self._sizes.items()
        }
        for name, value in (learned | {"ref_mic": state["ref_mic"]}).items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"Got {name}={getattr(self, name)} after learning with "
                    f"{name}={value}, which only `fit` and `fit_transform` can change."
                )

    def _run(self, X, y=None, *, reset, monitored=False, separate=False):
        """Learn from the frames of X, and return them separated if asked for."""
        data = self._check_X(X, reset=reset)
        self._prepare()
        _, n_freqs, n_channels = data.shape
        composed = isinstance(X, Spectrogram) and X.mixing is not None
        n_mics = X.mixing.shape[2] if composed else n_channels
        if self.ref_mic >= n_mics:
            raise ValueError(
                f"Got ref_mic={self.ref_mic}, but the recording has {n_mics} "
                "microphones."
            )
        if reset:
            state = self._first_state(n_channels, n_freqs, data.real.dtype)
        else:
            state = self._state
            self._check_parameters(state)

        def process():
            task = FitTask(self, X, y, -(-len(data) // 64)) if monitored else None
            out = self._separate(X, data, task, separate)
            if task is not None:
                task.end()
            return out

        return self._run_from(state, process, whole=monitored)

    def _separate(self, X, data, task, separate):
        """Learn from frames one after the other, in tasks of 64 at a time."""
        is_record = separate and isinstance(X, Spectrogram)
        dtype = self._state["demixing"].dtype
        Y = np.empty_like(data) if separate else None
        mixing = Changes(data.dtype) if is_record else None
        starts = range(0, len(data), 64)
        if task is not None:
            learned = lambda: {"_state": self.get_state()}  # noqa: E731
            starts = task.parts(starts, learned, "frames")
        for start in starts:
            frames = data[start : start + 64].transpose(0, 2, 1)
            for t, x in enumerate(np.ascontiguousarray(frames, dtype), start):
                onward = None
                if is_record and X.mixing is not None:
                    onward = X.mixing_of(slice(t, t + 1))[0].transpose(1, 2, 0)
                out = self._advance(x, is_record, onward)
                if separate:
                    Y[t] = out.T
                if is_record:
                    mixing.append(self._state["held"])
        if not is_record:
            return Y
        matrices, index = mixing.arrays()
        return replace(X, data=Y, mixing=matrices, mixing_index=index)

    def _advance(self, x, is_record, onward):
        """Learn from a frame and return its outputs, or leave all as it was."""
        before = self._state
        overwritten = [(slot, slot.copy()) for slot in self._slots(before)]
        self._state = dict(before)
        try:
            y = self._frame(x)
            return y * self._factors(onward) if is_record else y
        except BaseException:  # also where somebody has interrupted it
            for slot, content in overwritten:
                slot[...] = content
            self._state = before
            raise

    def _slots(self, state):
        """Return what the next frame changes in place: to copy it would cost time."""
        return [state["ring"][state["n_frames"] % self.lookback]]

    def _factors(self, onward):
        """Factors (n_sources, n_freqs) that make outputs images at a microphone.

        They follow every change, while the mixing matrices relative to the microphone
        are held for some frames.
        """
        state = self._state
        A = self._image_mixing()
        if onward is not None:
            A = np.einsum("mcf,ckf->mkf", onward, A)
        n_frames, since, held = state["n_frames"], state["held_at"], state["held"]
        longest = min(LONGEST, max(1, HOLD * state["n_kept"]))
        if since < 0 or n_frames - since >= longest or held.shape != A.shape:
            state["held"] = relative_to(A, self.ref_mic).astype(held.dtype, copy=False)
            state["held_at"] = n_frames
        return scale_to(state["held"], A, self.ref_mic)

    def _frame(self, x):
        """Learn from a frame (n_mics, n_freqs) and return its outputs."""
        state = self._state
        peak = float(max(abs(x.real).max(), abs(x.imag).max()))
        if peak > INAUDIBLE:
            self._follow_level(peak)
        x = x * self._real(1 / (state["scale"] or 1))
        if peak <= INAUDIBLE:
            return outputs(state["demixing"], x)
        P = frame_features(x)
        powers = P[: len(x)].mean(axis=1, dtype=float)
        power = float(powers.mean())
        before = state["power"] or power
        now = min(power, PEAK * before)
        memory = self._memory(state["n_kept"] + 1)
        state["power"] = before + (now - before) / memory
        self._follow_drop(power)
        if now <= SILENCE * state["power"]:
            return outputs(state["demixing"], x)
        share = powers / powers.sum()
        state["shares"] = state["shares"] + (share - state["shares"]) / memory
        if (share < DEAD * state["shares"]).any():
            return outputs(state["demixing"], x)
        state["n_frames"] += 1
        state["n_kept"] += 1
        past = state["covariance"] * self._real(1 - 1 / memory)
        state["covariance"] = past + P * self._real(now / power / memory)
        return self._learn(x, P, power, memory)

    def _memory(self, n_frames):
        """Sum of the weights of so many frames: the memory grows from short to long."""
        if self.forget == 1:
            return float(n_frames)
        return (1 - self.forget**n_frames) / (1 - self.forget)

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
        state, M = self._state, len(x)
        n, N = state["n_frames"] - 1, self.lookback
        if n == 0:
            size = power_of(outputs(state["demixing"], x)).mean(axis=1)
            size = np.sqrt(np.maximum(size, FLOOR * size.max()))
            state["demixing"] = state["demixing"] / size[:, None, None]
        elif self._is_filling() or (n - N) % self._every == 0:
            self._revise(n)
            memory = self._memory(state["n_kept"])
        scale = self._real(1 / (memory + LOADING))
        typical = self._variance(np.ones((M, 1), P.dtype))
        white = state["covariance"][:M].sum(axis=0)
        # A trace of noise in bins without signal.
        white += self._real(1e-10 * M * (state["power"] + power))
        B = state["weighted"] * scale
        load(B, white * (scale * self._real(LOADING / M)) / typical)
        old = W = state["demixing"]
        for _ in range(self.inner_iter):  # each time the frame counts once
            W = sweep(W, B, x, P, lambda p: self._weigh(p) * scale, self._spatial)
        W = W * phase_to(W, old)[:, None]
        y = outputs(W, x)
        power = power_of(y)
        weights = self._commit(power, n % N)
        # One real factor per source, the same in all bins, changes nothing but the size
        # of numbers.
        mean = power.mean(axis=1, keepdims=True)
        excess = np.minimum(np.maximum(mean, FLOOR), PEAK) - 1
        gain = 1 + excess / self._real(memory + 2 * LOADING)
        shrink = 1 / np.sqrt(gain)
        state["demixing"] = W * shrink[:, None]
        # Weights of outputs that are smaller now.
        fade = self._real(self.forget) * typical / self._variance(1 / gain)
        weighted = state["weighted"] + weights[:, None] * P
        state["weighted"] = weighted * fade[:, None]
        state["fade"] = state["fade"] * fade
        self._divide_powers(gain)
        state["ring"][n % N] = P
        return y * shrink

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
        weights = self._past_weights(powers, decay.astype(ring.dtype))
        if state["n_kept"] > N >= 2 * RECENT and self._jumped(ages, ring, weights):
            self._forget_place(ages, ring)
        weights[:, ages >= state["n_kept"] - 1] = 0
        state["weighted"] = weighted_sum(ring, weights)
        if self._is_filling():
            return
        past = state["past"] * state["fade"][:, :, None]
        state["fade"] = np.ones_like(state["fade"])
        state["weighted"] += past
        # Those that leave the ring before the next time keep their weights for good.
        leaving = np.arange(n, n + self._every) % N
        state["past"] = past + weighted_sum(ring[leaving], weights[:, leaving])

    def _is_filling(self):
        """Whether all frames that count, before the present one, stay in the ring."""
        state, N = self._state, self.lookback
        return state["n_frames"] <= N or state["n_kept"] <= N - self._every + 1

    def _jumped(self, ages, ring, weights):
        """Whether the outputs of the newest frames are coherent, as after a jump."""
        newest = np.flatnonzero(ages < RECENT)
        bins = slice(None, None, max(1, ring.shape[2] // 256))  # so many tell
        P = ring[newest, :, bins]
        # Clicks are coherent, too.
        usual = mean_powers(P) < PEAK * self._state["power"]
        if 2 * np.count_nonzero(usual) < RECENT:
            return False
        weights = weights[:, newest[usual]]
        if weights.ndim == 3:
            weights = weights[..., bins]
        S = weighted_sum(P[usual], weights)
        return coherence(self._state["demixing"][..., bins], S) > JUMP

    def _forget_place(self, ages, ring):
        """Forget all but the newest frames. The demixing matrices are kept."""
        state = self._state
        state["n_kept"] = KEPT + 1
        state["past"] = np.zeros_like(state["past"])
        state["fade"] = np.ones_like(state["fade"])
        P = ring[ages < KEPT]
        most = self._real(PEAK * state["power"])
        share = most / np.maximum(mean_powers(P), most) / KEPT
        state["covariance"] = weighted_sum(P, share[None])[0]

    def _prepare(self):
        """Get ready for frames, and refuse parameters that don't work together."""
        self._spatial = resolve(self.spatial, SPATIAL_UPDATES)

    def _variance(self, power):
        """Variances of frames of these mean powers, of shape (n_sources, n_frames)."""
        return power

    def _divide_powers(self, gain):
        """Follow outputs whose powers were divided by gains of shape (n_sources, 1)."""
