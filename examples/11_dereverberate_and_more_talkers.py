# License: BSD-3-Clause

"""
Taking off reverberation; three voices on two microphones
=========================================================

Two things that one matrix per frequency can't do.
"""

# %%
# Take two voices into a room that echoes for 0.6 s. The data set has the images of the
# voices at the microphones, with all of the echo, and their early parts: the direct
# sound and the reflections of the first 50 milliseconds.

import numpy as np
from IPython.display import Audio

from skbss import make_separator
from skbss.datasets import load_cocktail_party, make_room_mixture
from skbss.metrics import si_sdr_improvement

voices = load_cocktail_party()
rate = voices.sample_rate
room = make_room_mixture(voices.references, sample_rate=rate, rt60=0.6, random_state=0)
Audio(room.mixture[:, 0], rate=rate)

# %%
# Separated, each voice still sounds as far away as it is.

plain = make_separator(sample_rate=rate, random_state=0).fit_transform(room.mixture)
Audio(plain[:, 0], rate=rate)

# %%
# With :class:`~skbss.WPE` before and after, it comes closer.

pipeline = make_separator(dereverberate=True, sample_rate=rate, random_state=0)
dry = pipeline.fit_transform(room.mixture)
Audio(dry[:, 0], rate=rate)

# %%
# Scores tell so if they compare with early parts. Against voices with all of their echo
# they must fall, as it was taken off.

for name, references in (
    ("early parts", room.early_references),
    ("all of the echo", room.references),
):
    for what, y in (("separated", plain), ("and dereverberated", dry)):
        gain = si_sdr_improvement(references, y, room.mixture).mean()
        print(f"{name:>15}, {what:<18} {gain:5.1f} dB")

# %%
# Three sources on two microphones: the same two voices, and the first one again, two
# seconds earlier, elsewhere in a smaller room. ``n_sources`` is enough, masks are taken
# where there are too few microphones for anything else.

third = np.roll(voices.references[:, :1], -2 * rate, axis=0)
three = np.hstack([voices.references, third])
crowd = make_room_mixture(
    three,
    mic_positions=[[2.4, 2, 1.2], [2.45, 2, 1.2]],
    source_positions=[[1, 2.5, 1.5], [2.5, 3.2, 1.4], [4, 2.6, 1.6]],
    room_dim=[5, 4, 2.6],
    sample_rate=rate,
    rt60=0.2,
    random_state=1,
)
masks = make_separator(n_sources=3, sample_rate=rate, random_state=0)
y = masks.fit_transform(crowd.mixture)
print(si_sdr_improvement(crowd.references, y, crowd.mixture).round(1))
Audio(y[:, 0], rate=rate)
