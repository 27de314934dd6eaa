import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_diff import checkpoint, difference
from conftest import Compose, needs_fashion
from quiet import WITHOUT_FIGURES
from stopping import InterruptingHandler
from torch import Tensor
from torch.nn import functional

from lenet_pl.engine.build import build_data_and_task, build_datamodule
from lenet_pl.engine.trainer import silence_lightning_logs
from lenet_pl.errors import DataError, SettingError
from lenet_pl.inference.trained_run import load_run
from lenet_pl.runtime.signals import Interruption
from lenet_pl.settings import FoldSettings, TrainSettings
from lenet_pl.train import train, train_one
from lenet_pl.train.leaks import count_leaked
from lenet_pl.train.resume import begin_or_resume
from lenet_pl.train.teachers import conversion_of, read_teachers

# Mixed and augmented images, dropout, another input size and normalization than those of the teacher
STUDENT = (
    *WITHOUT_FIGURES,
    "model=lenet1",
    "input_range=[-0.1,1.175]",
    "augment=affine",
    "augment.mixup=0.2",
    "distillation.temperature=2",
    "distillation.weight=0.7",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=6",
    "optimizer.lr=0.01",
)
Student = Callable[..., TrainSettings]


@pytest.fixture
def student(compose: Compose, digits_run: Path) -> Student:
    """Compose the settings of a student; by default, its teacher is a run on the same images with 32 px."""

    def _student(*overrides: str, teacher: object = digits_run) -> TrainSettings:
        return compose(*STUDENT, f"teacher={teacher}", *overrides)

    return _student


