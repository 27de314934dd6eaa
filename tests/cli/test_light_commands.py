"""Commands for trained networks start without Lightning, whose import takes longer than their work."""

import json
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

RUN_ALL = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    try:
        runpy.run_module(f"lenet_pl.{words[0]}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, words
    heavy = {"lightning", "torchmetrics", "torchvision", "sklearn", "pandas"} & set(sys.modules)
    assert not heavy, (words, heavy)
    assert ("matplotlib" in sys.modules) != ("report=none" in words), words
"""


def test_commands_after_training_import_neither_lightning_nor_torchmetrics(digits_run: Path, tmp_path: Path) -> None:
    image = Image.new("L", (28, 28), 255)
    ImageDraw.Draw(image).line((14, 4, 14, 24), width=3)
    image.save(tmp_path / "one.png")
    run = f"run={digits_run}"
    commands = [
        ["evaluate", run, f"output_dir={tmp_path / 'numbers'}", "report=none"],
        ["evaluate", run, f"output_dir={tmp_path / 'evaluate'}"],
        ["predict", run, f"images={tmp_path / 'one.png'}", f"output_dir={tmp_path / 'predict'}"],
        ["explain", run, "indices=[0]", f"output_dir={tmp_path / 'explain'}"],
        ["export", run, "formats=[safetensors]", f"output_dir={tmp_path / 'export'}"],
        ["compare", f"runs={digits_run}", f"output_dir={tmp_path / 'compare'}"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(commands)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {words[0] for words in commands}
    assert [path.name for path in (tmp_path / "numbers").iterdir()] == ["results.json"]


def test_the_server_of_the_demo_imports_neither() -> None:
    code = "import lenet_pl.demo.server, sys; assert not {'lightning', 'torchmetrics'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
