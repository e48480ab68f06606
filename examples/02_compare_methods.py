# License: BSD-3-Clause

"""
Compare methods on a recording
==============================

Which method is the best for a recording? If the sources are known, as in a simulation,
scores tell. If they aren't, there are the ear and a few signs.
"""

# %%
# With references
# ---------------
#
# SI-SDR tells how much of an output is its source, in dB, and its improvement how much
# better that is than the microphone. An improvement by 10 dB is heard at once; at 20 dB
# the other voice is hardly there.

import time

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Audio

from skbss import make_separator
from skbss.datasets import load_cocktail_party
from skbss.metrics import si_sdr_improvement

recording = load_cocktail_party()
x, rate = recording.mixture, recording.sample_rate
separated = {}
for method in ("auxiva", "ilrma", "refined"):
    start = time.perf_counter()
    y = make_separator(method, sample_rate=rate, random_state=0).fit_transform(x)
    seconds = time.perf_counter() - start
    gain = si_sdr_improvement(recording.references, y, x).mean()
    separated[method] = y
    factor = seconds * rate / len(x)
    print(f"{method:8} {gain:5.1f} dB, real-time factor {factor:.2f}")

# %%
# The better models take longer. All are faster than the recording goes by, so there is
# rarely a reason not to take the last one.
#
# Without references
# ------------------
#
# Voices that are separated get loud and quiet independently of each other. In the
# microphones they do so together.


def loudness(signals, block=512):
    """Level of each channel in blocks of 32 ms, in dB."""
    power = np.add.reduceat(signals**2, np.arange(0, len(signals), block))
    return 10 * np.log10(power / block + 1e-8)


pairs = {"microphones": x, **separated, "true voices": recording.references}
fig, axes = plt.subplots(
    1, len(pairs), figsize=(10, 2.6), sharex=True, sharey=True, layout="constrained"
)
for ax, (name, signals) in zip(axes, pairs.items(), strict=True):
    first, second = loudness(signals).T
    ax.plot(first, second, ".", markersize=3, alpha=0.5)
    ax.set(title=f"{name}\n{np.corrcoef(first, second)[0, 1]:.2f}", aspect="equal")
axes[0].set(xlabel="first (dB)", ylabel="second (dB)")

# %%
# Each dot is a block of 32 ms, the number is the correlation. It tells whether a
# separation has failed, not which of two good ones is better. For that there is the
# ear: listen for the other voice in the pauses. First AuxIVA, then the default.

Audio(separated["auxiva"][:, 0], rate=rate)

# %%

Audio(separated["refined"][:, 0], rate=rate)
