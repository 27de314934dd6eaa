"""Overrides of trainings in tests: exact and reproducible, without progress, summary and loggers."""

QUIET = (
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "trainer.precision=32-true",
    "logger=none",
)
WITHOUT_FIGURES = (*QUIET, "report=none")
