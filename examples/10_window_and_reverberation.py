# License: BSD-3-Clause

"""
How long a window, how long a room
==================================

A separator demixes one frame at a time, as if the room's echo ended within the window.
A window that is too short can't undo the room, and one that is too long leaves too few
frames to learn from. So there is a best window, and it grows with the reverberation
time.
"""

# %%
# Ten seconds of synthetic sources in rooms with three reverberation times, each
# separated with windows from 32 ms to 1 s.

import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, AuxIVA, ProjectionBack
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr_improvement

sample_rate = 16000
windows = [512, 1024, 2048, 4096, 8192, 16384]
fig, ax = plt.subplots()
for rt60 in (0.05, 0.15, 0.3):
    x, y = make_convolutive_mixture(10 * sample_rate, rt60=rt60, random_state=0)
    gains = []
    for n_fft in windows:
        pipe = make_pipeline(
            STFT(n_fft), AuxIVA(max_iter=30), ProjectionBack(), ISTFT()
        )
        gains.append(si_sdr_improvement(y, pipe.fit_transform(x), x).mean())
    milliseconds = [1000 * n_fft / sample_rate for n_fft in windows]
    ax.semilogx(milliseconds, gains, "o-", label=f"RT60 {1000 * rt60:.0f} ms")
    best = max(zip(gains, milliseconds, strict=True))
    print(f"RT60 {1000 * rt60:3.0f} ms: {best[0]:.1f} dB with {best[1]:.0f} ms")
ax.set(
    xlabel="window (ms)",
    ylabel="SI-SDR improvement (dB)",
    xticks=milliseconds,
    xticklabels=[f"{t:.0f}" for t in milliseconds],
)
ax.minorticks_off()
ax.legend()
fig.tight_layout()

# %%
# What the window can't hold stays in the outputs as echo of the *other* source. The
# echo of the source itself is no business of these separators: an output sounds as
# reverberant as the source does at the microphone.
#
# Longer recordings move the best window to the right, as there are more frames to learn
# from. The separator of :func:`~skbss.make_separator` gets around part of the dilemma
# by two stages, the first with windows of 256 ms and the second, which has an easier
# task, with 512 ms. A third one takes out what came later than the window.
