"""Random command lines: each is rejected with one error line before step 1, or takes a finite optimizer step."""

import contextlib
import io
import shutil
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from promise import case

from lenet_pl.cli.command import run_command
from lenet_pl.config_files.groups import choices_of
from lenet_pl.engine.build import build_data_and_task
from lenet_pl.engine.trainer import build_trainer, silence_lightning_logs
from lenet_pl.settings import TrainSettings, setting_keys
from lenet_pl.settings.compose import compose, conf_dir
from lenet_pl.train.resume import begin_or_resume

QUIET = ("callbacks.progress_bar=false", "callbacks.model_summary=false", "logger=none", "report=none", "run=here")
TINY = {
    "fake": ("data.num_images=24", "data.test_images=4", "data.classes=3", "loader.batch_size=8"),
    "digits": (),
}
ENOUGH = 0.15  # minimum fraction of examples that train, and of examples that are rejected
# Another device, several processes or a compiler: tested elsewhere, and each example takes seconds to minutes
ELSEWHERE = ("trainer=ddp", "debug=profile", "logger=mlflow", "logger=wandb")
UNWRITTEN = ("run", "traceback", "trainer.strategy", "trainer.compile", "trainer.profiler", "trainer.devices")
GROUPS = ("model", "optimizer", "scheduler", "augment", "trainer", "callbacks", "logger", "debug", "experiment")
# Valid values above these only take longer; invalid values are all kept
CAPS = {
    "data.num_images": 60,
    "data.test_images": 60,
    "data.image_size": 40,
    "data.classes": 12,
    "model.image_size": 40,
    "model.channels": 40,
    "model.hidden_sizes": 200,
    "augment.crop_padding": 20,
}
LEGAL = {"model.image_size": 512, "data.image_size": 512, "model.channels": 4096, "model.hidden_sizes": 65536}
LEGAL |= {"data.classes": 1000, "augment.crop_padding": 256}
WILD: tuple[str, ...] = (
    *("0", "1", "2", "-1", "0.0", "0.5", "1.0", "-0.5", "1.5", "3.7", "1e-8", "1e-30", "1e-320", "1e30", "1e308"),
    *("-1e308", "1e400", "999", "1000", "1000.1", "4294967295", "4294967296", "9223372036854775808", "1_000", "0x10"),
    *("nan", "inf", "-inf", "NaN", ".inf", ".nan", "null", "None", "true", "false", "yes", "'1'", "'nan'"),
    *("''", "", "' '", "abc", "ä", "λ🙂", "'\\n'", "'a\nb'", "../../x", "${seed}", "${foo}", "???", "a b"),
    *("[]", "[1]", "[0.5,0.5]", "[1,2,3]", "[[1]]", "[[6],[16]]", "[[]]", "[nan,1]", "[null]", "['a']", "[1", "]"),
    *("{}", "{a:1}", "{name:adam}", "{_target_:os.system}", "{name:none}", "[0,0]", "[-1]", "1,2", "auto", "balanced"),
    *("val/loss", "val/acc", "same", "valid", "batch", "stratified", "last", "random", "resize", "relu", "avg"),
)


def defaults(name: str) -> dict[str, Any]:
    """List the dotted keys and defaults for one dataset."""
    plain = compose("train", TrainSettings, ["run=unused", f"data={name}"]).model_dump()
    found = {}
    for key in setting_keys(plain):
        here: Any = plain
        for part in key.split("."):
            here = here[part]
        found[key] = here
    return found


CHOICES = {group: choices_of(conf_dir() / group) for group in GROUPS}
DEFAULTS = {name: defaults(name) for name in TINY}


