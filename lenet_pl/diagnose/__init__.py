"""Find out why a training does not learn, or overfits: `python -m lenet_pl.diagnose run=<folder>`."""

from typing import Any

from lenet_pl.runtime.threads import prepare_openmp
from lenet_pl.settings.diagnose import DiagnoseSettings


def diagnose(settings: DiagnoseSettings) -> dict[str, Any]:
    """Examine a run, test suspicions by short trainings, print the verdicts, and write a new folder.

    The run may be finished, stopped or diverged. Its training is repeated for some steps from the same weights, with
    the same batches. Each suspicion is then tested by the same steps with one setting changed. The test split is not
    used.

    Args:
        settings: The settings of the command.

    Returns:
        The content of diagnosis.json:

        - `task` ("diagnose"), `run`, `model`, `data`, `seed`, `finished` (whether the run has results)
        - `verdicts`: the faults, the most certain first, each with `fault` (a key of `FAULTS`), `finding` (a sentence),
          `confidence` (0 to 1), `evidence` (figures by what they are), `advice`, `proof` (`change`, `steps`, `seeds`,
          validation accuracies `before` and `after` for each seed, `recorded` of the run, `supports`, `images`), and
          `untested` (why there is no proof; "" with one)
        - `refuted`: suspicions that a short training did not support, in the same form
        - `checked`: what was checked; `notes`: what could not be
        - `replay`: `steps`, `first_loss`, `last_loss`, `train_accuracy`, `validation_accuracy`, `diverged`
        - `lr_range`: `lowest`, `suggestion`, `highest`; None if the loss never fell
        - `layers`: of each activation `name`, `dead`, `saturated`, `mean`, `std`
        - `total_seconds`, and the keys of `describe_environment`

    Raises:
        UserError: The run, its data or the output folder cannot be used.
    """
    prepare_openmp()
    # torch and Lightning take seconds to import; errors in the settings are reported earlier
    import time

    import torch

    from lenet_pl.diagnose.checks import CHECKS, suspect
    from lenet_pl.diagnose.examination import examine
    from lenet_pl.diagnose.proof import judge
    from lenet_pl.diagnose.recorded_run import open_recorded_run
    from lenet_pl.diagnose.report import collect, print_diagnosis, write_report
    from lenet_pl.engine.trainer import silence_lightning_logs
    from lenet_pl.inference.output_folder import output_folder
    from lenet_pl.runtime.environment import describe_environment
    from lenet_pl.runtime.signals import SignalHandler
    from lenet_pl.runtime.threads import choose_threads, restored_threads

    start = time.perf_counter()
    silence_lightning_logs()
    run = open_recorded_run(settings)
    folder = output_folder(settings, run, "diagnose")

    def tell(line: str) -> None:
        print(line, flush=True)

    with restored_threads(), SignalHandler() as signals:
        given, example = run.settings, run.data.example_input()
        _, task = run.build(*run.changed({}))
        torch.set_num_threads(given.trainer.num_threads or choose_threads(task.model, example, given.loader.batch_size))
        found = examine(run, settings, tell, signals)
        verdicts = judge(suspect(found), found, settings, tell, signals)
        environment = describe_environment(torch.device("cpu"))
    seconds = {"total_seconds": round(time.perf_counter() - start, 2)}
    results = collect(found, verdicts, list(CHECKS)) | seconds | environment
    write_report(folder, results, found)
    print_diagnosis(folder, results)
    return results
