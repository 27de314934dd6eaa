#!/bin/sh
# Make the folders beside this file. Usage: make.sh <checkout of a7e2e18> <python>, in an empty folder.
set -e
code=$1 python=$2
export PYTHONPATH=$code OMP_NUM_THREADS=1
small="model.channels=[[2],[4]] model.hidden=[8] trainer.threads=1 trainer.precision=32-true logger=none callbacks.progress_bar=false"
$python - <<'P'
# Sixteen pictures of two shapes, 8x8 px
from pathlib import Path
import numpy as np
from PIL import Image
draw = np.random.default_rng(0)
for name in ("bars", "spots"):
    Path("images", name).mkdir(parents=True)
    for count in range(12):
        picture = draw.integers(0, 60, (8, 8), dtype=np.uint8)
        if name == "bars":
            picture[:, draw.integers(0, 8)] = 255
        else:
            picture[tuple(draw.integers(0, 8, (2, 6)))] = 255
        Image.fromarray(picture).save(f"images/{name}/{count:02}.png")
P
train() { $python -m lenet_pl.train $small "$@"; }
train run=digits trainer.max_epochs=2
train run=digits_longer trainer.max_epochs=3
train run=own data=folder data.path=images data.title=shapes data.colour=grey data.fit=resize data.split.validation=0.3 \
  augment.flip=0.5 augment.erasing=0.1 augment.squeeze=0.1 loader.batch_size=4 scheduler=step trainer.max_epochs=2
train run=own_longer data=folder data.path=images data.title=shapes data.colour=grey data.fit=resize data.split.validation=0.3 \
  augment.flip=0.5 augment.erasing=0.1 augment.squeeze=0.1 loader.batch_size=4 scheduler=step trainer.max_epochs=3
recipe="trainer.ema_decay=0.9 trainer.gradient_clip_norm=1 augment=affine scheduler=passes model.norm=batch model.hidden_norm=batch model.pooling=average callbacks=all_epochs"
train run=ema $recipe trainer.max_epochs=2
train run=ema_longer $recipe trainer.max_epochs=3
train run=onecycle data=fake data.images=96 loader.batch_size=16 scheduler=onecycle scheduler.warmup=0.4 trainer.max_epochs=2
train run=sdlm optimizer=sdlm optimizer.samples=64 loss.name=map loss.rubbish=2 scheduler=cosine scheduler.final_lr=0.0001 trainer.max_epochs=2
train run=seeds 'seeds=[0,1]' vectorise=true trainer.max_epochs=1
$python -m lenet_pl.train -m $small run=sweep trainer.max_epochs=1 model.pooling=max,average seed=0,1
$python -m lenet_pl.evaluate run=digits views.shift=1 views.mirror=true out=digits/evaluate/views
$python -m lenet_pl.evaluate run=own part=validation out=own/evaluate/validation
$python -m lenet_pl.evaluate 'run=[sweep/0,sweep/1]' out=sweep/evaluate
$python -m lenet_pl.export run=digits formats=[safetensors] images=100 rounds=1 seconds=0.01 out=digits/export
$python -m lenet_pl.search search=regularisation search.trials=3 search.seeds_of_best=2 run=search $small trainer.max_epochs=1
# A run that was stopped in its second epoch, and the figures that it has when it is not
stopped="data=fake data.images=96 loader.batch_size=8 scheduler=onecycle trainer.max_epochs=3"
train run=stopped_longer $stopped
$python - $small run=stopped $stopped <<'P'
import sys
from pathlib import Path
from lightning.pytorch.callbacks import Callback
from lenet_pl.composition import compose
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train
class Stop(Callback):
    def on_validation_end(self, trainer, module):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
Path("stopped").mkdir()
try:
    train(compose("train", TrainSettings, sys.argv[1:]), Path("stopped"), [Stop()])
except BaseException as stop:
    print("stopped:", repr(stop))
P
# Plots and pages are not read again, nor are most checkpoints; folders do not say where they were made
find . \( -name '*.png' -not -path './images/*' \) -o -name '*.html' -o -name '*.svg' -o -name '*.lock' | xargs rm -f
for name in digits own ema stopped; do mv ${name}_longer/metrics.csv $name/longer.csv; rm -r ${name}_longer; done
rm -r search/trials/*/checkpoints search/seeds/of_trial_*/*/checkpoints search/workers sweep/[1-3]/checkpoints sweep/multirun.yaml
rm sweep/0/checkpoints/last.ckpt seeds/*/checkpoints/best.ckpt
sed -i "s#$PWD/##" seeds/seed_*/config.yaml
