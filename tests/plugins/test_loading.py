import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked_command import run_forked
from quiet import WITHOUT_FIGURES

from lenet_pl.plugins.loading import how_to_load, missing_plugins, named_in

HOSTILE = "from pathlib import Path\nPath('imported.txt').write_text('x')\n"


def run(folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    """Run a command in a folder and return its exit code and what it says on stderr."""
    done = run_forked(*words, cwd=folder, env={**os.environ, **variables})
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no such module in the working directory or among the installed ones"),
        ("import nonsense_package", "ModuleNotFoundError: No module named 'nonsense_package', mine.py line 1"),
        ("\nraise RuntimeError('a\\nb')", "RuntimeError: a b, mine.py line 2"),
        ("x = (", "SyntaxError: '(' was never closed (mine.py, line 1)"),
        ("raise SystemExit(0)", "SystemExit: 0, mine.py line 1"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_line(text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    code, line = run(tmp_path, "lenet_pl.train", "plugins=[mine]")
    assert (code, line) == (2, f"error: plugins: mine cannot be imported ({words})\n")


@pytest.mark.parametrize("name", ["mine.py", "../mine", "a;b", "os.system('x')"])
def test_only_names_of_modules_are_imported(name: str, tmp_path: Path) -> None:
    code, line = run(tmp_path, "lenet_pl.train", f"plugins=[{name}]")
    assert code == 2
    assert line.startswith("error: plugins: got ")
    assert line.count("\n") == 1


def test_a_variable_and_an_installed_package_load_plugins(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("print('mine')")
    (tmp_path / "theirs.py").write_text("print('theirs')")
    (tmp_path / "broken.py").write_text("import nonsense_package")
    metadata = tmp_path / "theirs-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[lenet_pl.plugins]\na = theirs\nb = broken\n")
    code = "from lenet_pl.plugins import load_plugins; print(load_plugins(['mine']), load_plugins())"
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LENET_PL_PLUGINS": "mine", "PYTHONPATH": path},
    )
    assert done.stdout.splitlines() == ["mine", "theirs", "['mine', 'theirs'] ['mine', 'theirs']"]
    assert done.stderr.startswith("note: plugins: broken cannot be imported (ModuleNotFoundError")
    assert done.stderr.count("\n") == 1


def test_a_recipe_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "hostile.py").write_text(HOSTILE)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    recipe = "# @package _global_\nplugins: [hostile]\n"
    (tmp_path / "conf" / "experiment" / "theirs.yaml").write_text(recipe)
    code, line = run(tmp_path, "lenet_pl.train", f"hydra.searchpath=[file://{tmp_path}/conf]", "experiment=theirs")
    assert code == 2
    assert line.startswith("error: plugins: got hostile in a configuration file, which loads nothing; must be given on")
    assert not (tmp_path / "imported.txt").exists()


def test_names_are_read_from_overrides() -> None:
    assert named_in(["plugins=[a,b.c]", "seed=1"]) == ["a", "b.c"]
    assert named_in(["plugins=a"]) == ["a"]
    assert named_in(["plugins=['a', \"b\"]", "plugins=null", "plugins=[]"]) == ["a", "b"]


@pytest.mark.parametrize("record", [None, 3, "mine", {"a": 1}, [3, None], ["a b", "../x", "a;b"]])
def test_a_record_that_names_no_modules_asks_for_none(record: object) -> None:
    assert missing_plugins(record) == []


def test_missing_plugins_are_named_with_what_loads_them() -> None:
    assert missing_plugins(["mine_1", "mine_2"]) == ["mine_1", "mine_2"]
    assert how_to_load(["a", "b"]).startswith("needs the plug-ins a, b, which are not loaded; use plugins=[a,b] if you")


BROKEN = {
    "loss": "def broken(logits, labels):\n    {}\n",
    "metric": "import torchmetrics\nclass broken(torchmetrics.MeanMetric):\n    def update(self, *args):\n        {}\n",
    "callback": "import lightning\nclass broken(lightning.Callback):\n"
    "    def on_train_batch_end(self, *args):\n        {}\n",
    "optimizer": "import torch\nclass broken(torch.optim.SGD):\n    def __init__(self, params):\n        {}\n",
    "model": "import torch\nclass broken(torch.nn.Linear):\n    def __init__(self):\n        super().__init__(1, 1)\n"
    "    def forward(self, images):\n        {}\n",
}
GROUPS = {"loss": "loss=broken", "metric": "metrics=[broken]", "callback": "extra_callbacks=[broken]"}
GROUPS |= {"optimizer": "optimizer=broken", "model": "model=broken"}


def train_broken(folder: Path, kind: str, statement: str) -> tuple[int, str]:
    """Train with a part of which a method has a statement; return exit code and last line of stderr."""
    part = BROKEN[kind].format(statement) + f"register('{kind}', 'broken')(broken)\n"
    (folder / "mine.py").write_text(f"from lenet_pl.plugins import register\n{part}")
    code, said = run(folder, "lenet_pl.train", "plugins=[mine]", GROUPS[kind], "run=run", *WITHOUT_FIGURES)
    return code, said.splitlines()[-1]


@pytest.mark.parametrize("kind", ["loss", "metric", "callback"])
@pytest.mark.parametrize("error", ["ValueError('no\\nloss')", "OSError(2, 'no loss', 'file')"])
def test_an_error_in_a_plugin_names_its_line(error: str, kind: str, tmp_path: Path) -> None:
    code, line = train_broken(tmp_path, kind, f"raise {error}")
    assert code == 1
    assert line.startswith("error: plugins: mine.py line ")
    assert "no loss" in line
    assert line.endswith("; use traceback=true to see how it was called")


@pytest.mark.parametrize("kind", ["optimizer", "model"])
def test_an_error_of_a_part_that_is_built_names_its_line(kind: str, tmp_path: Path) -> None:
    code, line = train_broken(tmp_path, kind, "raise ValueError('wrong')")
    assert code == 2
    assert line.startswith(f"error: {kind}: broken ")
    assert "(ValueError: wrong, mine.py line " in line


@pytest.mark.parametrize("kind", ["loss", "callback"])
def test_an_exhausted_iterator_does_not_shorten_a_training(kind: str, tmp_path: Path) -> None:
    code, line = train_broken(tmp_path, kind, "next(iter(()))")
    assert (code, line[:21]) == (1, "error: epoch 1: ended")
    assert "must not raise StopIteration" in line


def test_a_plugin_does_not_end_a_command_as_a_success(tmp_path: Path) -> None:
    code, line = train_broken(tmp_path, "callback", "raise SystemExit(0)")
    assert code == 1
    assert line.startswith("error: plugins: mine.py line ")
    assert line.endswith(" called sys.exit; train is not finished")


def test_a_loss_must_be_a_scalar(tmp_path: Path) -> None:
    code, line = train_broken(tmp_path, "loss", "return logits.sum(1)")
    assert code == 2
    assert line.startswith("error: loss: got a result of shape (")
