# License: BSD-3-Clause

"""
Separate a recording block by block
===================================

A microphone array delivers blocks of samples, and the separated voices are wanted as
soon as possible. :class:`~skbss.Stream` makes that of an ordinary pipeline
with an online separator. Nothing has to be known about the blocks: any sizes will do.
"""

# %%
# The pipeline is the same as for whole recordings. Its window decides on the latency,
# which is known before the first sample.

import time

import numpy as np
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, OnlineAuxIVA, ProjectionBack, Stream
from skbss.datasets import load_cocktail_party
from skbss.metrics import si_sdr_improvement

recording = load_cocktail_party()
x, rate = recording.mixture, recording.sample_rate
pipeline = make_pipeline(
    STFT(n_fft=2048, sample_rate=rate), OnlineAuxIVA(), ProjectionBack(), ISTFT()
)
stream = Stream(pipeline)
print(f"latency: {stream.latency} samples, {1000 * stream.latency_seconds:.0f} ms")

# %%
# The recording comes in blocks of 10 ms. Every block returns the samples of the voices
# that are complete by now: none at first, and 512 whenever another frame is complete.

block_size = rate // 100
seconds, voices = [], []
for start in range(0, len(x), block_size):
    began = time.perf_counter()
    voices.append(stream.process(x[start : start + block_size]))
    seconds.append(time.perf_counter() - began)
voices.append(stream.flush())
voices = np.concatenate(voices)
print(f"slowest block: {1000 * max(seconds):.1f} ms")
print(f"real-time factor: {sum(seconds) * rate / len(x):.3f}")

# %%
# It is what the pipeline gives for the whole recording.

difference = abs(voices - pipeline.fit_transform(x)).max()
print(f"largest difference: {difference:.0e}")

# %%
# An online separator learns while it listens. The second half is separated better.

middle = len(x) // 2
for name, half in [("first", slice(middle)), ("second", slice(middle, None))]:
    gain = si_sdr_improvement(recording.references[half], voices[half], x[half])
    print(f"{name} half: {gain.mean():.1f} dB better than the microphone")

# %%
# The state of the stream is made of plain arrays. Saved now and then, it lets another
# process go on where this one was stopped, to the same bits. For loops over blocks
# there is a generator, which flushes at the end.

stream.reset()
blocks = [x[k : k + 1000] for k in range(0, len(x), 1000)]
for block in blocks[:50]:
    stream.process(block)
resumed = Stream(pipeline).set_state(stream.get_state())
rest = np.concatenate(list(resumed.blocks(blocks[50:])))
print(f"{len(rest)} samples after the interruption")

# %%
# A moving source
# ---------------
#
# Now the device is turned by some 25 degrees in the middle of the recording: sound
# reaches the second microphone, 5 cm beside the first, one sample later. For the
# separator that is as if both voices moved. We repeat the recording, to have some time
# before and after.

from skbss.inspection import FramewiseDisplay

turned = np.column_stack([x[:, 0], np.roll(x[:, 1], 1)])
moving = np.concatenate([x, x, turned, turned])
references = np.tile(recording.references, (4, 1))
separated = np.concatenate(list(Stream(pipeline).blocks(np.array_split(moving, 500))))

# %%
# Separation suffers when it happens and comes back over the next ten seconds. How fast
# is up to ``forget``, the memory of the separator.

display = FramewiseDisplay.from_predictions(
    references,
    separated,
    mixture=moving,
    sample_rate=rate,
    window=2.0,
    moves=[len(moving) / 2 / rate],
)
