# License: BSD-3-Clause

"""
Separate a recording block by block
===================================

A microphone array delivers blocks of samples, and the separated voices are wanted as
soon as possible. :class:`~skbss.OnlineSeparator` learns from the newest seconds of
sound, and filters what comes. Nothing has to be known about the blocks: any sizes do.
"""

# %%
# The latency is a parameter. Of n samples that went in, exactly n less the latency have
# come out.

import time

import numpy as np

from skbss import OnlineSeparator, Stream
from skbss.datasets import load_cocktail_party
from skbss.metrics import si_sdr_improvement

recording = load_cocktail_party()
x, rate = recording.mixture.astype(np.float32), recording.sample_rate
stream = Stream(OnlineSeparator(rate, latency=0.128))
print(f"latency: {stream.latency} samples, {1000 * stream.latency_seconds:.0f} ms")

# %%
# The recording comes in blocks of 10 ms. What is learned is worked out in another
# thread. Here blocks come as fast as they are done, so that some wait for what is being
# learned; they don't while sound is recorded.

block_size = rate // 100
seconds, blocks = [], []
for start in range(0, len(x), block_size):
    began = time.perf_counter()
    blocks.append(stream.process(x[start : start + block_size]))
    seconds.append(time.perf_counter() - began)
blocks.append(stream.flush())
voices = np.concatenate(blocks)
print(f"slowest block: {1000 * max(seconds):.1f} ms")
print(f"real-time factor: {sum(seconds) * rate / len(x):.3f}")

# %%
# It is what the separator gives for the whole recording, to the same bits: nothing
# depends on how it was cut.

whole = OnlineSeparator(rate, latency=0.128).fit_transform(x)
print(f"largest difference: {abs(voices - whole).max():.0e}")

# %%
# In the first two seconds outputs share the microphone. Then separation begins, and is
# better the more has been heard.

for begin, end in [(0, 2), (2, 4), (4, 6), (6, 8)]:
    part = slice(begin * rate, end * rate)
    gain = si_sdr_improvement(recording.references[part], voices[part], x[part])
    print(f"seconds {begin} to {end}: {gain.mean():4.1f} dB better than the microphone")

# %%
# The state of the stream is made of plain arrays. Saved now and then, it lets another
# process go on where this one was stopped, to the same bits. For loops over blocks
# there is a generator, which flushes at the end.

stream.reset()
blocks = [x[k : k + 1000] for k in range(0, len(x), 1000)]
for block in blocks[:50]:
    stream.process(block)
resumed = Stream(OnlineSeparator(rate)).set_state(stream.get_state())
rest = np.concatenate(list(resumed.blocks(blocks[50:])))
print(f"{len(rest)} samples after the interruption")

# %%
# A jump
# ------
#
# Now the device is turned by some 25 degrees in the middle of the recording: sound
# reaches the second microphone, 5 cm beside the first, one sample later. For the
# separator that is as if both voices moved. We repeat the recording, to have some time
# before and after, and allow for a latency of a second.

from skbss.inspection import FramewiseDisplay

turned = np.column_stack([x[:, 0], np.roll(x[:, 1], 1)])
moving = np.concatenate([x, x, turned, turned])
references = np.tile(recording.references, (4, 1))
separator = OnlineSeparator(rate, latency=1.0)
separated = separator.fit_transform(moving)
print(f"jumps that were noticed: {separator.n_jumps_}")

# %%
# When the outputs become coherent, the old place is forgotten. Outputs share the
# microphone until something is known of the new one, and are separated again then.

display = FramewiseDisplay.from_predictions(
    references,
    separated,
    mixture=moving,
    sample_rate=rate,
    window=2.0,
    moves=[len(moving) / 2 / rate],
)
