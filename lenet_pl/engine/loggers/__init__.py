"""Loggers of a run: TensorBoard, CSV, MLflow, Weights & Biases, and those of plug-ins."""
