"""Search for the learning rate before a training, with a figure."""

from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import LearningRateFinder

from lenet_pl.display.figure import Figure, save_figures, styled


class LearningRateFigure(LearningRateFinder):
    """Lightning's LearningRateFinder that saves lr_finder.png, and leaves a resumed training as it is.

    The found learning rate replaces that of the optimizer. A scheduler that plans the learning rate of every step, such
    as OneCycleLR, keeps its own.

    Args:
        folder: The run folder.
        options: The arguments of LearningRateFinder.
    """

    def __init__(
        self, folder: Path, min_lr: float, max_lr: float, num_training_steps: int, mode: str, **options: Any
    ) -> None:
        super().__init__(min_lr, max_lr, num_training_steps, mode, **options)
        self.folder = folder

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.ckpt_path:
            return
        super().on_fit_start(trainer, pl_module)
        if trainer.is_global_zero and self.optimal_lr is not None:
            found = self.optimal_lr.suggestion()
            save_figures(self.folder, {"lr_finder": draw_search(self.optimal_lr.results, found)})
            print("lr_finder: no learning rate was found" if found is None else f"lr_finder: learning rate {found:.3g}")


@styled
def draw_search(results: dict[str, list[float]], found: float | None, used: float | None = None) -> Figure:
    """Draw the loss against the learning rate, and mark the learning rate that was found.

    Args:
        results: `lr`, and the smoothed `loss` of the step with it.
        found: The learning rate that was found; None if none was.
        used: The learning rate of an earlier training, which is marked too; None for none.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot(results["lr"], results["loss"])
    if found is not None:
        axis.axvline(found, color="C1", linestyle="--", label=f"suggested: {found:.3g}")
    if used is not None:
        axis.axvline(used, color="C3", label=f"used: {used:.3g}")
    if found is not None or used is not None:
        axis.legend()
    axis.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss", title="learning-rate range test")
    return figure