def start(settings: TrainSettings, folder: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    given = begin_or_resume(settings.model_copy(update={"run": str(folder)}), folder, overrides, False)
    assert given is not None
    return train(given, folder)


def rows_of(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()[1:]


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = checkpoint(folder)["state_dict"]
    return state


@pytest.fixture(scope="module")
def trained(compose: Compose, digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a student without interruption, and delete its teacher."""
    folder = tmp_path_factory.mktemp("trained")
    teacher = shutil.copytree(digits_run, folder / "teacher")
    start(compose(*STUDENT, f"teacher={teacher}"), folder / "run")
    shutil.rmtree(teacher)
    return folder / "run"


def test_the_training_is_that_of_plain_torch(student: Student, trained: Path, digits_run: Path) -> None:
    settings = student()
    torch.manual_seed(settings.seed)
    data, task = build_data_and_task(settings)
    teacher = load_run(digits_run / "checkpoints" / "best.ckpt")
    conversion, model = conversion_of(teacher, data), task.model
    optimizer = torch.optim.Adam(model.parameters(), 0.01, fused=True)
    for epoch in range(2):
        model.train()
        loader = data.train_dataloader()
        loader.epoch = lambda epoch=epoch: epoch
        for batch, _ in zip(loader.batches(), range(6), strict=False):
            logits = model(batch.images)
            assert batch.mixed
            losses = [
                functional.cross_entropy(logits, labels, reduction="none")
                for labels in (batch.labels, batch.mixed.others)
            ]
            own = (batch.mixed.weight * losses[0] + (1 - batch.mixed.weight) * losses[1]).mean()
            with torch.no_grad():
                softened = (teacher.model(conversion(batch.images)) / 2).softmax(1)
            divergence = functional.kl_div((logits / 2).log_softmax(1), softened, reduction="batchmean")
            optimizer.zero_grad()
            (0.7 * 2**2 * divergence + 0.3 * own).backward()
            optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(weights(trained)[f"model.{name}"], value, rtol=1e-4, atol=1e-5)


def test_step_hooks_change_no_bit(student: Student, trained: Path, tmp_path: Path) -> None:
    start(student("trainer.steps_per_hook=1"), tmp_path / "run")
    one, other = checkpoint(trained), checkpoint(tmp_path / "run")
    for part in ("state_dict", "optimizer_states"):
        assert difference(one[part], other[part]) == []
    losses = [[row.split(",")[3:7] for row in rows_of(folder)] for folder in (trained, tmp_path / "run")]
    assert losses[0] == losses[1]


def test_a_resumed_student_is_exact(student: Student, trained: Path, digits_run: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(digits_run, tmp_path / "teacher")
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    settings = student(teacher=moved).model_copy(update={"run": str(stopped)})
    silence_lightning_logs()
    with pytest.raises(Interruption):
        train_one(settings, stopped, InterruptingHandler(9))
    moved.rename(tmp_path / "elsewhere")
    again = settings.model_copy(update={"resume": True})
    with pytest.raises(DataError, match=rf"teacher: {moved} does not exist; the run cannot be resumed without it"):
        start(again, stopped)
    other = again.model_copy(update={"teacher": str(trained)})
    with pytest.raises(SettingError, match=r"teacher_sha256: got .* must be the checkpoint with which the run"):
        start(other, stopped, f"teacher={trained}")
    for teacher, given, said in (
        (None, "null", "resume: got teacher=null, but the run has .*; must be unchanged"),
        ([str(trained), str(digits_run)], "[a,b]", "got 2 teachers for a run that was started with 1"),
    ):
        with pytest.raises(SettingError, match=said):
            start(again.model_copy(update={"teacher": teacher}), stopped, f"teacher={given}")
    place = str(tmp_path / "elsewhere")
    start(again.model_copy(update={"teacher": place}), stopped, f"teacher={place}")
    one, two = checkpoint(trained), checkpoint(stopped)
    one["hyper_parameters"]["settings"]["teacher"] = place
    assert difference(one, two) == []


def test_a_finished_student_does_not_need_its_teacher(trained: Path, digits_run: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    run = load_run(trained / "checkpoints" / "best.ckpt")
    test = run.load_data().test_set
    accuracy = (run.predict_logits(test.images).argmax(1) == test.labels).float().mean()
    assert results["metrics"]["test/accuracy"] == pytest.approx(float(accuracy), abs=1e-6)
    assert {name.partition(".")[0] for name in weights(trained)} == {"model"}
    theirs = json.loads((digits_run / "results.json").read_text())["metrics"]["test/accuracy"]
    (source,) = results["teachers"]
    assert (source["model"], source["test_accuracy"]) == ("lenet5", theirs)
    assert len(source["sha256"]) == 64
    assert not [note for note in results["notes"] if "teacher" in note]


def test_a_teacher_of_another_size_and_normalization_is_as_accurate(student: Student, digits_run: Path) -> None:
    settings = student("augment=none", "loader.shuffle=false")
    teachers = read_teachers(settings)
    assert teachers
    data, _ = build_data_and_task(settings, distill=teachers.distillation)
    teacher = teachers.distillation(settings, data).teachers[0]
    images = data.validation_set
    with torch.no_grad():
        found = teacher(data.preprocess(images.images)).argmax(1)
    own = teachers.runs[0].predict_logits(images.images).argmax(1)
    assert float((found == own).float().mean()) > 0.98


def test_several_teachers_and_seeds(
    student: Student, digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second teacher is the same network with its weights changed, in another file."""
    content = torch.load(digits_run / "checkpoints" / "best.ckpt", weights_only=True)
    content["state_dict"] = {name: value / 2 for name, value in content["state_dict"].items()}
    torch.save(content, tmp_path / "half.ckpt")
    given = f"[{digits_run},{tmp_path / 'half.ckpt'}]"
    start(
        student("seeds=[0,1]", "trainer.max_epochs=1", "trainer.limit_train_batches=2", teacher=given), tmp_path / "run"
    )
    assert capsys.readouterr().out.count("teacher: ") == 2
    for seed in (0, 1):
        results = json.loads((tmp_path / "run" / f"seed_{seed}" / "results.json").read_text())
        assert [one["test_accuracy"] is None for one in results["teachers"]] == [False, True]
        assert len({one["sha256"] for one in results["teachers"]}) == 2


def test_a_teacher_that_saw_images_of_the_fold_is_noted(compose: Compose, digits_run: Path) -> None:
    fold = FoldSettings(number=2, of=3, group=None)
    settings = compose(f"teacher={digits_run}")
    split = settings.data.split.model_copy(update={"fold": fold})
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"split": split})})
    teachers = read_teachers(settings)
    assert teachers
    data = build_datamodule(settings)
    theirs = set(teachers.runs[0].load_data(part="train").train_set.contents.tolist())  # type: ignore[union-attr]
    counts = [
        sum(content in theirs for content in part.contents.tolist())  # type: ignore[union-attr]
        for part in (data.validation_set, data.test_set)
    ]
    assert min(counts) > 0
    (note,) = teachers.distillation(settings, data).notes
    said = f"trained on {counts[0]} of the {len(data.validation_set)} validation images and {counts[1]} of the 599 test"
    assert said in note
    assert note.endswith("train a teacher without fold 2")


