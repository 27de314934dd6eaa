"""Train once per seed, with a run folder per seed and a common table."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.artifacts.result_table import print_several
from lenet_pl.artifacts.results_file import RESULTS
from lenet_pl.data.run_images import images_of_run
from lenet_pl.display.text import as_json, label
from lenet_pl.engine.build import build_datamodule
from lenet_pl.engine.callbacks import Callbacks
from lenet_pl.engine.initial_weights import InitialWeights
from lenet_pl.errors import display_path
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings import TrainSettings
from lenet_pl.train.fine_tune import initial_weights, with_digest
from lenet_pl.train.member import Member
from lenet_pl.train.run_folders import run_folders
from lenet_pl.train.several_runs import SeveralRuns, Train, check_devices
from lenet_pl.train.teachers import read_teachers, with_teacher_digests


def train_seeds(
    settings: TrainSettings,
    folder: Path,
    signals: SignalHandler,
    train_one: Train,
    callbacks: Callbacks = (),
) -> dict[str, Any]:
    """Train with each of `settings.seeds`, except those whose runs are finished.

    Args:
        settings: The common settings of all trainings.
        folder: The folder for config.yaml, the run folders `seed_<seed>`, and results.json.
        signals: The signal handler of the process.
        train_one: The function that trains with one seed: `lenet_pl.train.train_one`.
        callbacks: Lightning callbacks, copied for each training, or a function of its settings that builds them.

    Returns:
        The content of results.json, as documented in `lenet_pl.train.train`.

    Raises:
        UserError: Settings, files or devices cannot be used; also all errors of `SeveralRuns.train`.
    """
    start = time.perf_counter()
    check_devices(settings, "seeds", "use seed= instead of seeds=")
    seeds, folders = settings.seeds or [], run_folders(settings, folder)
    initial = initial_weights(settings, *folders)
    teachers = read_teachers(settings, *folders)
    settings = with_teacher_digests(with_digest(settings, initial), teachers)
    members = _members(settings, folders, initial)
    session = SeveralRuns("seeds", settings, folder, members, signals, train_one, callbacks, initial, teachers)
    each = session.train()
    results = session.summarize(each, time.perf_counter() - start) | {
        "seeds": seeds,
        "at_chance": [seed for seed, one in zip(seeds, each, strict=True) if one["at_chance"]],
    }
    write_text(folder / RESULTS, as_json(results, allow_nan=False))
    title = f"{settings.model.name} on {label(members[0].data.source.name)}, {len(seeds)} seeds"
    print_several(title, "seed", dict(zip(seeds, each, strict=True)), display_path(folder))
    return results


def _members(settings: TrainSettings, folders: Sequence[Path], initial: InitialWeights | None) -> list[Member]:
    """Load the images once for all seeds."""
    data = build_datamodule(settings, images_of_run(settings, *folders), initial)
    return [
        Member(
            f"seed {seed}",
            place,
            settings.model_copy(update={"seed": seed, "seeds": None, "n_jobs": 1, "run": str(place)}),
            data.with_seed(seed),
        )
        for seed, place in zip(settings.seeds or [], folders, strict=True)
    ]
