"""What learns live: filters from the newest seconds, in the background."""

# License: BSD-3-Clause

import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import numpy as np

from skbss.blocks.voices import Voices
from skbss.compose import make_separator
from skbss.frame_by_frame import part_of
from skbss.live.history import History
from skbss.live.known import Known, brief_of, learn, reach_of
from skbss.spectrogram import window_length
from skbss.updates.filters import at_unit_peak, filtered
from skbss.updates.jumps import change_point, coherence, rise

# Seconds of a hop in which the signal is taken.
HOP = 0.032
# Seconds for each source that must be known of a place before anything is learned of
# it, as if there were two at least, and that must be before jumps are looked for.
FIRST, YOUNG = 0.75, 5.0
# Seconds that it takes to learn from a second of 16 kHz with one microphone, on a slow
# core, which grow by this power of the microphones; the seconds that what doesn't
# depend on the length is worth; and the share of it where known outputs are refined.
EFFORT, POWER, FIXED, REFINE = 0.077, 1.1, 2.0, 0.4
# The first seconds at a place, in which all is learned anew again and again, in so much
# of the time that a slow core takes.
HASTY, SOON = 10.0, 0.8
# Later known outputs are refined, and only when the window is full, and after so many
# windows, is all learned anew. That is used after so much of the time that a slow core
# takes, and learning takes in the end this share of the time for each microphone.
ANEW, LATE, SHARE = 3.0, 1.2, 0.1
# Share of the time that learning gets, by waiting, where sound comes faster than it was
# recorded. With all of the time, short blocks would wait for it live as well.
UNPACED = 0.5
# Seconds between two looks for a jump, of sound that is looked at, and that is searched
# for when it was.
CHECK, LOOK, SEARCH = 0.25, 1.0, 2.0
# The coherence of outputs that is taken for a jump, and how much higher than usual it
# must be: what many talkers have in common takes long to get small.
JUMP, RISE = 0.3, 2.0
USUAL, CALM = 5.0, 2.0  # seconds that loudness and coherence are averaged over
# Events that are remembered, for whoever wants to look.
N_EVENTS = 256

# What a state consists of, beside arrays.
NUMBERS = (
    *("n_jumps", "place", "next_update", "first", "asked", "due", "calm", "loudness"),
    *("is_fresh", "is_thorough", "next_thorough"),
    *("target_begin", "target_end"),
)


