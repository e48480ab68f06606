# License: BSD-3-Clause

"""
Watch separation converge
=========================

How many iterations are enough? The objective keeps falling for long; the separation is
what counts. scikit-learn's callbacks let us look at both after every iteration.
"""

# %%
# ``ScoringMonitor`` calls a scorer on the separator as it would be if it stopped now. A
# scorer of this package takes the outputs back to time signals itself; it needs the
# references, so they go into ``fit``.

from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
from sklearn.callback import ScoringMonitor
from sklearn.pipeline import make_pipeline

from skbss import ILRMA, ISTFT, STFT, ProjectionBack, read_jsonl
from skbss.callbacks import JsonlLogger
from skbss.datasets import load_cocktail_party
from skbss.metrics import si_sdr_scorer

recording = load_cocktail_party()
monitor = ScoringMonitor(scoring={"si_sdr": si_sdr_scorer})
separator = ILRMA(max_iter=40, init_iter=30, random_state=0).set_callbacks(monitor)
stft = STFT(sample_rate=recording.sample_rate)
pipe = make_pipeline(stft, separator, ProjectionBack(), ISTFT())
pipe.fit(recording.mixture, recording.references)

# %%
# ILRMA starts with some iterations of AuxIVA, which do most of the work. After 25 of
# them AuxIVA looks for bands of frequencies that sit in the wrong output.

rows = monitor.get_logs().data
fig, ax = plt.subplots()
start = 0
for task, label in [("auxiva-iteration", "AuxIVA"), ("iteration", "ILRMA")]:
    scores = [row["si_sdr"] for row in rows if row["task_name"] == task]
    stop = start + len(scores)
    ax.plot(np.arange(start + 1, stop + 1), scores, ".-", label=label)
    print(f"{label:6} after {len(scores)} iterations: {scores[-1]:.1f} dB")
    start = stop
ax.set(xlabel="iteration", ylabel="SI-SDR (dB)")
ax.legend()
fig.tight_layout()

# %%
# A log for long work
# -------------------
#
# ``JsonlLogger`` appends a line to a file after every iteration. What was logged is
# there whatever happens to the program, and other programs can read along.

path = Path(mkdtemp()) / "ilrma.jsonl"
pipe.set_params(ilrma=ILRMA(max_iter=10, random_state=0))
pipe.set_callbacks(JsonlLogger(path))
pipe.fit(recording.mixture)
for line in read_jsonl(path)[-3:]:
    print(line["task"], line["iteration"], f"{line['objective']:.0f}")

# %%
# ``ProgressBar`` of scikit-learn shows the same as bars; it needs the extra
# ``progress``. Callbacks that are set on a pipeline or a search reach the separators
# inside.
