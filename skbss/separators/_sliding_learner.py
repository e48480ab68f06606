"""What learns live: demixing matrices of the newest seconds, step by step."""

# License: BSD-3-Clause

import numpy as np

from skbss.frame_by_frame import part_of
from skbss.linalg import pinv
from skbss.separators import _window as windows
from skbss.separators._filter_design import FilterDesign
from skbss.separators._history import History
from skbss.separators._window import Window, order_like
from skbss.spectrogram import window_length
from skbss.updates.filters import (
    at_unit_peak,
    filtered,
    impulse_responses,
    resample,
    with_future,
)
from skbss.updates.jumps import change_point, coherence
from skbss.updates.source import Cliques, Gauss
from skbss.updates.target import (
    covariances_of,
    likeness,
    of_unit_power,
    prominence,
    resampled,
)

# Seconds of the windows of the transform: in general, of fresh starts, and of jumps.
# Windows of 1024 ms, which batch takes where they are better, lost 0.6 dB here.
LONG, SHORT, BRIEF = 0.512, 0.256, 0.128
# Seconds that must be known of a place before anything is learned of it (what one
# second teaches is worse than nothing), and for which it is young: fresh starts are
# tried all the time, and jumps aren't looked for.
FIRST, YOUNG = 2.0, 5.0
# Ages of a place at which a fresh start is tried once more.
DOUBTS = 8.0, 16.0, 40.0
# Iterations: of a fresh start on short windows, whole frames and then cliques; of what
# follows on long ones; and of an update.
START_ITER, SORT_ITER, CLIQUE_ITER = 25, 12, 10
YOUNG_ITER, ITER = 8, 3
# Seconds between two looks for a jump, of sound that is looked at, and that is searched
# for when it was; and the coherence of outputs that is taken for one.
CHECK, LOOK, SEARCH = 0.25, 1.0, 2.0
JUMP = 0.22
USUAL = 5.0  # seconds that usual powers are averaged over
# Seconds that must be known before leaks are learned.
LEAST_LEAKS = 4.0
# White noise to expect at each microphone, where there are more than sources.
NOISE = 0.01
# Iterations of fitting filters; fewer where these go on from others.
FIT_ITER, FEWER_FIT_ITER = 20, 12
# How many times longer it is from one update to the next where places aren't young,
# and the share of this time in which one is computed. Where more than so many samples
# come a second, of all microphones, it becomes up to twice as long as places get older.
SLOWER, BUSY, SAMPLES = 4, 0.8, 32_000
# Nanoseconds of an update before one is known, for each sample of 20 s; how many times
# as much is done where a place is young, at least; and how much of the most that was
# done counts when less is.
EFFORT, URGENT, KEPT = 360, 2.0, 0.9
# How many times longer than an update any task takes.
SLOWEST = 4
# Events that are remembered, for whoever wants to look.
N_EVENTS = 256

# What a state consists of, beside arrays.
NUMBERS = (
    "n_jumps",
    "place",
    "is_fresh",
    "doubts",
    "next_update",
    "credit",
    "effort",
    "target_begin",
    "target_end",
)
DTYPES = {"W": np.complex64, "short": np.complex64, "filters": np.float32}
DTYPES["arrival"] = complex
DTYPES["usual"] = float
KINDS = "check", "update"


