"""Names that Lightning, torch, timm, Keras and Hydra give to settings, and the names here.

Each row has the other names, then what to write here.
"""

import re

from lenet_pl.settings.training_synonyms import TRAINING

VALUES = {  # of settings with a choice
    "cuda gpus": "gpu",
    "metal apple": "mps",
    "average mean avgpool": "avg",
    "maxpool": "max",
    "swish": "silu",
    "lrelu leakyrelu": "leaky_relu",
    "ce crossentropy crossentropyloss softmax xent": "cross_entropy",
    "bn batchnorm batch": "batch_norm",
    "ln layernorm layer": "layer_norm",
    "gn groupnorm group": "group_norm",
    "in instancenorm instance": "instance_norm",
    "strided stride strided_convolution conv": "strided_conv",
    "fp16 half float16 16": "16-mixed",
    "bf16 bfloat16": "bf16-mixed",
    "fp32 float32 float 32": "32-true",
    "fp64 float64 double 64": "64-true",
    "validation valid": "val",
    "val_loss loss": "val/loss",
    "val_acc val_accuracy acc accuracy": "val/accuracy",
    "ig": "integrated_gradients",
    "gradcam": "grad_cam",
    "torchscript pt2": "torch_export",
    "grey grayscale": "gray",
    "color": "rgb",
}


SEARCHING = {
    "trials num_trials num_samples max_trials": "search.n_trials=<number>",
    "study": "search.study_name=<name>",
    "direction mode maximize minimize": "search.metric=<val/accuracy or val/loss> tells it",
    "num_workers": "start the same command several times; all work on the study in run=<folder>",
}

ANY_NETWORK = {
    "checkpoint checkpoint_path ckpt weights model_path resume load_from load": (
        "write run=<folder of a run> or ckpt_path=<file>"
    ),
    "run_dir folder dir experiment exp exp_name name run_id model runs": "write run=<folder of a run>",
    "out out_dir outdir output save_dir save_path dest": "output_dir=<folder>",
    "gpus gpu device cuda accelerator devices no_cuda": "a trained network answers on the CPU; leave it out",
    "batch_size bs num_workers workers precision seed": "it changes no answer of a trained network; leave it out",
}

OF_COMMAND = {
    "train": TRAINING,
    "search": SEARCHING | TRAINING,
    "evaluate": {
        "dataset dataset_name data_set": "write data=<choice>",
        "data_dir datadir data_path root root_dir": "data_root=<folder>",
        "part subset": "split=<test or val>",
        "shift views": "tta.shift=<px>",
        "mirror flip hflip": "tta.hflip=<true or false>",
    }
    | ANY_NETWORK,
    "predict": {
        "image img input inputs file files path image_path image_dir source src folder data": (
            "images=<file, directory or glob>"
        ),
        "invert": "photo.invert=<auto, true or false>",
        "clean remove_background": "photo.remove_background=<auto, true or false>",
        "centre center": "photo.center=<auto, true or false>",
    }
    | ANY_NETWORK,
    "explain": {
        "image img input file files path image_path source": "images=<file, directory or glob>",
        "data dataset": "the test images of the run are used, or write images=<file, directory or glob> for others",
        "method attribution": "methods=[grad_cam,occlusion]",
        "index idx ids": "indices=[<number>,<number>]",
        "n count limit": "num_images=<number>",
    }
    | ANY_NETWORK,
    "export": {
        "data dataset": "the test images of the run are used; only evaluate takes data=<choice>",
        "format to type": "formats=[<torch_export, onnx, safetensors, int8, c or page>]",
        "opset_version": "opset=<number>",
        "tolerance rtol tol": "atol=<number>",
        "batch_size": "batch_sizes=[<number>]",
        "tta": "files contain the network alone; only evaluate and predict take tta",
        "html language translation": "formats=[page] page.texts=<JSON file>",
        "quantize quantization calibration": "formats=[int8] int8.calibration=<minmax or percentile>",
    }
    | ANY_NETWORK,
    "diagnose": {
        "steps num_steps": "max_steps=<number>",
        "budget seconds time max_time timeout": "time_budget=<seconds>",
        "proof prove counter_run counterruns": "counter_runs=<true or false>",
    }
    | ANY_NETWORK,
    "demo": {"address ip server_name bind": "host=<address>", "server_port": "port=<number>"} | ANY_NETWORK,
    "lab": {
        "address ip server_name bind": "host=<address>",
        "server_port": "port=<number>",
        "run runs folder dir output out": "output_dir=<folder>",
        "data dataset": "datasets=[<choice>,<choice>], of which the page offers those on this machine",
        "n_jobs jobs max_trainings": "max_running=<number>",
        "data_dir datadir root root_dir": "data_root=<folder>",
        "model optimizer lr": "settings of a training are chosen on the page",
    },
    "compare": {
        "run folder dir path runs_dir root input": "runs=<folder, or a list of them>",
        "by groupby group": "group_by=[<key>,<key>]",
        "sort sort_by key rank_by": "metric=<key>",
        "where query select only": "write filter={<key>:<value>}",
        "top limit n rows": "max_rows=<number>",
        "output out out_dir outdir save_dir": "output_dir=<folder>",
    },
    "inspect": {
        "dataset dataset_name data_set": "write data=<choice>",
        "path folder dir input": "write data=folder data.path=<directory>",
        "data_dir datadir root root_dir": "data_root=<folder>",
        "model net architecture": "network=<a choice of model>",
        "k cv n_folds n_splits": "folds=<number>",
        "max_epochs num_epochs": "epochs=<number>",
        "threshold similarity duplicates": "near_duplicates=<correlation>",
        "labels cleanlab mislabeled": "label_errors=<true or false>",
        "top limit n": "max_pictures=<number>",
        "output out out_dir outdir save_dir run": "output_dir=<folder>",
    },
    "benchmark": {
        "model": "models=[<choice>,<choice>]",
        "batch_size": "batch_sizes=[<number>]",
        "data dataset": "datasets=[<choice>]",
        "part only": "parts=[<part>]",
        "out output run": "output_dir=<folder>",
    },
}


def known_elsewhere(command: str, key: str) -> str:
    """Return what to write instead of a name from another program; empty if it is not known.

    Args:
        command: The name of the command.
        key: The key received, dotted or not; its last part is looked up.
    """
    name = key.rpartition(".")[2].lower().replace("-", "_")
    advice = next((text for names, text in OF_COMMAND.get(command, {}).items() if name in names.split()), "")
    single = re.fullmatch(r"([\w.]+)=(<.*>|\[.*\]|true|false)", advice)
    return f"did you mean {single[1]}?" if single else advice


def same_value(value: str) -> str:
    """Return the choice that other programs call `value`; empty if there is none."""
    return next((ours for theirs, ours in VALUES.items() if value.lower() in theirs.split()), "")
