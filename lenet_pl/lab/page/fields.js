// The fields of the form: which settings, and how each is chosen.

const steps = (min, max, step) => Array.from({ length: Math.round((max - min) / step) + 1 },
  (_, k) => Number((min + k * step).toFixed(6)));
const decades = (min, max) => Array.from({ length: max - min + 1 }, (_, k) => [1, 2, 5].map((m) => Number(`${m}e${min + k}`)))
  .flat().filter((value) => value <= Number(`1e${max}`));
const slider = (key, values) => ({ key, kind: "slider", values });

export const SECTIONS = [
  { name: "data", open: true, fields: [{ key: "data", kind: "group" }] },
  {
    name: "network", open: true, fields: [
      { key: "model", kind: "group" },
      { key: "model.channels", kind: "stages" },
      slider("model.kernel_size", steps(1, 11, 1)),
      { key: "model.padding", kind: "choice" },
      { key: "model.activation", kind: "choice" },
      { key: "model.pooling", kind: "choice" },
      slider("model.pool_size", steps(1, 4, 1)),
      { key: "model.norm", kind: "choice" },
      { key: "model.hidden_sizes", kind: "numbers" },
      slider("model.dropout", steps(0, 0.9, 0.05)),
    ],
  },
  {
    name: "training", open: true, fields: [
      { key: "optimizer", kind: "group" },
      slider("optimizer.lr", decades(-5, 1)),
      slider("optimizer.momentum", [0, 0.5, 0.8, 0.9, 0.95, 0.99]),
      slider("optimizer.weight_decay", [0, ...decades(-6, 0)]),
      { key: "scheduler", kind: "group" },
      slider("loader.batch_size", [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]),
      slider("trainer.max_epochs", [...steps(1, 10, 1), 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200]),
      slider("seed", steps(0, 20, 1)),
      { key: "callbacks", kind: "group" },
      { key: "report", kind: "choice" },
    ],
  },
  {
    name: "augmentation", open: false, fields: [
      { key: "augment", kind: "group" },
      slider("augment.degrees", steps(0, 45, 1)),
      slider("augment.translate", steps(0, 0.5, 0.02)),
      slider("augment.scale", steps(0, 0.5, 0.02)),
      slider("augment.shear", steps(0, 45, 1)),
      slider("augment.hflip", steps(0, 1, 0.1)),
      slider("augment.elastic_alpha", steps(0, 80, 2)),
      slider("augment.brightness", steps(0, 0.9, 0.05)),
      slider("augment.contrast", steps(0, 0.9, 0.05)),
      slider("augment.noise", steps(0, 0.5, 0.02)),
      slider("augment.random_erasing", steps(0, 1, 0.05)),
      slider("augment.cutout", steps(0, 24, 1)),
      slider("augment.mixup", steps(0, 1, 0.1)),
      slider("augment.cutmix", steps(0, 1, 0.1)),
    ],
  },
];

export const FIELDS = SECTIONS.flatMap((section) => section.fields);