class SlidingLearner:
    """Learn the demixing matrices of a sliding window over a signal.

    Work is done in steps that depend on the samples alone, not on time.

    Parameters
    ----------
    n_mics, n_sources : int
        Numbers of channels.
    sample_rate : float
        In Hz.
    window, period : float
        Seconds that are learned from, and from one update to the next.
    n_future : int
        Taps of the filters that look ahead.
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
        n_future,
        ref_mic,
        target=None,
    ):
        self.n_mics, self.n_sources, self.rate = n_mics, n_sources, sample_rate
        self.n_fft = window_length(sample_rate, LONG)
        self.n_short = window_length(sample_rate, SHORT)
        self.n_brief = window_length(sample_rate, BRIEF)
        self.hop, _ = self.sizes(sample_rate)
        self.window, self.period, self.ref_mic = window, period, ref_mic
        # Long enough for the slowest task, a fresh start on all of the window.
        self.slower = SLOWER * np.clip(n_mics * sample_rate / SAMPLES, 1, 2).item()
        slack = FIRST + SLOWEST * self.slower * period
        n_hops = -(-self._samples(window + slack) // self.hop)
        self.history = History(n_mics, self.hop, n_hops, sample_rate / self.hop)
        self.design = FilterDesign(self.history, sample_rate, n_sources, n_future)
        self.n_jumps = 0
        self.place = 0  # where the present place begins, in samples kept
        self.is_fresh = True  # whether nothing is known of it yet
        self.doubts = 0
        self.next_update = self._samples(FIRST)
        self.W = self.short = self.filters = self.usual = None
        self.tasks = []
        self.credit = 0.0
        # What is known of a target: a time of the signal, where that is in the samples
        # kept, and covariances on short windows.
        is_time = np.shape(target) == (2,)
        self.target_time = tuple(target) if is_time else None
        self.target_begin = self.target_end = -1
        self.arrival = None
        if target is not None and not is_time:
            C = covariances_of(target, n_mics)
            self.arrival = resampled(C, self.n_short // 2 + 1)
        self.effort = self.start_effort = EFFORT * n_mics * self._samples(20.0)
        self.log = []

    @staticmethod
    def sizes(sample_rate):
        """Return the samples of a hop, and how many filters look ahead at most."""
        n_fft = window_length(sample_rate, LONG)
        return max(1, n_fft // 16), n_fft

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
            Sample from which on what was known is wrong, as microphones have changed.
        """
        is_kept, has_changed = self.history.append(x)
        self._keep_target_time()
        if not is_kept:
            return None
        end = self.history.end
        if has_changed:
            self._move_to(end - self.hop)
            self.W = None
            self._note("microphones")
            return self.history.place_of(self.place)
        running = {task.kind for task in self.tasks}
        age = end - self.place
        if self.W is not None and not self.is_fresh and age > self._samples(YOUNG):
            n = max(1, self._samples(CHECK) // self.hop)
            if self.history.n_kept % n == 0 and "check" not in running:
                self.tasks.insert(0, Task(self, "check", end))
        if end >= self.next_update and "update" not in running:
            self.tasks.append(Task(self, "update", end))
            is_young = age < self._samples(YOUNG)
            seconds = self.period if is_young else self._interval(end)
            self.next_update = end + self._samples(seconds)
        return None

    def work(self, n_samples):
        """Do the work that is due in so many samples.

        Yields
        ------
        filters : ndarray of shape (n_sources, n_mics, n_taps), or None
            New filters; None where sources have jumped, and nothing is known.
        start : int
            The sample of the signal that they are good from.
        """
        effort = self.effort
        if self._is_urgent(self.history.end):
            effort = max(effort, self.start_effort * URGENT)
        duration = BUSY * self._samples(self._interval(self.history.end))
        self.credit += n_samples / duration * effort
        while self.tasks and self.credit > 0:
            task, doubts = self.tasks[0], self.doubts
            try:
                self.credit -= task.step()
            except StopIteration as end:
                if task in self.tasks:  # a jump ends all of them
                    self.tasks.remove(task)
                is_usual = self.doubts == doubts and not self._is_urgent(task.end)
                if task.kind == "update" and is_usual:
                    self.effort = max(float(task.values), KEPT * self.effort)
                if end.value is not None:
                    yield end.value
        if not self.tasks:
            self.credit = min(self.credit, 0.0)

    def _keep_target_time(self):
        """Note where the time of the target is in the samples kept."""
        if self.target_time is None:
            return
        start, end = (self._samples(seconds) for seconds in self.target_time)
        if self.target_begin < 0 and self.n_heard > start:
            self.target_begin = max(self.history.end - self.hop, 0)
        if self.target_end < 0 and self.n_heard >= end:
            self.target_end = self.history.end

    def _learn_arrival(self):
        """Learn how a target arrives, once its time is over, while it is there."""
        begin = max(self.target_begin, self.place)
        if self.arrival is not None or self.target_end <= begin:
            return self.arrival
        X = yield from self._frames(begin, self.target_end, self.n_short)
        x = X.transpose(1, 2, 0).astype(complex)
        yield 4 * x.size * self.n_mics
        return x @ x.conj().swapaxes(1, 2)

    def _with_target_first(self, W, X, arrival):
        """Put the output first that is the target."""
        C = resampled(arrival, W.shape[2])
        if self.target_time is not None:
            alike = prominence(W, C, X)
        else:
            alike = likeness(of_unit_power(C), pinv(W)).mean(1)
        first = int(np.argmax(alike))
        return W[[first, *(k for k in range(len(W)) if k != first)]]

    def _is_urgent(self, end):
        """Whether the place is young."""
        return end - self.place < self._samples(YOUNG + 1)

    def _interval(self, end):
        """Seconds from one update to the next where a place isn't young."""
        age = (end - self.place) / self.rate
        return self.period * min(self.slower, max(SLOWER, SLOWER * age / YOUNG))

    def _doubts_at(self, age):
        return self.doubts < len(DOUBTS) and age >= DOUBTS[self.doubts]

    def _move_to(self, place):
        """Begin to learn a new place."""
        self.place, self.is_fresh, self.doubts = place, True, 0
        self.short = self.usual = None
        if self.target_time is not None:  # it may have moved
            self.arrival = None
        self.next_update = place + self._samples(FIRST)
        self.tasks = []

    def _note(self, *what):
        self.log.append((self.history.n_heard * self.hop / self.rate, *what))
        del self.log[:-N_EVENTS]

    # Tasks: generators that yield numbers worked on, and return events.

    def check(self, end):
        """Look for a jump in the newest second."""
        # Where something was left out, as silence or clicks, what is before and after
        # doesn't fit together, and filters that reach over it don't separate.
        begin = max(end - self._samples(LOOK) - self.n_fft, self.place)
        if not self.history.is_whole(begin, end):
            return None
        y, peak = yield from self._outputs(end, LOOK)
        if y is None:
            return None
        usual = None if self.usual is None else self.usual / peak**2
        value, power = coherence(y, self.n_brief, usual)
        yield 56 * y.size
        self._note("coherence", value)
        if value <= JUMP:
            power = power.astype(float) * peak**2
            usual = power if self.usual is None else self.usual
            self.usual = usual + (power - usual) * (CHECK / USUAL)
            return None
        y, _ = yield from self._outputs(end, SEARCH)
        first = end - self.n_brief - y.shape[1]
        place = first + change_point(y, self.n_brief // 2)
        place = max(place, self.place)
        self._move_to(place)
        self.n_jumps += 1
        start = self.history.place_of(place)
        self._note("jump", start / self.rate)
        return None, start

    def _outputs(self, end, seconds):
        """Filter the newest seconds at unit peak, looking 128 ms ahead."""
        g = impulse_responses(self.W)
        g = with_future(g, g.shape[2] // 2, self.n_brief)
        size = self._samples(seconds)
        begin = end - size - g.shape[2] + 1
        if begin < self.place:
            size -= self.place - begin
            begin = self.place
        if size < 4 * self.n_brief:
            return None, 0.0
        x, peak = at_unit_peak(self.history.read(begin, end))
        yield 4 * x.size
        y = filtered(x, g)
        yield 10 * x.size * self.n_sources
        return y, peak

    def update(self, end):
        """Learn from the newest window, and make filters."""
        age = (end - self.place) / self.rate
        begin = max(self.place, end - self._samples(self.window))
        is_young = age < YOUNG
        known = self.W
        X = yield from self._frames(begin, end, self.n_fft)
        window = Window(X, self._noise)
        yield from window.whiten()
        arrival = yield from self._learn_arrival()
        is_told = arrival is not None and (self.arrival is None or self.W is None)
        short, doubts = None, self.doubts
        if is_young or self.is_fresh:
            W, short = yield from self._start(begin, end, arrival)
            W, _ = yield from self._refine(window, W, YOUNG_ITER)
            is_new = True
        else:
            is_doubtful = self._doubts_at(age)
            n_iter = YOUNG_ITER if is_doubtful else ITER
            W, best = yield from self._refine(window, known, n_iter)
            is_new = False
            if is_doubtful:
                new, _ = yield from self._start(begin, end, arrival)
                new, objective = yield from self._refine(window, new, YOUNG_ITER)
                is_new = objective < best
                W = new if is_new else W
                doubts = sum(doubt <= age for doubt in DOUBTS)
        if is_new and known is not None:
            W = W[order_like(known, W, X)]
            yield 4 * X.size
        if arrival is not None and (is_new or is_told):
            W = self._with_target_first(W, X, arrival)
            yield 4 * X.size
        cancel = None
        if age > LEAST_LEAKS and self.n_sources > 1:
            cancel = yield from self.design.cancel(W, begin, end)
        n_iter = FIT_ITER if is_new or is_told else FEWER_FIT_ITER
        start = None if self.is_fresh or is_told else self.filters
        g = yield from self.design.filters(W, cancel, begin, end, start, n_iter)
        self.W, self.short, self.filters = W, short, g
        self.is_fresh, self.doubts, self.arrival = False, doubts, arrival
        self._note("anew" if is_new else "same")
        return g, self.history.place_of(self.place)

    @property
    def _noise(self):
        return NOISE if self.n_sources < self.n_mics else 0.0

    def _frames(self, begin, end, n_fft):
        """Frames between two times; at the beginning also those that reach beyond."""
        hop = n_fft // 4
        first = begin - n_fft // 2 if begin == 0 else begin
        if end - first < n_fft + 3 * hop:
            first = end - n_fft - 3 * hop
        first += (end - n_fft - first) % hop
        starts = range(first, end - n_fft + 1, hop)
        return windows.transform(self.history.read, starts, n_fft)

    def _start(self, begin, end, arrival):
        """Learn on short windows, from what was learned on them or from nothing."""
        X = yield from self._frames(begin, end, self.n_short)
        window = Window(X, self._noise)
        yield from window.whiten()
        W = window.beginning(self.n_sources)
        how = START_ITER, SORT_ITER, None if arrival is None else of_unit_power(arrival)
        W, _ = yield from windows.iterate(window, W, Gauss(), *how)
        W /= np.linalg.norm(W, axis=1, keepdims=True)
        W, best = yield from windows.iterate(window, W, Cliques(), CLIQUE_ITER)
        if self.short is not None and not self.is_fresh:
            old = window.from_microphones(self.short)
            old, objective = yield from windows.iterate(
                window, old, Cliques(), YOUNG_ITER
            )
            W = old if objective < best else W
        W = window.images(W, self.ref_mic)
        return resample(W, self.n_fft), W

    def _refine(self, window, W, n_iter):
        W = window.from_microphones(W)
        W, objective = yield from windows.iterate(window, W, Cliques(), n_iter)
        return window.images(W, self.ref_mic), objective

    def get_state(self):
        """Return a dict of arrays and numbers."""
        state = {name: getattr(self, name) for name in NUMBERS}
        for name, shape in self._shapes().items():
            value = getattr(self, name)
            if value is None:
                value = np.zeros((0, *shape), DTYPES[name])
            state[name] = value
        state["tasks"] = np.array(self._progress(), int).reshape(-1, 3)
        return state | {f"history.{k}": v for k, v in self.history.get_state().items()}

    def _shapes(self):
        """Shapes of what is learned, of each source."""
        M = self.n_mics
        return {
            "W": (M, self.n_fft // 2 + 1),
            "short": (M, self.n_short // 2 + 1),
            "filters": (M, self.design.n_taps),
            "usual": (self.n_brief // 2 + 1,),
            "arrival": (M, M),
        }

    def set_state(self, state):
        """Go on from what `get_state` returned, and do again what was being done."""
        self.history.set_state(part_of(state, "history"))
        for name in NUMBERS:
            setattr(self, name, np.array(state[name]).item())
        for name in self._shapes():
            value = np.copy(state[name])
            setattr(self, name, value if len(value) else None)
        self._take_up(state["tasks"].tolist())

    def _progress(self):
        """Return how far tasks are."""
        return [(KINDS.index(t.kind), t.end, t.n_steps) for t in self.tasks]

    def _take_up(self, progress):
        """Do again what has been done of tasks."""
        self.tasks = []
        for kind, end, n_steps in progress:
            task = Task(self, KINDS[kind], end)
            for _ in range(n_steps):
                task.step()
            self.tasks.append(task)

    def __getstate__(self):
        return vars(self) | {"tasks": self._progress()}

    def __setstate__(self, state):
        vars(self).update(state)
        self._take_up(state["tasks"])


class Task:
    """Work that is done step by step, and can be taken up again elsewhere.

    Parameters
    ----------
    learner : SlidingLearner
        Whose method it is.
    kind : {'check', 'update'}
        Its name.
    end : int
        Time up to which samples are looked at.
    """

    def __init__(self, learner, kind, end):
        self.kind, self.end, self.n_steps, self.values = kind, end, 0, 0
        self.steps = getattr(learner, kind)(end)

    def step(self):
        """Do a step and return how many numbers it has worked on."""
        self.n_steps += 1
        values = next(self.steps)
        self.values += values
        return values
