"""Measure the peak memory of separating a long recording, in spectrograms.

Run ``python benchmarks/bench_memory.py`` (minutes; Linux only). Every run is a process
of its own: it separates a short recording first, so that what is loaded once isn't
counted, then a long one, and prints how far its resident memory rose above what it was
before, in units of the largest spectrogram. The rise of every step is above the memory
before the pipeline too: it holds what the steps before have left.
"""

# License: BSD-3-Clause

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from skbss import Spectrogram, make_separator
from skbss.compose import METHODS
from skbss.methods import flat_steps

SAMPLE_RATE = 16000


def main():
    args = parse_arguments()
    if args.child:
        separate(args)
        return
    command = [sys.executable, *sys.argv, "--child"]
    peaks = []
    for _ in range(args.runs):
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(output.stdout, flush=True)
        peaks.append(float(output.stdout.split()[-2]))
    print(f"Peaks of {args.runs} runs: {min(peaks):.2f} .. {max(peaks):.2f}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=METHODS, default="refined")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--mics", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--max-iter", type=int, help="default: the pipeline's own")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def resident(key):
    """Resident memory of this process in bytes: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


def separate(args):
    """Run the steps of the pipeline as fit_transform does; print the peak of each."""
    pipeline = make_separator(args.method, sample_rate=SAMPLE_RATE, random_state=0)
    names = [k for k in pipeline.get_params() if k.endswith(("max_iter", "init_iter"))]
    if args.max_iter:
        pipeline.set_params(**dict.fromkeys(names, args.max_iter))
    rng = np.random.default_rng(0)
    n_samples = round(60 * args.minutes * SAMPLE_RATE)
    x = rng.laplace(size=(n_samples, args.mics)).astype(args.dtype)
    periods = 4000 + 5000 * np.arange(args.mics)
    x *= 1 + np.sin(np.arange(n_samples)[:, None] / periods)
    pipeline.fit_transform(x[:20000])

    before = resident("VmRSS")
    largest, peaks = 0, {}
    data = x
    for name, step in flat_steps(pipeline):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts at what is now
        data = step.fit_transform(data)
        peaks[name] = resident("VmHWM") - before
        if isinstance(data, Spectrogram):
            largest = max(largest, data.data.nbytes)
    assert data.shape == x.shape
    assert np.isfinite(data).all()
    print(f"{args.method}, {args.minutes} minutes, {args.mics} microphones, {x.dtype}")
    print(f"spectrogram {largest / 1e6:.0f} MB; peaks:")
    for name, peak in peaks.items():
        print(f"    {name:24}{peak / largest:5.2f}")
    print(f"    {max(peaks.values()) / largest:.2f} spectrograms")


if __name__ == "__main__":
    main()
