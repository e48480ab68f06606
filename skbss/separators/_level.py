"""How recursive separators follow a level that jumps or falls."""

# License: BSD-3-Clause

import numpy as np

# Least power of an output in a frame, relative to its running mean (-30 dB). Weights of
# quieter frames would drown out all others.
FLOOR = 1e-3
# Mean change between quiet frames, in powers of e (1 dB), that tells a signal that has
# become quiet from the noise of a pause.
RESTLESS = 0.23
# Least running power in units of the arithmetic: at once a level falls or rises by no
# more (140 dB), which leaves squares finite in single precision.
LEAST_POWER = 2.0**-48


class LevelMixin:
    """Mixin for separators whose state is on a scale that follows the recording."""

    def _real(self, number):
        """Return a number of the state's precision; others would make all double."""
        return self._state["covariance"].dtype.type(number)

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
        state["quiet"] = np.zeros(4)
        state["power"] = max(state["power"] * ratio**2, LEAST_POWER)
        for key in ("ring", "covariance"):
            state[key] = state[key] * self._real(ratio**2)
        # Outputs stay as they are, unless that would take them out of range.
        ratio = np.clip(ratio, 2.0**-20, 2.0**20)
        state["demixing"] = state["demixing"] / self._real(ratio)
        for key in ("weighted", "past"):
            state[key] = state[key] * self._real(ratio**2)

    def _follow_drop(self, power):
        """Bring the past to the level of a signal that has become much quieter.

        Else its frames would weigh nothing until the memory has faded by as much. The
        signal is taken to be quieter when half a memory has passed without a frame
        above the floor. Pauses in which nothing but steady noise is heard don't count.
        """
        state = self._state
        if power > FLOOR * state["power"]:
            state["quiet"] = np.zeros(4)
            return
        n_quiet, total, changes, last = state["quiet"]
        log = np.log(max(power, 1e-300))
        changes += abs(log - last) if n_quiet else 0
        n_quiet, total = n_quiet + 1, total + power
        state["quiet"] = np.array([n_quiet, total, changes, log])
        if n_quiet > 1 and 2 * n_quiet * (1 - self.forget) >= 1:
            state["quiet"] = np.zeros(4)
            if changes > RESTLESS * n_quiet:
                level = max(total / n_quiet, LEAST_POWER * state["power"])
                self._rescale_past(np.sqrt(level / state["power"]))
