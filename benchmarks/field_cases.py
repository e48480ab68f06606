"""What recorders do to recordings, and what is left of their separation.

Run ``python benchmarks/field_cases.py SCENES`` with a folder of scenes as
`skbss.datasets.SceneFolder` reads them; without one, rooms are simulated (the extra
``rooms``). Each row spoils every scene in one way, separates it, and shows the mean
SI-SDR in dB of the sources at the first microphone, outside of what was cut out.

``--unmended`` switches off what mends recordings without being asked, and ``--mend``
aligns and resamples, which has to be asked for. ``--save FILE`` keeps the figures, and
``--before FILE`` shows those of such a run beside the new ones. Warnings are counted:
the last column is how many scenes had one.
"""

# License: BSD-3-Clause

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from skbss import AlignChannels, ResampleChannels, make_separator
from skbss.datasets import SceneFolder, load_dataset
from skbss.metrics import si_sdr

CASES = {}


def case(name):
    """Register a function that spoils a recording under a name."""

    def register(function):
        CASES[name] = function
        return function

    return register


def rms(x):
    """Root mean square of a recording."""
    return np.sqrt(np.square(x).mean())


def span(x, rate, seconds, start=0.45):
    """Return the samples of a stretch from a fraction of the recording on."""
    begin = int(start * len(x))
    return slice(begin, begin + int(seconds * rate))


def outside(x, *spans):
    """Mask of the samples that don't lie in spans."""
    keep = np.ones(len(x), bool)
    for one in spans:
        keep[one] = False
    return keep


@case("clean")
def clean(x, rate):
    """Nothing is spoiled."""
    return x, None


def missing(seconds, gain, mic=1, start=0.45):
    """One microphone is attenuated for some time."""

    def spoil(x, rate):
        where = span(x, rate, seconds, start)
        x[where, mic] *= gain
        return x, outside(x, where)

    return spoil


CASES["microphone 1 zero for 0.5 s"] = missing(0.5, 0)
CASES["microphone 0 zero for 0.5 s"] = missing(0.5, 0, mic=0)
CASES["microphone 1 at -60 dB for 0.5 s"] = missing(0.5, 1e-3)
CASES["microphone 1 zero for 0.1 s"] = missing(0.1, 0)
CASES["microphone 1 zero for 2 s"] = missing(2.0, 0)
CASES["microphone 1 starts 0.5 s late"] = missing(0.5, 0, start=0)