def near(default: Any) -> list[str]:
    """Draw values similar to the default, most of them valid."""
    if isinstance(default, bool):
        return ["true", "false"]
    if isinstance(default, int):
        return [str(n) for n in (default, default + 1, max(1, default // 2), 1, 2, 3)]
    if isinstance(default, float):
        return [str(x) for x in (default, default / 2, default * 2, 0.1, 0.25, 0.9)]
    if isinstance(default, list):
        return [str(default).replace(" ", ""), str(default[:1]).replace(" ", "")] if default else ["[]"]
    return ["null" if default is None else str(default)]


def too_dear(key: str, value: str) -> bool:
    """Return whether a valid value would only take longer."""
    if key == "trainer.accelerator" and value in ("gpu", "mps"):
        return torch.cuda.is_available()
    if (cap := CAPS.get(key)) is None:
        return False
    numbers = [float(n) for n in value.strip("[]").replace("[", "").replace("]", "").split(",") if n.isdecimal()]
    return any(cap < n <= LEGAL.get(key, float("inf")) for n in numbers)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw a command line: config groups and 1 to 4 overrides, some of them misspelled."""
    name = draw(st.sampled_from(sorted(TINY)))
    words = [*QUIET, "trainer=cpu", f"data={name}", *TINY[name]]
    careful = draw(st.booleans())  # otherwise hardly any line with four overrides would be valid
    for group in draw(st.lists(st.sampled_from(GROUPS), max_size=3, unique=True)):
        choice = draw(st.sampled_from(CHOICES[group] * 3 + ["nowhere", "1e5", "null"] * (not careful)))
        if f"{group}={choice}" not in ELSEWHERE and not too_dear("trainer.accelerator", choice):
            words = [word for word in words if not word.startswith(f"{group}=")] + [f"{group}={choice}"]
    found = DEFAULTS[name]
    keys = st.sampled_from([key for key in found if key not in UNWRITTEN])
    for _ in range(draw(st.integers(1, 4))):
        key = draw(keys)
        style = 19 if careful else draw(st.integers(0, 19))  # 0 to 3: a syntax error
        if careful and (isinstance(found[key], dict) or key == "resume"):
            continue
        if style < 12 or isinstance(found[key], dict):
            wild = st.sampled_from(WILD) | st.floats().map(str) | st.integers().map(str)
            wild = wild | st.text(max_size=6).map(lambda text: f"'{text}'") if style == 3 else wild
            value = draw(wild if style < 6 else st.sampled_from(near(found[key])))
        else:
            value = draw(st.sampled_from(near(found[key])))
        if style == 0:
            place = draw(st.integers(0, len(key) - 1))
            key = key[:place] + draw(st.sampled_from(["", "x", "é", "."])) + key[place + 1 :]
        if not too_dear(key, value):
            words.append({1: "+", 2: "~"}.get(style, "") + key + ("" if style == 2 else f"={value}"))
    return words


class Tried:
    """Run command lines in this process, and count the outcomes."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.steps = 0
        self.unfinite = False

    def one_step(self, given: TrainSettings, folder: Path) -> None:
        """Train on one batch of one epoch."""
        trainer_settings = given.trainer.model_copy(update={"limit_train_batches": 1, "limit_val_batches": 1})
        given = given.model_copy(update={"trainer": trainer_settings})
        silence_lightning_logs()
        lightning.seed_everything(given.seed, verbose=False)
        datamodule, task = build_data_and_task(given)
        trainer = build_trainer(given, folder, [OneStep(self)])
        (folder / "checkpoints").mkdir()
        try:
            trainer.fit(task, datamodule)
        finally:
            self.unfinite |= not all(bool(torch.isfinite(p).all()) for p in task.parameters())

    def __call__(self, words: list[str]) -> None:
        self.steps, self.unfinite = 0, False
        out, errors = io.StringIO(), io.StringIO()
        code = 0
        sys.argv = ["train", *words]
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(out), warnings.catch_warnings():
            try:
                run_command("train", TrainSettings, self.one_step, prepare=begin_or_resume)
            except SystemExit as end:
                code = int(end.code or 0)
        left = [str(path) for path in Path().iterdir()]
        for path in left:
            shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
        lines = errors.getvalue().splitlines()
        said = f"{words[len(QUIET) :]}: exit code {code}, {lines}"
        assert not self.unfinite, said
        if code == 0:
            assert (self.steps, lines) == (1, []), said
            self.outcomes["trained"] += 1
            return
        assert len(lines) == 1, said
        assert lines[0].startswith("error: "), said
        assert "unexpected " not in lines[0].removeprefix("error: ")[:11], said
        if code == 1 and "diverged" in lines[0]:
            self.outcomes["stopped"] += 1  # valid, but too large for this network
            return
        assert (code, self.steps, left) == (2, 0, []), said
        self.outcomes["refused"] += 1


class OneStep(lightning.Callback):
    """Count the optimizer steps, and stop after the first epoch."""

    def __init__(self, tried: Tried) -> None:
        self.tried = tried

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self.tried.steps += 1

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        trainer.should_stop = True


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threads: None) -> Tried:
    monkeypatch.setattr(sys, "argv", ["train"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.chdir(tmp_path)
    return Tried()


def attempt(tried: Tried, examples: int) -> None:
    """Run command lines; each must train or be rejected, and both must be frequent."""

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        report_multiple_bugs=True,
    )
    @given(command_lines())
    def each(words: list[str]) -> None:
        tried(words)
        if tried.outcomes.total() % 100 == 0:
            print(dict(tried.outcomes), flush=True)  # visible with pytest -s

    each()
    print(dict(tried.outcomes))
    total = tried.outcomes.total()
    assert total >= examples * 0.95  # Hypothesis skips duplicates
    for outcome in ("trained", "refused"):
        assert tried.outcomes[outcome] >= ENOUGH * total, tried.outcomes


@pytest.mark.slow
@case(
    "settings",
    "60 random command lines: a finite optimizer step, or one error line before it with exit code 2 and no folder",
)
def test_a_random_command_line_is_trained_or_refused(tried: Tried) -> None:
    attempt(tried, 60)


@pytest.mark.long
@case(
    "settings",
    "2,000 random command lines: a finite optimizer step, or one error line before it with exit code 2 and no folder",
)
def test_many_random_command_lines_are_trained_or_refused(tried: Tried) -> None:
    attempt(tried, 2000)
