"""A clock that divides the time of a program among nested pieces of work."""

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any


class StepClock:
    """Time of nested pieces of work. The time of a piece is without that of the pieces within it.

    Args:
        outermost: The name of the piece that gets the time outside of all others.

    Attributes:
        seconds: The time of each piece.
        operations: The floating-point operations of pieces that count them.
    """

    def __init__(self, outermost: str) -> None:
        self._open = [outermost]
        self._mark = time.perf_counter()
        self._stopped = False
        self.seconds: dict[str, float] = defaultdict(float)
        self.operations: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget what was counted so far. Open pieces stay open."""
        self.seconds.clear()
        self.operations.clear()
        self._mark = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock. Until it is started, nothing is counted, and no piece may begin that ends later."""
        self._count()
        self._stopped = True

    def start(self) -> None:
        """Start the clock again."""
        self._stopped = False
        self._mark = time.perf_counter()

    def enter(self, piece: str) -> None:
        """Begin a piece within the open one."""
        if not self._stopped:
            self._count()
            self._open.append(piece)

    def leave(self) -> None:
        """End the open piece, and continue the one around it."""
        if not self._stopped:
            self._count()
            self._open.pop()

    def switch(self, piece: str) -> None:
        """End the open piece, and begin another in its place."""
        if not self._stopped:
            self._count()
            self._open[-1] = piece

    def _count(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._mark
        self._mark = now

    @contextlib.contextmanager
    def timing(self, owner: Any, attribute: str, piece: str) -> Iterator[None]:
        """Count the calls of a function or method inside the block as a piece.

        Args:
            owner: The object, class or module with the function.
            attribute: The name of the function.
            piece: The name of the piece.
        """
        own, function = attribute in vars(owner), getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.enter(piece)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave()

        setattr(owner, attribute, timed)
        try:
            yield
        finally:
            if own:
                setattr(owner, attribute, function)
            else:
                delattr(owner, attribute)
