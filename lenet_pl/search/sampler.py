"""The sampler of a search."""

from __future__ import annotations

import warnings

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from lenet_pl.settings.search import SamplerSettings


def build_sampler(settings: SamplerSettings, number: int) -> BaseSampler:
    """Build the sampler for the trial with this number."""
    seed = None if settings.seed is None else int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if settings.name == "random":
        return RandomSampler(seed)
    # Not multivariate: Optuna samples relative parameters before a trial can set its sampler. constant_liar counts
    # running trials as bad ones, so that workers do not sample the same region
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # constant_liar is experimental before Optuna 5
        return TPESampler(n_startup_trials=settings.n_startup_trials, seed=seed, multivariate=False, constant_liar=True)
