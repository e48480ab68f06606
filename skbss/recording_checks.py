"""What is wrong with a recording as a whole, in one sentence each, with the remedy."""

# License: BSD-3-Clause

import numpy as np

from skbss.spectrogram import window_length
from skbss.transforms import STFT
from skbss.transforms.alignment import PROMINENCE
from skbss.updates.clocks import look_at_clocks
from skbss.updates.delays import find_delays
from skbss.updates.walks import BAND, BLOCK, WINDOW, Phases, gain_of_lines

# Seconds of a recording that are looked at, from its middle.
SECONDS = 10.0
# Channels whose difference, after the best gain, is so much weaker (60 dB) are one.
SAME = 1e-6
# A channel that others explain up to so much (50 dB) is a mix of them.
MIXED = 1e-5
LOADING = 1e-9
# Delays in seconds, and offsets of clocks, that windows of 512 ms don't cover, and by
# how many nats per bin a clock has to be likelier than none. Clocks that are 5 parts
# per million apart gave 9 and more in eleven rooms, talkers who jumped up to 6.1 in
# twelve.
LONGEST_DELAY = 0.05
LARGEST_OFFSET = 3e-6
LIKELIER = 7.0
# Share of the samples that stay within a thousandth of the peak that tells of clipping,
# and how often that happens at least.
CLIPPED = 5e-4
OFTEN = 5
# Fewest seconds of a recording, and for each microphone.
SHORTEST = 0.2
SECONDS_EACH = 0.1
# Seconds from which on delays and clocks can be told.
LEAST_SECONDS = 1.5
# Seconds in which walks can be told, at least and at most, and steps of the grid of
# delays to each side of zero.
WALK_SECONDS, WALK_SIDE = (30, 60), 15
# By how much ways have to explain what is heard better than places, and how many nats
# per block there have to be. Thirteen recordings of two who walk gave 1.1 to 6 %. Those
# of people who stay gave 0.3 % at most: 24 minutes of meetings of two to four, 38
# scenes of two to four talkers, some of them with noise.
WALKS, HEARD = 0.007, 5.0


def recording_problems(x, sample_rate, ref_mic=0, still=True):
    """Say what is wrong with a recording.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        The recording.
    sample_rate : float
        In Hz.
    ref_mic : int, default=0
        The reference microphone, with which others are compared.
    still : bool, default=True
        Whether people should stay in their places.

    Returns
    -------
    problems : list of str
        Sentences with what to do, most often none.
    """
    n_samples, n_mics = x.shape
    duration = n_samples / sample_rate
    if n_mics < 2:
        return [
            "The recording has a single microphone: nothing is separated, since "
            "sources are told apart by how they arrive at several microphones."
        ]
    problems = []
    if duration < max(SHORTEST, SECONDS_EACH * n_mics):
        problems.append(
            f"The recording has {duration:.1f} s for {n_mics} microphones, too little "
            "to learn from: give at least "
            f"{max(SHORTEST, SECONDS_EACH * n_mics):.1f} s, or fewer microphones."
        )
    n = min(n_samples, round(SECONDS * sample_rate))
    start = (n_samples - n) // 2
    part = x[start : start + n].astype(float)
    part /= abs(part).max() or 1
    problems += _clipping(part)
    alike = _alike(part)
    problems += alike
    if not alike and duration >= LEAST_SECONDS:
        problems += _clocks(part, sample_rate, ref_mic)
    if not problems and still:
        problems += _walks(x, sample_rate, ref_mic)
    return problems


def _clipping(x):
    """Look for samples at the peak that follow one at the peak."""
    at_peak = np.zeros(x.shape[1])
    for mic, channel in enumerate(x.T):
        low, high = channel.min(), channel.max()
        peak = abs(channel) >= 0.999 * max(high, -low)
        stays = peak[1:] & peak[:-1] & (channel[1:] * channel[:-1] > 0)
        stays = np.flatnonzero(stays)
        n_times = np.count_nonzero(np.diff(stays, prepend=-2) > 1)
        at_peak[mic] = len(stays) / len(x) if n_times >= OFTEN and high > low else 0
    clipped = np.flatnonzero(at_peak > CLIPPED)
    if not len(clipped):
        return []
    return [
        f"{_name(clipped)} clipped in {at_peak[clipped].max():.1%} of the samples, "
        "which leaks into all outputs: record with less gain."
    ]


