"""Choose the defaults of the online separators on scenes: improvement per quarter.

Run ``python benchmarks/search_online.py SCENE_FOLDER ...`` on folders as scenes.py
makes them. Printed is the mean SI-SDR improvement in dB in each quarter of the
recordings, at microphone 0, for every setting of a small grid around the defaults, and
the median time to +3 dB, both as online_quality.py has them. The constants of the
package that decide on the start are searched with ``--method constants``.

Single scenes differ by some dB from rounding alone, where they settle in one local
optimum or another: compare means of some thirty scenes.
"""

# License: BSD-3-Clause

import argparse

from online_quality import report, score, separate
from scenes import load_scene
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from skbss import OnlineAuxIVA, OnlineILRMA
from skbss.separators import _online

TAU = [3.0, 5.3, 8.0]  # seconds
GRIDS = {
    "auxiva": (
        OnlineAuxIVA(),
        [
            {"tau": TAU},
            {"inner_iter": [2, 5]},
            {"lookback": [1, 16, 32, 128]},
            {"source": ["laplace"], "spatial": ["ip1"]},
            {"spatial": ["iss1"]},
        ],
    ),
    "ilrma": (
        OnlineILRMA(random_state=0),
        [
            {"tau": [5.3]},
            {"blend": [0.0, 0.5, 1.0]},
            {"basis_forget": [0.9995]},
            {"n_basis": [1, 4]},
        ],
    ),
    "constants": (
        OnlineAuxIVA(),
        [{"PEAK": [3.0, 10.0, 30.0, 100.0]}, {"LOADING": [0.1, 0.3]}],
    ),
}
CONSTANTS = {name: getattr(_online, name) for name in ("PEAK", "LOADING")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", help="scenes")
    parser.add_argument("--method", choices=list(GRIDS), default="auxiva")
    parser.add_argument("--n-fft", type=int, default=2048)
    parser.add_argument("--hop-length", type=int, default=512)
    parser.add_argument("--each", action="store_true", help="show every scene")
    args = parser.parse_args()
    scenes = [load_scene(folder) for folder in args.folders]
    print("quarter 1 to 4, mean, and the median time to +3 dB")
    separator, grid = GRIDS[args.method]
    for params in ParameterGrid(grid):
        settings = dict(params)
        tau = settings.pop("tau", 5.3)
        for name, value in CONSTANTS.items():
            setattr(_online, name, settings.pop(name, value))
        rate = scenes[0].sample_rate
        settings["forget"] = 1 - args.hop_length / (rate * tau)
        estimator = clone(separator).set_params(**settings)
        scores = []
        for scene in scenes:
            estimate = separate(estimator, scene, args.n_fft, args.hop_length)
            scores.append(score(scene, estimate))
        report(str(params), scores, each=args.folders if args.each else None)


if __name__ == "__main__":
    main()
