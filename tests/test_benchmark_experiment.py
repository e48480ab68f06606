"""Experiments: what a YAML file says, and what it must not say."""

# License: BSD-3-Clause

import re
from importlib import resources

import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import FastICA
from sklearn.pipeline import Pipeline, make_pipeline

from skbss import ILRMA, ISTFT, STFT, ProjectionBack
from skbss.benchmark import (
    load_experiment,
    make_experiment,
    make_method,
    register_method,
)
from skbss.config import ConfigError, save_yaml
from skbss.datasets import make_convolutive_mixture

BUILT_IN = [
    "auxiva",
    "ilrma",
    "refined",
    "blocks",
    "masks",
    "walkers",
    "blockauxiva",
    "blockilrma",
    "onlineauxiva",
    "onlineilrma",
    "onlineisnmf",
]


def config(**sections):
    return {"dataset": "cocktail_party", "methods": ["auxiva", "ilrma"]} | sections


def names(experiment):
    return [candidate.name for candidate in experiment.candidates]


def test_template_is_an_experiment_of_defaults(tmp_path):
    text = resources.files("skbss.benchmark").joinpath("template.yaml").read_text()
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    experiment = load_experiment(path)
    assert experiment.config["name"] == "experiment"
    defaults = make_experiment(config()).config
    for section in ("stft", "metrics", "runtime"):
        assert experiment.config[section] == defaults[section]
    assert names(experiment) == [
        "auxiva",
        "ilrma,n_basis=2",
        "ilrma,n_basis=4",
        "fast",
        "steps,forget=0.98",
        "steps,forget=0.994",
    ]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"metods": []}, "unknown key 'metods'. Did you mean 'methods'?"),
        ({"methods": None}, "no key 'methods'"),
        ({"methods": {}}, "no key 'methods'"),
        ({"methods": ["auxiva", "auxiva"]}, "'auxiva' twice"),
        ({"methods": ["auxivo"]}, "unknown method 'auxivo'. Did you mean 'auxiva'?"),
        ({"methods": {"a": {"method": "ilrm"}}}, "In methods.a: Got unknown method"),
        ({"methods": {"auxiva": 3}}, "methods.auxiva=3, expected a mapping"),
        (
            {"methods": {"auxiva": {"parms": {}}}},
            "'methods.auxiva.parms'. Did you mean 'methods.auxiva.params'?",
        ),
        (
            {"methods": {"auxiva": {"params": {"auxiva.max_it": 3}}}},
            "In methods.auxiva: Got unknown parameter 'auxiva.max_it'. Did you mean "
            "'auxiva.max_iter'?",
        ),
        (
            {"methods": {"auxiva": {"params": {"auxiva": {"max_iter": -3}}}}},
            "In methods.auxiva: The 'max_iter' parameter of AuxIVA must be",
        ),
        (
            {"methods": {"ilrma": {"grid": {"ilrma.n_basis": 2}}}},
            "methods.ilrma.grid.ilrma.n_basis=2, expected a list",
        ),
        (
            {"methods": {"ilrma": {"grid": {"ilrma.n_basis": [2, "two"]}}}},
            "The 'n_basis' parameter of ILRMA must be an int",
        ),
        (
            {
                "methods": {
                    "blockilrma": {"params": {"blockbatch.estimator.ilrma.tol": -1}}
                }
            },
            "The 'tol' parameter of ILRMA must be",
        ),
        (
            {"methods": {"a": {"pipeline": ["STFT", "AuxIva"]}}},
            "unknown step 'AuxIva'. Did you mean 'AuxIVA'?",
        ),
        ({"methods": {"a": {"pipeline": []}}}, "methods.a.pipeline=[], expected a"),
        (
            {"methods": {"a": {"pipeline": ["STFT"], "method": "ilrma"}}},
            "both methods.a.method and methods.a.pipeline",
        ),
        ({"methods": {"a": {"method": "skbss:AuxIVO"}}}, "which is not in skbss. Did"),
        ({"methods": {"a": {"method": "nowhere:A"}}}, "import method 'nowhere:A'"),
        ({"methods": {"a": {"method": "math:pi"}}}, "'math:pi', which is a float"),
        ({"stft": {"n_fft": 0}}, "The 'n_fft' parameter of STFT must be"),
        ({"stft": {"hop_length": 9000}}, "isn't invertible"),
        ({"stft": {"nfft": 512}}, "'stft.nfft'. Did you mean 'stft.n_fft'?"),
        ({"stft": 512}, "stft=512, expected a mapping"),
        ({"dataset": {"limit": 2}}, "no key 'dataset.name'"),
        ({"dataset": "coctail_party"}, "Did you mean 'cocktail_party'?"),
        ({"dataset": {"name": "scenes"}}, "without its parameter 'folder'"),
        (
            {"dataset": {"name": "convolutive", "n_scene": 2}},
            "unknown parameter 'n_scene' of data set 'convolutive'. Did you mean",
        ),
        ({"metrics": ["si_sd"]}, "unknown metric 'si_sd'. Did you mean"),
        ({"metrics": ["si_sdr", "si_sdr"]}, "expected a list of names"),
        ({"metrics": {"si_sdr": 1}}, "expected a list of names"),
        ({"runtime": {"njobs": 2}}, "'runtime.njobs'. Did you mean 'runtime.n_jobs'?"),
        ({"runtime": {"n_jobs": 0}}, "Got runtime.n_jobs=0, expected an int"),
        ({"runtime": {"seed": None}}, "Got runtime.seed=None, expected an int"),
        ({"runtime": {"save_audio": "yes"}}, "Got runtime.save_audio='yes', expected"),
        ({"runtime": {"backend": "lokey"}}, "runtime.backend='lokey'. Did you mean"),
        ({"runtime": {"scheduler": "tcp://x"}}, "expected the backend 'dask'"),
        ({"runtime": {"framewise": {"windo": 1}}}, "In runtime.framewise: "),
        ({"runtime": {"framewise": {"window": -1}}}, "In runtime.framewise: "),
    ],
)
def test_refusals(sections, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_experiment(config(**sections))


def test_refusals_name_the_file(tmp_path):
    path = tmp_path / "experiment.yaml"
    save_yaml(path, config(metods=[]))
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: Got unknown key"):
        load_experiment(path)
    with pytest.raises(ConfigError, match=r"^Cannot read .*nowhere\.yaml"):
        load_experiment(tmp_path / "nowhere.yaml")


def test_candidates_are_sets_of_parameters():
    sections = {
        "stft": {"n_fft": 1024},
        "methods": {
            "ilrma": {
                "params": {"ilrma": {"max_iter": 7}},
                "grid": {"ilrma.n_basis": [2, 4], "stft.window": ["hann", "hamming"]},
            },
            "refined": {
                "grid": {
                    "first.refine.max_iter": [1],
                    "second.stage.refine.max_iter": [2],
                }
            },
        },
    }
    experiment = make_experiment(config(**sections))
    assert names(experiment) == [
        "ilrma,n_basis=2,window=hann",
        "ilrma,n_basis=2,window=hamming",
        "ilrma,n_basis=4,window=hann",
        "ilrma,n_basis=4,window=hamming",
        "refined,first.refine.max_iter=1,second.stage.refine.max_iter=2",
    ]
    candidate = experiment.candidates[3]
    assert candidate.method == "ilrma"
    assert candidate.params == {"ilrma.n_basis": 4, "stft.window": "hamming"}
    pipeline = candidate.make(8000, ref_mic=1, seed=17)
    assert pipeline["stft"].get_params() == {
        "n_fft": 1024,
        "hop_length": None,
        "window": "hamming",
        "sample_rate": 8000,
        "min_frames": 50,
    }
    assert pipeline["ilrma"].n_basis == 4
    assert pipeline["ilrma"].max_iter == 7
    assert pipeline["ilrma"].random_state == 17
    assert pipeline["projectionback"].ref_mic == 1
    # Windows that experiments leave open depend on the rate of the recording.
    open_window = make_experiment(config()).candidates[0]
    assert open_window.make(8000)["stft"].n_fft == 4096
    assert open_window.make(48_000)["stft"].n_fft == 32_768


class Labeled(TransformerMixin, BaseEstimator):
    """A parameter that may be anything."""

    def __init__(self, label=""):
        self.label = label


def labeled(labels):
    register_method("labeled", Labeled)
    return config(methods={"labeled": {"grid": {"labeled.label": labels}}})


def test_names_are_safe_as_names_of_folders():
    labels = ["../a", "b/c", ".", "d, e", "x" * 300, "y" * 300, 1.5, None, "é"]
    found = names(make_experiment(labeled(labels)))
    for name in found:
        assert re.fullmatch(r"labeled,label=[\w.=+-]*", name)
        assert len(name.encode()) <= 120
    assert len(set(found)) == len(labels)


@pytest.mark.parametrize("labels", [["a/b", "a_b"], ["a", "A"]])
def test_candidates_whose_folders_would_be_the_same_are_refused(labels):
    with pytest.raises(ConfigError, match="Got two candidates 'labeled,label="):
        make_experiment(labeled(labels))


def test_overrides():
    experiment = make_experiment(
        config(),
        overrides=[
            "dataset.duration=2",
            "stft.n_fft=512",
            "ilrma.n_basis=3",
            "methods.auxiva.params.auxiva.max_iter=9",
            "metrics=[si_sir]",
            "runtime.seed=5",
            "name=other",
        ],
        grids=["projectionback.ref_mic=0,1", "methods.ilrma.ilrma.max_iter=[1]"],
    )
    assert experiment.config["dataset"] == {"name": "cocktail_party", "duration": 2}
    assert experiment.config["name"] == "other"
    assert experiment.runtime["seed"] == 5
    assert list(experiment.metrics) == ["si_sir"]
    assert names(experiment) == [
        "auxiva,ref_mic=0",
        "auxiva,ref_mic=1",
        "ilrma,ref_mic=0,max_iter=1",
        "ilrma,ref_mic=1,max_iter=1",
    ]
    auxiva, *_, ilrma = (c.make(16_000) for c in experiment.candidates)
    assert auxiva["auxiva"].max_iter == 9
    assert auxiva["stft"].n_fft == ilrma["stft"].n_fft == 512
    assert ilrma["ilrma"].n_basis == 3


def test_a_value_takes_the_place_of_a_grid():
    methods = {"ilrma": {"grid": {"ilrma.n_basis": [2, 4]}}}
    experiment = make_experiment(config(methods=methods), overrides=["ilrma.n_basis=3"])
    assert names(experiment) == ["ilrma"]


@pytest.mark.parametrize(
    ("overrides", "grids", "message"),
    [
        (["dataset.limt=2"], [], "unknown parameter 'limt'"),
        (["ilrma.n_bas=2"], [], "unknown name 'ilrma.n_bas'. Did you mean"),
        ([], ["ilrma.n_bas=2,4"], "unknown name 'ilrma.n_bas'. Did you mean"),
        ([], ["ilrma.n_basis="], "expected NAME=VALUE"),
        ([], ["ilrma.n_basis=2,four"], "The 'n_basis' parameter of ILRMA"),
        ([], ["methods.ilrm.ilrma.n_basis=2"], "unknown method 'ilrm'. Did you mean"),
        (["methods.ilrma.parms.ilrma.tol=1"], [], "key 'methods.ilrma.parms'. Did"),
        (["runtime.sed=1"], [], "unknown key 'runtime.sed'. Did you mean"),
        (["runtime"], [], "expected NAME=VALUE"),
    ],
)
def test_refused_overrides(overrides, grids, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_experiment(config(), overrides=overrides, grids=grids)


def test_what_is_saved_is_the_same_experiment(tmp_path):
    experiment = make_experiment(
        config(methods={"a": {"pipeline": ["STFT", "AuxIVA", "ISTFT"]}, "ilrma": None}),
        overrides=["ilrma.tol=1e-4", "runtime.n_jobs=2"],
        grids=["ilrma.n_basis=2,4"],
    )
    path = tmp_path / "experiment.yaml"
    save_yaml(path, experiment.config)
    again = load_experiment(path)
    assert again.config == experiment.config
    assert again.fingerprint == experiment.fingerprint


def test_fingerprint_is_of_what_numbers_depend_on():
    def fingerprint(*overrides):
        return make_experiment(config(), overrides=overrides).fingerprint

    assert fingerprint() == fingerprint("runtime.n_jobs=2", "runtime.backend=loky")
    different = [
        "runtime.seed=1",
        "runtime.threads=2",
        "ilrma.n_basis=4",
        "dataset.duration=1",
        "metrics=[si_sdr]",
        "runtime.save_audio=false",
    ]
    assert len({fingerprint(), *map(fingerprint, different)}) == 1 + len(different)


def test_seeds_depend_on_names_alone():
    few = make_experiment(config(methods=["ilrma"]))
    many = make_experiment(config(), grids=["auxiva.max_iter=1,2"])
    assert few.seed("a", "ilrma") == many.seed("a", "ilrma")
    other = make_experiment(config(), overrides=["runtime.seed=1"])
    seeds = [
        few.seed("a", "ilrma"),
        few.seed("b", "ilrma"),
        few.seed("a", "auxiva"),
        other.seed("a", "ilrma"),
    ]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("method", BUILT_IN)
def test_methods_separate(method):
    x, y = make_convolutive_mixture(4000, sample_rate=8000, random_state=0)
    pipeline = make_method(method, sample_rate=4000, random_state=0)
    assert isinstance(pipeline, Pipeline)
    first = pipeline.fit_transform(x)
    assert first.shape == y.shape
    assert (clone(pipeline).fit_transform(x) == first).all()


def test_as_many_sources_as_microphones():
    x, _ = make_convolutive_mixture(4000, 3, sample_rate=8000, random_state=0)
    for method in ("onlineisnmf", "auxiva"):
        pipeline = make_method(method, sample_rate=8000, random_state=0, n_mics=3)
        assert pipeline.fit_transform(x).shape == x.shape


def test_ref_mic_reaches_the_output():
    x, _ = make_convolutive_mixture(4000, sample_rate=8000, random_state=0)
    for method in ("onlineisnmf", "auxiva"):
        y = make_method(method, sample_rate=8000, ref_mic=1, random_state=0)
        # Both sum to the microphone, in double precision.
        total = y.fit_transform(x).sum(axis=1)
        assert abs(total - x[:, 1]).max() < 1e-9 * abs(x).max()


def test_methods_of_users(monkeypatch):
    register_method("mine", lambda sample_rate: make_pipeline(STFT(256), ISTFT()))
    register_method("ica", FastICA)
    shared = make_pipeline(STFT(), ILRMA(), ProjectionBack(), ISTFT())
    register_method("shared", lambda: shared)
    methods = {
        "mine": None,
        "ica": {"grid": {"fastica.fun": ["cube", "exp"]}},
        "shared": None,
        "by_path": {"method": "sklearn.decomposition:FastICA"},
        "steps": {"pipeline": ["STFT", "sklearn.decomposition:PCA", "ISTFT"]},
    }
    experiment = make_experiment(config(methods=methods))
    assert names(experiment)[1:3] == ["ica,fun=cube", "ica,fun=exp"]
    made = {c.name: c.make(16_000, seed=3) for c in experiment.candidates}
    assert made["by_path"][0].random_state == 3
    assert made["steps"]["pca"].random_state == 3
    assert made["steps"]["stft"].sample_rate == 16_000
    assert made["shared"]["ilrma"].random_state == 3
    assert shared["ilrma"].random_state is None
    with pytest.raises(TypeError, match="Got factory=3"):
        register_method("three", 3)
    with pytest.raises(ConfigError, match="but skbss has one of this name"):
        register_method("auxiva", FastICA)
