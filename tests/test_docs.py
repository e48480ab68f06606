"""Commands and scripts in the guide and the README run as they stand there."""

# License: BSD-3-Clause

import ast
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import soundfile as sf

import skbss
from skbss import save_yaml
from skbss.cli import main
from skbss.datasets import load_cocktail_party, save_scene

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "doc").glob("*.rst"))]
# Setting up environments and the project's own make targets have tests of their own;
# clusters of several machines too, on one: test_benchmark_cluster.py.
NOT_RUN = re.compile(r"^(python -m venv|\. |pip |make |bash |dask )|tcp://")
# A microphone for `arecord`, and ears for `aplay`.
SURROUNDINGS = """
arecord() { cat microphone.raw; }
aplay() { cat > /dev/null; }
set -euo pipefail
"""
EXPERIMENT = {
    "dataset": {"name": "scenes", "folder": "recordings"},
    "stft": {"n_fft": 1024},
    "methods": {
        "ilrma": {"params": {"ilrma.max_iter": 2, "ilrma.init_iter": 2}},
        "onlineauxiva": {"params": {"stft.n_fft": 1024}},
    },
}


def blocks(path, language):
    """Blocks of code of a language in a page, in order."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    pattern = rf"\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)"
    return [textwrap.dedent(block) for block in re.findall(pattern, text)]


def commands(path):
    """Lines of a page's shell blocks, those that set things up left out."""
    text = "".join(blocks(path, "sh")).replace("\\\n", " ")
    lines = (re.sub(r"(^|\s+)# .*", "", line) for line in text.splitlines())
    return [line for line in lines if line.strip() and not NOT_RUN.search(line)]


def load_beginning():
    """Load two seconds of the bundled recording."""
    recording = load_cocktail_party()
    n_samples = 2 * recording.sample_rate
    for name in ("mixture", "references"):
        recording[name] = recording[name][:n_samples]
    recording["images"] = recording["images"][:, :n_samples]
    return recording


@pytest.fixture
def workplace(tmp_path):
    """A folder with recordings of a second, under the names that the pages use."""
    recording = load_cocktail_party()
    x, rate = recording.mixture[: recording.sample_rate], recording.sample_rate
    for name in ("meeting.wav", "meeting.flac"):
        sf.write(tmp_path / name, x, rate)
    sf.write(tmp_path / "microphone.raw", x, rate, format="RAW", subtype="PCM_16")
    scene = {"mixture": x, "references": recording.references[:rate]}
    save_scene(tmp_path / "recordings" / "first", scene | {"sample_rate": rate})
    save_yaml(tmp_path / "experiment.yaml", EXPERIMENT)
    return tmp_path


@pytest.mark.parametrize(
    "path", [p for p in PAGES if commands(p)], ids=lambda path: path.name
)
def test_shell_blocks_run(path, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    # All eight seconds are separated in test_cli.py.
    monkeypatch.setattr("skbss.commands.separate.load_cocktail_party", load_beginning)
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", search)
    for line in commands(path):
        # Recordings stand where the pages have a disk of many machines, and no template
        # of four long ones takes their place.
        line = line.replace("/data/part_$k", "recordings").replace("$k", "0")
        line = line.replace("init > experiment.yaml", "init > template.yaml")
        if line.startswith("skbss ") and not set(line) & set("|<*"):
            # Here, as to start Python again takes longer than most commands.
            command, _, file = line.partition(" > ")
            capsys.readouterr()
            assert main(shlex.split(command)[1:]) == 0, line
            if file:
                Path(file).write_text(capsys.readouterr().out, "utf-8")
        else:
            subprocess.run(["bash", "-c", SURROUNDINGS + line], check=True, timeout=60)


@pytest.mark.parametrize(
    "path", [p for p in PAGES if blocks(p, "python")], ids=lambda path: path.name
)
def test_python_blocks_run(path, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("skbss.datasets.load_cocktail_party", load_beginning)
    namespace = {"__name__": path.stem}
    for block in blocks(path, "python"):
        block = re.sub(r"\b(48|64)000\b", r"\g<1>00", block)  # a tenth of the samples
        block = block.replace("4096", "512")  # of the window, too
        exec(compile(block, str(path), "exec"), namespace)
    assert namespace["voices"].shape == namespace["recording"].mixture.shape
    if "search" in namespace:
        assert str(namespace["search"].best_params_) in capsys.readouterr().out


def test_every_block_is_run_or_shown_as_text():
    for path in PAGES:
        text = path.read_text("utf-8")
        kinds = re.findall(r"(?:^```|code-block:: )(\w+)", text, flags=re.M)
        assert set(kinds) <= {"sh", "python", "text", "yaml"}
    assert commands(ROOT / "README.md")
    assert blocks(ROOT / "doc" / "start.rst", "python")


def test_every_public_name_is_in_the_reference():
    """And nothing else is."""
    text = (ROOT / "doc/api.rst").read_text("utf-8")
    listed = re.findall(r"^   ([\w.]+)$", text, flags=re.M)
    assert len(listed) == len(set(listed))
    public = list(skbss.__all__)
    for module in (
        *("benchmark", "callbacks", "datasets", "inspection", "metrics"),
        *("transforms", "updates"),
    ):
        names = import_module(f"skbss.{module}").__all__
        public += [f"{module}.{name}" for name in names if name not in public]
    others = {name for name in listed if name.startswith(("config.", "io."))}
    assert set(listed) - others == set(public)


def test_every_extra_is_in_the_table():
    text = (ROOT / "doc/install.rst").read_text("utf-8")
    rows = re.findall(r"^    \* - (``.*)\n      - (.*)$", text, flags=re.M)
    listed = {
        extra: brings for extras, brings in rows for extra in extras.split("``")[1::2]
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(listed) == set(project["optional-dependencies"])
    for name, brings in listed.items():
        requirements = project["optional-dependencies"][name]
        packages = [re.split("[<>=]", r)[0] for r in requirements]
        own = [p for p in packages if not p.startswith("skbss[")]
        assert all(p.split(".")[-1] in brings for p in own) or "others" in brings


def imported_parts(path):
    """Parts of the package that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        module = getattr(node, "module", None) or ""
        if isinstance(node, ast.ImportFrom) and module.startswith("skbss."):
            yield module.split(".")[1]


def test_imports_point_one_way():
    """Towards the top of the list on the page about the architecture, which has all."""
    text = (ROOT / "doc/architecture.rst").read_text("utf-8")
    order = re.findall(r"^      (\w+)(?:\.py|/) ", text, flags=re.M)
    here = {p.stem for p in (ROOT / "skbss").iterdir() if p.suffix in (".py", "")}
    assert set(order) == {name for name in here if not name.startswith("__")}
    for path in (ROOT / "skbss").rglob("*.py"):
        part = path.relative_to(ROOT / "skbss").parts[0].removesuffix(".py")
        if part in order and path.stem != "__main__":
            upward = set(order[: order.index(part) + 1])
            assert set(imported_parts(path)) <= upward, path