def hop_length(sample_rate):
    """Return the samples of a hop, a power of two near to 32 ms."""
    return max(1, window_length(sample_rate, 16 * HOP) // 16)


class Learner:
    """Learn filters from a sliding window over a signal.

    Every now and then the window is separated as a recording is, by `make_separator`,
    and the filters are found that come nearest to this with the look-ahead that they
    may have. That is done in another thread, and used after a time that depends on
    numbers of samples alone: so what comes out doesn't depend on how fast it is done.

    Parameters
    ----------
    n_mics, n_sources : int
        Numbers of channels.
    sample_rate : float
        In Hz.
    window, period : float
        Seconds that are learned from, and least from one update to the next.
    n_taps, n_future : int
        Taps of the filters, and those that look ahead.
    ref_mic : int
        The microphone at which outputs are images.
    target : array-like, default=None
        As of `skbss.OnlineSeparator`.

    Attributes
    ----------
    log : list of tuple
        The newest events: seconds heard, and what happened.
    """

    def __init__(
        self,
        n_mics,
        n_sources,
        sample_rate,
        *,
        window,
        period,
        n_taps,
        n_future,
        ref_mic,
        target=None,
    ):
        self.n_mics, self.n_sources, self.rate = n_mics, n_sources, sample_rate
        self.window, self.period, self.ref_mic = window, period, ref_mic
        self.n_taps, self.n_future = n_taps, n_future
        self.hop = hop_length(sample_rate)
        self.brief = brief_of(sample_rate)
        n_hops = -(-self._samples(window) // self.hop) + 1
        self.history = History(n_mics, self.hop, n_hops, sample_rate / self.hop)
        self.target = target
        # Where the time of a target is in the samples kept.
        self.is_time = np.shape(target) == (2,)
        self.target_begin = self.target_end = -1
        self.n_jumps = 0
        self.known = Known()
        # The sound that is being learned from, where it begins in the samples kept, and
        # when it was asked for, and is due, in samples heard.
        self.pending, self.first, self.asked, self.due = None, 0, 0, 0
        self.future, self.began, self.process = None, 0.0, None
        self.log = []
        self._move_to(0)

    @property
    def n_heard(self):
        """Samples heard so far."""
        return self.history.n_heard * self.hop

    def _samples(self, seconds):
        return round(seconds * self.rate)

    def hear(self, x):
        """Take the next hop (hop, n_mics), and see what is to be done.

        Returns
        -------
        changed_at : int or None
            Sample from which on what was known is wrong, as sources have jumped or
            microphones have changed.
        """
        is_kept, has_changed = self.history.append(x)
        self._keep_target_time()
        if not is_kept:
            return None
        end = self.history.end
        if has_changed:
            self._move_to(end - self.hop)
            self.known = replace(self.known, filters=None)
            self._note("microphones")
            return self.history.place_of(self.place)
        if self.history.has_risen and self.is_fresh:
            self._move_to(end - self.hop)  # what was before is silence beside it
        changed_at = None
        n = max(1, self._samples(CHECK) // self.hop)
        is_old = end - self.place >= self._samples(YOUNG)
        if self.history.n_kept % n == 0 and is_old and not self.is_fresh:
            changed_at = self._check(end)
        if self.pending is None and end >= self.next_update:
            begin = max(self.place, end - self._samples(self.window))
            self.pending = self.history.read(begin, end).T.copy()
            self.first, self.asked = begin, self.n_heard
            self._plan(end)
        return changed_at

    def _plan(self, end):
        """Decide when what is pending is due, and when to learn next."""
        age, full = (end - self.place) / self.rate, self.window
        is_young = age < HASTY
        self.is_thorough = is_young or end >= self.next_thorough
        if self.is_thorough:
            again = ANEW * full if age >= full else full - age
            self.next_thorough = end + self._samples(again)
        effort = EFFORT * self.n_mics**POWER * (1 if self.is_thorough else REFINE)
        seconds = effort * (len(self.pending) / 16_000 + FIXED * self.rate / 16_000)
        late = SOON if is_young else LATE
        tired = np.clip((age - HASTY) / max(full - HASTY, 1.0), 0.0, 1.0)
        pause = late + tired * max(1 / (SHARE * self.n_mics) - late, 0.0)
        self.due = self.asked + self._samples(late * seconds)
        pause = max(pause * seconds, self.period)
        self.next_update = end + self._samples(pause)

    def work(self):
        """Return what has been learned by now, once.

        Where more is heard in a time than in recording, this waits, so that learning
        gets its share of the time.

        Returns
        -------
        filters : ndarray of shape (n_sources, n_mics, n_taps)
            New filters. None is returned if there are none.
        start : int
            The sample of the signal that they are good from.
        """
        if self.pending is None:
            return None
        if self.future is None or self.process != os.getpid():  # or this is a fork
            self._begin()
        expected = UNPACED * (self.n_heard - self.asked) / self.rate
        wait([self.future], max(0.0, expected - (time.monotonic() - self.began)))
        if self.n_heard < self.due:
            return None
        future, self.future, self.pending = self.future, None, None
        before, self.known = self.known, future.result()
        self.is_fresh = False
        is_new = self.known.filters is not before.filters
        self.loudness = 1.0 if is_new else self.loudness
        self._note("new" if is_new else "same")
        return self.known.filters, self.history.place_of(self.place)

    def _begin(self):
        """Learn from what is pending, in another thread."""
        target = self._target()
        is_plain = target is None and self.n_sources == self.n_mics
        separator = make_separator(
            n_sources=None if is_plain else self.n_sources,
            sample_rate=self.rate,
            ref_mic=self.ref_mic,
            target=target,
            random_state=0,
        ).set_params(checks=False)
        pool = ThreadPoolExecutor(1, "skbss learner")
        self.future = pool.submit(
            learn,
            separator,
            self.pending,
            replace(self.known, filters=None) if self.is_fresh else self.known,
            self.rate,
            ref_mic=self.ref_mic,
            is_thorough=self.is_thorough,
            n_taps=self.n_taps,
            n_future=self.n_future,
            n_told=0 if target is None else 1,
        )
        pool.shutdown(wait=False)
        self.began, self.process = time.monotonic(), os.getpid()

    def _target(self):
        """Return what is known of a target in the sound that is pending."""
        if not self.is_time:
            return self.target
        first, last = self.first, self.first + len(self.pending)
        if not first <= self.target_begin < self.target_end <= last:
            return None
        begin, end = self.target_begin - first, self.target_end - first
        return begin / self.rate, end / self.rate

    def _keep_target_time(self):
        """Note where the time of the target is in the samples kept."""
        if not self.is_time:
            return
        start, end = (self._samples(seconds) for seconds in self.target)
        if self.target_begin < 0 and self.n_heard > start:
            self.target_begin = max(self.history.end - self.hop, 0)
        if self.target_end < 0 and self.n_heard >= end:
            self.target_end = self.history.end

    def _move_to(self, place):
        """Begin to learn a new place."""
        self.place, self.is_fresh, self.calm, self.loudness = place, True, 0.0, 1.0
        self.is_thorough, self.next_thorough = True, place
        # Whoever is begun to be learned from may be at another place.
        self.pending = self.future = None
        self.next_update = place + self._samples(FIRST * max(2, self.n_sources))

    def _note(self, *what):
        self.log.append((self.n_heard / self.rate, *what))
        del self.log[:-N_EVENTS]

    def _check(self, end):
        """Look for a jump in the newest second, and return where it was."""
        # Where something was left out, as silence or clicks, what is before and after
        # doesn't fit together, and filters that reach over it don't separate.
        begin = max(end - self._samples(LOOK) - self.n_taps, self.place)
        if not self.history.is_whole(begin, end):
            return None
        y, peak = self._outputs(end, LOOK)
        usual = self.loudness * self.known.power
        value, power = coherence(y, self.brief, usual / peak**2)
        self._note("coherence", value)
        calm = self.calm or value
        if value <= max(JUMP, RISE * calm):
            # By who is heard most: others are as loud as usual when they come back.
            self.loudness *= 1 + (rise(peak**2 * power, usual) - 1) * (CHECK / USUAL)
            self.calm = calm + (value - calm) * (CHECK / CALM)
            return None
        y, _ = self._outputs(end, SEARCH)
        first = end - self.n_future - y.shape[1]
        place = first + change_point(y, self.brief // 2)
        self._move_to(max(place, self.place))
        self.n_jumps += 1
        start = self.history.place_of(self.place)
        self._note("jump", start / self.rate)
        return start

    def _outputs(self, end, seconds):
        """Filter the newest seconds at unit peak."""
        begin = max(end - self._samples(seconds) - self.n_taps + 1, self.place)
        x, peak = at_unit_peak(self.history.read(begin, end))
        return filtered(x, self.known.filters), peak

    def get_state(self):
        """Return a dict of arrays and numbers."""
        known = self.known
        state = {name: getattr(self, name) for name in NUMBERS}
        state |= {"n_speaking": known.n_speaking, "n_fft": known.n_fft}
        parts = {"pending": self.pending} | vars(known)
        if known.voices is not None:
            parts["voices"] = known.voices.to_array()
        for name, (shape, dtype) in self._entries().items():
            value = parts[name]
            state[name] = np.zeros((0, *shape), dtype) if value is None else value
        return state | {f"history.{k}": v for k, v in self.history.get_state().items()}

    def _entries(self):
        """Shapes of rows, and types, of what isn't always there."""
        return {
            "filters": ((self.n_mics, self.n_taps), np.float32),
            "response": ((self.n_mics, 2 * reach_of(self.rate)), np.float32),
            "pending": ((self.n_mics,), np.float32),
            "power": ((), float),
            "voices": ((Voices.SIZE,), float),
        }

    def set_state(self, state):
        """Go on from what `get_state` returned, and do again what was being done."""
        self.history.set_state(part_of(state, "history"))
        for name in NUMBERS:
            setattr(self, name, np.array(state[name]).item())
        parts = {name: np.copy(state[name]) for name in self._entries()}
        parts = {name: value if len(value) else None for name, value in parts.items()}
        voices = parts.pop("voices")
        self.known = Known(
            filters=parts.pop("filters"),
            response=parts.pop("response"),
            power=parts.pop("power"),
            voices=None if voices is None else Voices.from_array(voices),
            n_speaking=int(state["n_speaking"]),
            n_fft=int(state["n_fft"]),
        )
        vars(self).update(parts)
        self.future = None

    def __getstate__(self):
        return vars(self) | {"future": None}