@case("microphone 1 ends 0.5 s early")
def ends_early(x, rate):
    """One microphone is padded with zeros at the end."""
    where = slice(len(x) - rate // 2, len(x))
    x[where, 1] = 0
    return x, outside(x, where)


@case("all microphones zero for 0.5 s")
def all_missing(x, rate):
    """All microphones are silent."""
    where = span(x, rate, 0.5)
    x[where] = 0
    return x, outside(x, where)


@case("five gaps of 0.2 s, microphones in turn")
def several(x, rate):
    """Take microphones away one after the other, as a loose plug does."""
    spans = [span(x, rate, 0.2, start) for start in (0.1, 0.25, 0.4, 0.6, 0.8)]
    for i, where in enumerate(spans):
        x[where, i % x.shape[1]] = 0
    return x, outside(x, *spans)


def burst(seconds, gain, mic=1):
    """Loud noise in one microphone."""

    def spoil(x, rate):
        where = span(x, rate, seconds)
        noise = np.random.default_rng(0).standard_normal(where.stop - where.start)
        x[where, mic] += gain * rms(x) * noise
        return x, outside(x, where)

    return spoil


CASES["burst of 50 ms, 30 dB, microphone 1"] = burst(0.05, 30)
CASES["burst of 50 ms, 30 dB, microphone 0"] = burst(0.05, 30, mic=0)
CASES["burst of 300 ms, 20 dB, microphone 1"] = burst(0.3, 10)


@case("full-scale click")
def click(x, rate):
    """One sample at full scale in one microphone."""
    where = span(x, rate, 0.001)
    x[where.start, 1] = 1
    return x, None


@case("clipped at a third of the peak")
def clipped(x, rate):
    """Too much gain."""
    limit = abs(x).max() / 3
    return np.clip(x, -limit, limit), None


def offset(value):
    """Return what adds a constant to one microphone."""

    def spoil(x, rate):
        x[:, 1] += value
        return x, None

    return spoil


CASES["offset 0.03, microphone 1"] = offset(0.03)
CASES["offset 0.1, microphone 1"] = offset(0.1)


@case("offset 0.1, both, different")
def offset_of_all(x, rate):
    """Different offsets of all converters."""
    return x + 0.1 * np.linspace(1, -0.5, x.shape[1]), None


@case("offset that drifts, 0.1 and infrasound of 2 Hz")
def drift(x, rate):
    """Add what a converter does that warms up, and wind."""
    t = np.arange(len(x)) / rate
    x[:, 1] += 0.1 * (1 - np.exp(-t / 3)) + 0.05 * np.sin(2 * np.pi * 2.1 * t)
    x[:, 0] += 0.05 * np.sin(2 * np.pi * 1.7 * t)
    return x, None


@case("hum of 50 Hz at the level of speech")
def hum(x, rate):
    """Add a hum with another phase and level in each microphone."""
    t = np.arange(len(x))[:, None] / rate
    phase = np.arange(x.shape[1])
    gain = np.sqrt(2) * rms(x) / (1 + phase)
    return x + gain * np.sin(2 * np.pi * 50.03 * t + phase), None


@case("hum of 50, 100 and 150 Hz, microphone 1")
def hum_with_overtones(x, rate):
    """Add a hum with overtones."""
    t = np.arange(len(x)) / rate
    for k, gain in ((1, 1.0), (2, 0.3), (3, 0.3)):
        x[:, 1] += gain * np.sqrt(2) * rms(x) * np.sin(2 * np.pi * 50.03 * k * t)
    return x, None


@case("silent reference microphone")
def silent_reference(x, rate):
    """Put a silent microphone first; sources are compared at the next one."""
    x = np.column_stack([np.zeros(len(x)), x])
    return x, "next"


@case("dual mono")
def dual_mono(x, rate):
    """Write one microphone twice."""
    return x[:, [0] * x.shape[1]], None


def later(seconds):
    """One recorder was started later: the other microphone is delayed."""

    def spoil(x, rate):
        n = int(seconds * rate)
        x[:, 1] = np.concatenate([np.zeros(n), x[: len(x) - n, 1]])
        # What one microphone lacks is at the end, after they are aligned.
        return x, outside(x, slice(0, n), slice(len(x) - n, len(x)))

    return spoil


for milliseconds in (100, 250, 500):
    CASES[f"delay of {milliseconds} ms"] = later(milliseconds / 1000)


def clock(ppm):
    """One recorder's clock is slow."""

    def spoil(x, rate):
        x[:, 1] = at_other_rate(x[:, 1], ppm * 1e-6)
        return x, outside(x, slice(len(x) - rate // 20, len(x)))

    return spoil


def at_other_rate(x, offset):
    """Read a signal at a rate that is too high by an offset, by long interpolation."""
    up = resample_poly(x, 16, 1)
    where = np.arange(len(x)) * (1 + offset) * 16
    first = np.minimum(where.astype(int), len(up) - 2)
    part = where - first
    return up[first] * (1 - part) + up[first + 1] * part


for ppm in (5, 20, 50, 100):
    CASES[f"clocks {ppm} ppm apart"] = clock(ppm)

MENDABLE = tuple(name for name in CASES if name.startswith(("delay", "clocks")))


def separate(x, rate, method, mend):
    """Separate a recording: 'asked' aligns it first, None leaves all as it is."""
    pipeline = make_separator(method, sample_rate=rate, random_state=0)
    if mend is None:
        pipeline.set_params(highpass=0, faults=False)
    if mend == "asked":
        for mender in (AlignChannels, ResampleChannels, AlignChannels):
            x = mender(sample_rate=rate).fit_transform(x)
    return pipeline.fit_transform(x)


def score(images, rate, method, spoil, mend):
    """SI-SDR of one scene in one case, and the number of warnings."""
    x, keep = spoil(images.sum(0).copy(), rate)
    references = images[:, :, 0].T
    extra = 0
    if isinstance(keep, str):
        keep, extra = None, x.shape[1] - images.shape[2]
    keep = slice(None) if keep is None else keep
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        y = separate(x, rate, method, mend)
    y = y[:, : y.shape[1] - extra] if extra else y
    if not np.isfinite(y).all():
        return np.nan, len(told)
    value = np.mean(si_sdr(references[keep], y[keep]))
    return float(value), len(told)


def read_scenes(folder, include, n_scenes):
    """Images (n_sources, n_samples, n_mics) and rates of scenes."""
    if folder is None:
        scenes = load_dataset("room", n_scenes=n_scenes, duration=10.0)
    else:
        scenes = SceneFolder(
            folder, include=include, limit=n_scenes, return_images=True
        )
    return [(scene.images, scene.sample_rate) for scene in scenes]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="?", type=Path, help="folder of scenes")
    parser.add_argument("--include", default="*", help="pattern of scene names")
    parser.add_argument("--n-scenes", type=int, default=2, help="how many at most")
    parser.add_argument("--method", default="refined", help="of make_separator")
    parser.add_argument("--cases", default="", help="part of the names of the rows")
    parser.add_argument(
        "--mend",
        action="store_const",
        const="asked",
        default="unasked",
        help="align and resample",
    )
    parser.add_argument(
        "--unmended", action="store_const", const=None, dest="mend", help="mend nothing"
    )
    parser.add_argument("--save", type=Path, help="file for the figures")
    parser.add_argument("--before", type=Path, help="file of earlier figures")
    args = parser.parse_args()
    scenes = read_scenes(args.scenes, args.include, args.n_scenes)
    before = json.loads(args.before.read_text()) if args.before else {}
    figures = {}
    for name, spoil in CASES.items():
        if args.cases not in name or (args.mend == "asked" and name not in MENDABLE):
            continue
        start = time.process_time()
        results = [score(*s, args.method, spoil, args.mend) for s in scenes]
        values, told = zip(*results, strict=True)
        figures[name] = float(np.mean(values))
        earlier = f"{before[name]:7.1f}" if name in before else " " * 7
        seconds = time.process_time() - start
        print(
            f"{name:48} {earlier} {figures[name]:7.1f} [{min(values):.1f}] "
            f"{sum(map(bool, told))} warned {seconds:6.1f} s",
            flush=True,
        )
        if args.save:
            args.save.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
