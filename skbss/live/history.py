"""The newest sound that is worth learning from, and where in the signal it was."""

# License: BSD-3-Clause

import numpy as np

# Hops that far below the running power (50 dB) are silence and not kept. Nor are those
# of steady noise in a long pause, which are below it by 30 dB.
SILENCE, HUSH = 1e-5, 1e-3
# A hop counts at most as this often the running power in its average (10 dB).
PEAK = 10.0
# Hops that far above it (20 dB), or with a sample so far above (35 dB), are clicks and
# not kept, for up to a second in a row; for less where no sample stands out of its hop
# by so much (20 dB), as where somebody begins to speak.
CLICK, CLICK_SAMPLE = 100.0, 3000.0
CREST, RISE = 100.0, 0.15
# Seconds that the running power and the microphones' shares in it are averaged over.
MEMORY = 5.0
# A microphone whose share of the power is that far below its usual one (40 dB) is dead,
# and taken for gone after so many seconds.
DEAD = 1e-4
GONE = 10.0
# Seconds of such hops after which a signal that is lively (mean change of 1 dB from hop
# to hop) has become quieter. Steady noise in a pause isn't.
PATIENCE = 3.0
RESTLESS = 0.23


class History:
    """A ring of the newest hops, without silence and hops with a dead microphone.

    Times are counted in samples that were kept.

    Parameters
    ----------
    n_mics : int
        Number of microphones.
    hop : int
        Samples in a hop.
    n_hops : int
        How many are kept.
    rate : float
        Hops in a second.
    """

    def __init__(self, n_mics, hop, n_hops, rate):
        self.hop, self.rate = hop, rate
        self.ring = np.zeros((n_mics, n_hops * hop), np.float32)
        self.where = np.zeros(n_hops, int)
        self.n_kept = 0
        self.n_heard = 0
        self.power = 0.0
        self.shares = np.zeros(n_mics)
        self.n_dead = self.n_loud = 0
        # Of the quiet hops in a row: number, power, changes, last logarithm, and
        # whether those before were steady.
        self.quiet = np.zeros(5)

    @property
    def end(self):
        """Samples kept so far."""
        return self.n_kept * self.hop

    @property
    def has_risen(self):
        """Whether the newest hop was kept though it is loud, as others before it."""
        return self.n_loud > 0

    def append(self, x):
        """Take the next hop.

        Parameters
        ----------
        x : ndarray of shape (hop, n_mics)
            Samples.

        Returns
        -------
        is_kept : bool
            Whether it is worth learning from.
        has_changed : bool
            Whether microphones have come or gone, so that what was kept before tells
            nothing any more.
        """
        self.n_heard += 1
        powers = np.square(x, dtype=float).mean(0)
        power = powers.mean()
        if power == 0:
            return False, False
        if power > HUSH * self.power:
            self.quiet = np.zeros(5)
        elif self._is_pause(power):
            return False, False
        peak = float(abs(x).max()) ** 2
        is_loud = power > CLICK * self.power or peak > CLICK_SAMPLE * self.power
        is_loud = is_loud and self.power > 0
        self.n_loud = self.n_loud + 1 if is_loud else 0
        patience = 1.0 if peak > CREST * power else RISE
        if is_loud and self.n_loud < patience * self.rate:
            return False, False
        share = powers / powers.sum()
        is_dead = (share < DEAD * self.shares).any()
        self.n_dead = self.n_dead + 1 if is_dead else 0
        if is_dead and self.n_dead < GONE * self.rate:
            return False, False
        has_come = (self.shares < DEAD * share).any() and self.n_kept > 0
        memory = min(self.n_kept + 1, MEMORY * self.rate)
        if is_dead or has_come:
            self.shares = share
        self.shares = self.shares + (share - self.shares) / memory
        # What has become that much louder at once is what there is from now on.
        before = power if is_loud else self.power or power
        self.power = before + (min(power, PEAK * before) - before) / memory
        slot = self.n_kept % len(self.where)
        self.ring[:, slot * self.hop : (slot + 1) * self.hop] = x.T
        self.where[slot] = self.n_heard - 1
        self.n_kept += 1
        return True, bool(is_dead or has_come)

    def _is_pause(self, power):
        """Whether a quiet hop is silence, or noise that goes on and isn't lively."""
        is_silent = power <= SILENCE * self.power
        number, total, changes, last, is_steady = self.quiet
        log = np.log(power)
        changes += abs(log - last) if number else 0
        number, total = number + 1, total + power
        if number >= PATIENCE * self.rate:
            is_steady = changes <= RESTLESS * number
            if not is_steady:
                self.power = total / number
            number = total = changes = 0
        self.quiet = np.array([number, total, changes, log, is_steady])
        return is_silent or bool(is_steady)

    def read(self, begin, end):
        """Return the samples (n_mics, n_samples) between two times, zeros before 0."""
        size = self.ring.shape[1]
        if begin >= 0 and begin % size + end - begin <= size:
            start = begin % size
            return self.ring[:, start : start + end - begin]
        rows = np.arange(begin, end)
        x = self.ring[:, rows % size]
        x[:, rows < 0] = 0
        return x

    def place_of(self, time):
        """Return the sample of the signal kept at a time, 0 if that is long ago."""
        hop = min(time // self.hop, self.n_kept - 1)
        if hop < max(self.n_kept - len(self.where), 0):
            return 0
        return int(self.where[hop % len(self.where)]) * self.hop + time - hop * self.hop

    def is_whole(self, begin, end):
        """Whether nothing has been left out between two times."""
        return self.place_of(end - 1) - self.place_of(begin) == end - 1 - begin

    def get_state(self):
        """Return a dict of arrays and numbers."""
        names = "ring", "where", "n_kept", "n_heard", "power", "shares", "n_dead"
        names += ("n_loud",)
        return {name: getattr(self, name) for name in (*names, "quiet")}

    def set_state(self, state):
        """Go on from what `get_state` returned."""
        vars(self).update({name: np.copy(state[name])[()] for name in self.get_state()})
