"""Copies from the CPU to a device that the host does not wait for."""

import torch
from torch import Tensor


def copy_ahead(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device. A GPU reads it from pinned memory, so that the host does not wait."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
