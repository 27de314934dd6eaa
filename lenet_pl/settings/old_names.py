"""The names of earlier versions: settings, choices, values, and keys of the files they wrote."""

TRAIN = {
    "trainer.gradient_clip_norm": "trainer.gradient_clip_val",
    "trainer.ema_decay": "callbacks.ema.decay",
    "trainer.threads": "trainer.num_threads",
    "data.colour": "data.color_mode",
    "data.fit": "data.resize_mode",
    "data.title": "data.display_name",
    "data.images": "data.num_images",
    "data.split.validation": "data.split.val_size",
    "augment.rotation": "augment.degrees",
    "augment.translation": "augment.translate",
    "augment.squeeze": "augment.aspect_ratio",
    "augment.flip": "augment.hflip",
    "augment.erasing": "augment.random_erasing",
    "scheduler.warmup": "scheduler.pct_start",
    "scheduler.final_lr": "scheduler.eta_min",
    "loss.rubbish": "loss.rubbish_penalty",
    "optimizer.samples": "optimizer.curvature_samples",
    "model.hidden": "model.hidden_sizes",
}
SEARCH = {
    "search.study": "search.study_name",
    "search.trials": "search.n_trials",
    "search.sampler.startup_trials": "search.sampler.n_startup_trials",
    "search.pruner.startup_trials": "search.pruner.n_startup_trials",
    "search.seeds_of_best": "search.n_test_seeds",
    "search.heartbeat": "search.heartbeat_interval",
    "search.grace": "search.grace_period",
    "search.retries": "search.max_retry",
    "search.patience": "search.storage_timeout",
    "search.rows": "search.max_rows",
}
TRAINED = {"ckpt": "ckpt_path", "out": "output_dir"}
PHOTO = {"photo.clean": "photo.remove_background", "photo.centre": "photo.center"}
DATA = {old: new for old, new in TRAIN.items() if old.startswith("data.")}

KEYS: dict[str, dict[str, str]] = {
    "train": TRAIN,
    "search": TRAIN | SEARCH | {f"search.space.{old}": f"search.space.{new}" for old, new in TRAIN.items()},
    "evaluate": TRAINED | DATA | {"part": "split", "views.shift": "tta.shift", "views.mirror": "tta.hflip"},
    "predict": TRAINED | PHOTO,
    "explain": TRAINED | PHOTO | {"count": "num_images", "steps": "n_steps", "window": "window_size"},
    "export": TRAINED
    | {
        "images": "num_images",
        "rounds": "repeats",
        "seconds": "min_run_time",
        "tolerance": "atol",
        "threads": "num_threads",
    },
    "demo": TRAINED | PHOTO,
    "compare": {
        "by": "group_by",
        "where": "filter",
        "rows": "max_rows",
        "curves": "max_curves",
        "evaluations": "include_evaluations",
        "out": "output_dir",
    },
    "benchmark": {"run": "output_dir", "threads": "num_threads", "data_sets": "datasets"},
}
"""Command → old dotted key → new dotted key."""

CHOICES = {
    "scheduler": {"passes": "piecewise_constant"},
    "callbacks": {"all_epochs": "no_early_stopping"},
    "trainer": {"auto": "default"},
    "debug": {"one_batch": "fast_dev_run"},
    "search": {"regularisation": "regularization"},
}
"""Group → old choice → new choice."""

VALUES = {
    "data.color_mode": {"grey": "gray"},
    "loss.name": {"penalty": "mle"},
    "model.hidden_norm": {"batch": "batch_norm"},
    "model.norm": {"batch": "batch_norm"},
    "model.pooling": {"average": "avg"},
    "scheduler.name": {"passes": "piecewise_constant"},
    "split": {"validation": "val"},
}
"""Key, by its new name → old value → new value."""

REMOVED = {"vectorise": "seeds are trained one after another; leave it out"}
"""Key → what takes its place."""

RESULTS = {
    "lr_changes": "num_lr_changes",
    "first_step": "first_step_time",
    "sd": "std",
    "views.shift": "tta.shift",
    "views.mirror": "tta.hflip",
    "part": "split",
}
"""Old key of results.json → new key."""

METADATA = {"fit": "resize_mode", "model.hidden": "model.hidden_sizes"}
"""Old key of an exported file's metadata → new key."""
