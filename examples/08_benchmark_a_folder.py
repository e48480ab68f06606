# License: BSD-3-Clause

"""
Compare methods over a folder of recordings
===========================================

One recording is an anecdote. An experiment runs methods with grids of parameters over a
folder of recordings, and ends in a table and in a page in which the results can be
heard.
"""

# %%
# A recording is a folder with the mixture and, for scores, the sources. We write three
# synthetic ones.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skbss.benchmark import (
    make_experiment,
    read_results,
    run_experiment,
    write_report,
)
from skbss.datasets import load_dataset, save_scene

folder = Path(tempfile.mkdtemp())
for scene in load_dataset("convolutive", n_scenes=3, duration=4.0):
    save_scene(folder / "recordings" / scene.name, scene)
for path in sorted((folder / "recordings").rglob("*.wav"))[:3]:
    print(path.relative_to(folder))

# %%
# The experiment, as its YAML file would say it. Names and values are checked before
# anything runs.

experiment = make_experiment(
    {
        "dataset": {"name": "scenes", "folder": str(folder / "recordings")},
        "stft": {"n_fft": 2048},
        "methods": {
            "auxiva": {},
            "ilrma": {"grid": {"ilrma.n_basis": [1, 4]}},
            "onlineauxiva": {},
        },
        "runtime": {"n_jobs": 2},
    }
)
summary = run_experiment(experiment, folder / "run")
for row in summary:
    print(f"{row['candidate']:16} {row['si_sdr_improvement']:5.1f} dB")

# %%
# Every task leaves a row of its own as soon as it is done. If the run is interrupted,
# ``run_experiment`` with the same folder goes on from there.

gains: dict[str, dict[str, float]] = {}
for row in read_results(folder / "run"):
    own = gains.setdefault(row["candidate"], {})
    own[row["recording"]] = np.mean(row["scores"]["si_sdr_improvement"])
fig, ax = plt.subplots()
for k, (candidate, own) in enumerate(gains.items()):
    ax.plot(np.arange(len(own)) + 0.1 * k, list(own.values()), "o", label=candidate)
ax.set(xticks=np.arange(len(own)), xticklabels=list(own))
ax.set(xlabel="recording", ylabel="SI-SDR improvement (dB)")
ax.legend()
fig.tight_layout()

# %%
# The report is a single file, to be opened in a browser or sent by mail: ranking,
# scores by recording, spectrograms, and players for every output.

page = write_report(folder / "run")
print(page.relative_to(folder), f"{page.stat().st_size / 1e6:.1f} MB")

# %%
# From the shell it is
#
# .. code-block:: sh
#
#     skbss benchmark init > experiment.yaml
#     skbss benchmark run experiment.yaml -o run --n-jobs 2
#     skbss benchmark report run