def _alike(x):
    """Compare channels, and channels with mixes of all others, at zero delay."""
    C = x.T @ x
    power = np.diag(C)
    living = np.flatnonzero(power > 1e-12 * power.max())
    for i, m in enumerate(living):
        for other in living[i + 1 :]:
            rest = 1 - C[m, other] ** 2 / (power[m] * power[other])
            if rest < SAME:
                return [
                    f"Microphones {m} and {other} are the same signal, so that sources "
                    "cannot be told apart by them: leave one of them out, and check "
                    "that the recorder isn't set to mono."
                ]
    if len(living) < 3:
        return []
    scaled = C[np.ix_(living, living)] / np.sqrt(np.outer(power[living], power[living]))
    regular = scaled + LOADING * np.eye(len(living))
    rest = 1 / np.maximum(np.diag(np.linalg.inv(regular)), 1)
    mixed = living[rest < MIXED]
    if len(mixed) < 2:
        return []
    return [
        f"Channel {mixed.max()} is a mix of others, as recorders write it beside their "
        "microphones: leave it out."
    ]


def _clocks(x, sample_rate, ref_mic):
    """Compare the times and the clocks of all microphones with those of a reference."""
    delays, prominences = find_delays(x, ref_mic, round(2 * sample_rate))
    heard = prominences > 3 * PROMINENCE
    delays = np.where(heard, delays, 0) / sample_rate
    late = int(abs(delays).argmax())
    if abs(delays[late]) > LONGEST_DELAY:
        delay = delays[late]
        return [
            f"Microphone {late} is {abs(delay) * 1000:.0f} ms "
            f"{'after' if delay > 0 else 'before'} microphone {ref_mic}, more than "
            "windows cover: align them first, by AlignChannels or --align."
        ]
    offsets, gains = look_at_clocks(x, ref_mic, sample_rate, 200e-6)
    offsets = np.where(gains > LIKELIER, offsets, 0)
    mic = int(abs(offsets).argmax())
    if abs(offsets[mic]) < LARGEST_OFFSET:
        return []
    return [
        f"The clocks of microphones {ref_mic} and {mic} are about "
        f"{abs(offsets[mic]) * 1e6:.0f} parts per million apart: bring them together "
        "first, by ResampleChannels or --align."
    ]


def _walks(x, sample_rate, ref_mic):
    """Look for delays that change all the time, between the reference and another."""
    least, most = (round(seconds * sample_rate) for seconds in WALK_SECONDS)
    if len(x) < least:
        return []
    start = max(0, (len(x) - most) // 2)
    pair = x[start : start + most, [ref_mic, int(ref_mic == 0)]].astype(np.float32)
    pair /= abs(pair).max() or 1
    n_fft = window_length(sample_rate, WINDOW)
    X = STFT(n_fft, hop_length=n_fft // 2).fit_transform(pair).data
    freqs = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    n_frames = max(1, round(BLOCK * sample_rate / (n_fft // 2)))
    bins = np.flatnonzero(freqs <= BAND[1])[::4]
    phases = Phases(X[:, bins], freqs[bins])
    longest = phases.longest_delay(n_frames, 2 * WALK_SIDE, every=1)
    delays = longest * np.linspace(-1, 1, 2 * WALK_SIDE + 1)
    singles = phases.singles(n_frames, delays, every=1)
    if np.maximum(singles.max(1), 0).mean() < HEARD or gain_of_lines(singles) < WALKS:
        return []
    return [
        "People seem to walk all the time, for whom filters that stay the same are too "
        "slow: '--method walkers' follows two of them, and MaskSeparator, which is "
        "'--method masks', goes by direction alone."
    ]


def _name(mics):
    if len(mics) == 1:
        return f"Microphone {mics[0]} is"
    return f"Microphones {', '.join(map(str, mics))} are"
