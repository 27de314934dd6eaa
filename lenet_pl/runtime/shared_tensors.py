"""Objects for several processes, whose tensors lie in one file that all of them map: one copy in memory.

A file works where shared memory is small or missing, as in containers, and whatever the start method of the processes.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class TensorFile:
    """Writer of a file with the tensors of several objects. Memory that tensors share is written once.

    Args:
        path: The file, to be written by `save`.

    Example::

        file = TensorFile(folder / "tensors.pt")
        sent = [file.dumps(training), file.dumps(test)]
        file.save()
        first, second = loads(folder / "tensors.pt", *sent)  # in any process
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors: list[Tensor] = []

    def dumps(self, value: Any) -> bytes:
        """Pickle an object without its tensors, which are kept for `save`."""
        stream = io.BytesIO()
        _Pickler(stream, self._tensors).dump(value)
        return stream.getvalue()

    def save(self) -> None:
        """Write the tensors of all pickled objects, and forget them.

        Raises:
            OSError: If the file cannot be written.
        """
        with self.path.open("wb") as stream:
            torch.save(self._tensors, stream)
        self._tensors.clear()


def loads(path: Path, *pickled: bytes) -> list[Any]:
    """Restore objects whose tensors are in a file. They are mapped once, and copied only where they are changed.

    Args:
        path: The file, which may be deleted afterwards, except on Windows.
        pickled: What `TensorFile.dumps` returned in a process that is trusted, since unpickling can run code.
    """
    tensors = torch.load(str(path), mmap=True, weights_only=True)
    return [_Unpickler(io.BytesIO(some), tensors).load() for some in pickled]


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._tensors = tensors

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, Tensor):
            return None
        self._tensors.append(value)
        return len(self._tensors) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(stream)
        self._tensors = tensors

    def persistent_load(self, number: int) -> Tensor:
        return self._tensors[number]