@needs_fashion
def test_another_split_of_a_published_dataset_is_a_leak(compose: Compose, digits_run: Path) -> None:
    settings = compose("data=fashion", "data.split.val_size=1000")
    data = build_datamodule(settings)
    run = load_run(digits_run / "checkpoints" / "best.ckpt")
    own = run.settings.model_copy(update={"data": settings.data})
    assert count_leaked(replace(run, settings=own), data.loaded, settings.data) == {"validation": 0, "test": 0}
    split = settings.data.split.model_copy(update={"method": "last"})
    other = own.model_copy(update={"data": settings.data.model_copy(update={"split": split})})
    common = int((data.validation_set.rows < 59_000).sum())  # type: ignore[operator]
    assert count_leaked(replace(run, settings=other), data.loaded, settings.data) == {"validation": common, "test": 0}
    assert count_leaked(run, data.loaded, settings.data) == {"validation": None, "test": None}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("data.channels=3",), "takes images of 1 channels, but those of the data have 3"),
        (("data.classes=3",), "has 10 classes, but the data have 3"),
        ((), "has the class '0' where the data have .*, in the same order"),
    ],
)
def test_a_teacher_of_other_data_is_refused(given: tuple[str, ...], said: str, student: Student) -> None:
    settings = student("data=fake", "data.num_images=200", "data.classes=10", "data.channels=1", *given)
    teachers = read_teachers(settings)
    assert teachers
    with pytest.raises(SettingError, match=said):
        build_data_and_task(settings, distill=teachers.distillation)


def test_what_cannot_teach_is_refused(student: Student, compose: Compose, digits_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    copied = shutil.copytree(digits_run, tmp_path / "copy")
    text = tmp_path / "notes.txt"
    text.write_text("")
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"PK")
    for teacher, said in {
        tmp_path / "nothing": r"teacher: .*nothing does not exist; must be a run folder or a checkpoint",
        tmp_path: r"has no checkpoints/best.ckpt; use one of its runs, such as teacher=.*copy",
        text: r"teacher: .*notes.txt is not a .ckpt file",
        broken: r"broken.ckpt: not a valid checkpoint",
        run: r"the run itself; must be another run",
        f"[{digits_run},{copied}]": r"the same checkpoint twice",
    }.items():
        with pytest.raises((DataError, SettingError), match=said):
            read_teachers(student(teacher=teacher), run)
    for words, said in {
        ("optimizer=sdlm",): "sdlm, which does not support a teacher",
        ("distillation.weight=0",): r"distillation.weight: got 0",
        ("teacher_sha256=[]",): r"teacher_sha256: got 0 digests for 1 teachers",
    }.items():
        with pytest.raises(SettingError, match=said):
            student(*words)
    with pytest.raises(SettingError, match="got digests without teacher"):
        compose(f"teacher_sha256=[{'0' * 64}]")
