"""What an experiment or a run folder of strangers must not be able to do."""

# License: BSD-3-Clause

import os
import sys
from itertools import count

import numpy as np
import pytest
from run_folder import make_run, write_rows

from skbss.benchmark import (
    RunError,
    make_experiment,
    read_results,
    run_experiment,
    summarize,
    write_report,
)
from skbss.cli import main
from skbss.config import ConfigError
from skbss.datasets import load_dataset, make_convolutive_mixture, register_dataset

X, Y = make_convolutive_mixture(8000, sample_rate=8000, random_state=0)
SCENE = {"mixture": X, "references": Y, "sample_rate": 8000}
AUXIVA = {"method": "auxiva", "params": {"stft.n_fft": 256, "auxiva.max_iter": 2}}
_numbers = count()


class OneScene:
    """A data set of a user's own, whose names nobody has checked."""

    def __init__(self, name):
        self.names = [name]

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return SCENE | {"name": self.names[index]}


def run(folder, name, candidate="auxiva"):
    dataset = f"safety_{next(_numbers)}"
    register_dataset(dataset, lambda: OneScene(name))
    config = {"dataset": dataset, "methods": {candidate: AUXIVA}}
    run_experiment(make_experiment(config), folder)


@pytest.mark.parametrize("name", ["os:system", "subprocess:call", "builtins:exec"])
def test_python_s_library_has_no_data_sets(name):
    with pytest.raises(ConfigError, match=r"of Python's own library"):
        load_dataset(name)
    with pytest.raises(ConfigError, match=r"of Python's own library"):
        make_experiment(
            {"dataset": "cocktail_party", "methods": {"a": {"method": name}}}
        )


@pytest.mark.parametrize("name", ["numpy:load", "joblib:load", "yaml:unsafe_load"])
def test_nothing_loads_pickles(name):
    with pytest.raises(ConfigError, match=f"which is of {name.split(':')[0]}"):
        load_dataset(name, file="data.npy", allow_pickle=True)


def test_a_factory_that_cannot_be_called_is_told():
    mine = {"method": "tests.test_benchmark_safety:run"}
    with pytest.raises(ConfigError, match=r"In methods\.mine: run\(\) missing"):
        make_experiment({"dataset": "cocktail_party", "methods": {"mine": mine}})


@pytest.mark.parametrize("name", ["..", "../above", "/tmp/absolute", "a/b", ""])
def test_recordings_stay_in_the_run_folder(tmp_path, name):
    with pytest.raises(RunError, match="can be that of a folder"):
        run(tmp_path / "run", name)
    assert list(tmp_path.rglob("*.wav")) == []


@pytest.mark.parametrize("name", ["mixture.wav", "Reference_00.wav"])
def test_candidates_leave_the_files_alone(name):
    with pytest.raises(ConfigError, match="the name of a file"):
        make_experiment({"dataset": "cocktail_party", "methods": {name: AUXIVA}})


def test_a_candidate_like_a_reference(tmp_path):
    """Its folder is none of the references that one hears."""
    run(tmp_path / "run", "room", "reference_system")
    page = write_report(tmp_path / "run").read_text("utf-8")
    assert page.count("<audio") == 1 + 2 + 2


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes there")
def test_a_name_that_is_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    run(tmp_path / "run", name)
    assert [row["recording"] for row in read_results(tmp_path / "run")] == [name]
    assert summarize(tmp_path / "run")[0]["n_recordings"] == 1
    page = write_report(tmp_path / "run")
    assert "caf\\udce9" in page.read_text("utf-8")
    assert page.read_text("utf-8").count("<audio") == 1 + 2 + 2


def test_files_elsewhere_are_not_read(tmp_path):
    """Absolute paths and those that lead out of the folder are told, not shown."""
    make_run(tmp_path / "other", [("room", X, Y, 8000)])
    np.savez(tmp_path / "secret.npz", time=[0.0, 1.0], si_sdr=[[1.0], [2.0]])
    audio = tmp_path / "other/audio/room/mixture.wav"
    rows = read_results(tmp_path / "other")[:1]
    rows[0] |= {"audio": [str(audio), "../other/audio/room/mixture.wav"]}
    rows[0] |= {"framewise": "../secret.npz"}
    (tmp_path / "run").mkdir()
    write_rows(tmp_path / "run", rows)
    page = write_report(tmp_path / "run").read_text("utf-8")
    assert page.count("it is not in the run folder") == 2
    assert "<audio" not in page
    assert "time (s)" not in page


@pytest.mark.parametrize("action", ["summarize", "report"])
def test_reading_a_run_imports_nothing_from_here(tmp_path, monkeypatch, action):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    make_run(tmp_path / "run", [("room", X, Y, 8000)])
    assert main(["benchmark", action, "run"]) == 0
    assert str(tmp_path) not in sys.path


PLUG_INS = """
[skbss.methods]
mine = plug_in:separate
[skbss.datasets]
halls = plug_in:load
[skbss.metrics]
loudness = plug_in:loudness
"""
MODULE = """
import numpy as np
from sklearn.preprocessing import FunctionTransformer
from skbss.datasets import make_convolutive_mixture

def separate():
    return FunctionTransformer()

def load():
    x, y = make_convolutive_mixture(4000, sample_rate=8000, random_state=0)
    return [{"name": "hall", "mixture": x, "references": y, "sample_rate": 8000}]

def loudness(reference, estimate):
    return 10 * np.log10((estimate**2).mean(axis=0))
"""


def test_installed_packages_add_theirs(tmp_path, monkeypatch):
    """By entry points: a method, a data set and a metric."""
    folder = tmp_path / "plug_in-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: plug_in\nVersion: 1.0\n"
    )
    (folder / "entry_points.txt").write_text(PLUG_INS)
    (tmp_path / "plug_in.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    config = {"dataset": "halls", "methods": ["mine"], "metrics": ["loudness"]}
    (row,) = run_experiment(make_experiment(config), tmp_path / "run")
    assert row["n_recordings"] == 1
    assert np.isfinite(row["loudness"])
