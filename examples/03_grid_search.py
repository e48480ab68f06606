# License: BSD-3-Clause

"""
Choose the number of spectra and the window
===========================================

``n_basis``, the number of spectra that ILRMA gives to each source, and ``n_fft``, the
window, depend on what is recorded and on the room. With recordings whose sources are
known, scikit-learn's own search finds them.
"""

# %%
# Three recordings of different lengths, each with its references. Recordings are the
# samples of the search, so they are in lists.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skbss import ILRMA, ISTFT, STFT, EachRecording, ProjectionBack
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr_scorer

recordings = [
    make_convolutive_mixture(n_samples, random_state=seed)
    for seed, n_samples in enumerate([48000, 64000, 56000])
]
mixtures, references = map(list, zip(*recordings, strict=True))

# %%
# :class:`~skbss.EachRecording` separates each recording on its own. Parameters of the
# steps have the names that pipelines give them.

pipe = make_pipeline(
    STFT(), ILRMA(max_iter=20, init_iter=20, random_state=0), ProjectionBack(), ISTFT()
)
grid = {
    "estimator__ilrma__n_basis": [1, 2, 4],
    "estimator__stft__n_fft": [1024, 2048, 4096],
}
search = GridSearchCV(EachRecording(pipe), grid, scoring=si_sdr_scorer, cv=3, n_jobs=2)
search.fit(mixtures, references)
print(search.best_params_)

# %%
# The window matters more than the number of spectra.

scores = search.cv_results_["mean_test_score"].reshape(3, 3)
fig, ax = plt.subplots()
for n_basis, row in zip(grid["estimator__ilrma__n_basis"], scores, strict=True):
    ax.plot(np.arange(3), row, "o-", label=f"{n_basis} spectra")
ax.set(
    xticks=np.arange(3),
    xticklabels=grid["estimator__stft__n_fft"],
    xlabel="n_fft",
    ylabel="SI-SDR (dB)",
)
ax.legend()
fig.tight_layout()

# %%
# With ``make_pipeline(..., memory="cache")`` steps that several candidates share are
# computed once, and a second search finds everything in the cache.
