"""Values that a server remembers for a bounded time, and a bounded number of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Remember values by their key; the oldest are forgotten first.

    Args:
        most: Number of values to remember.
        seconds: Time after which a value is forgotten.
    """

    def __init__(self, *, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._values: OrderedDict[str, tuple[float, Value]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, key: str, value: Value) -> None:
        """Remember a value."""
        with self._lock:
            self._values[key] = time.monotonic(), value
            self._forget_old()
            while len(self._values) > self._most:
                self._values.popitem(last=False)

    def get(self, key: str) -> Value | None:
        """Return a value, or None if it is not known (any more)."""
        with self._lock:
            self._forget_old()
            _, value = self._values.get(key, (0.0, None))
            return value

    def forget(self, key: str) -> None:
        """Forget a value, if it is known."""
        with self._lock:
            self._values.pop(key, None)

    def __len__(self) -> int:
        with self._lock:
            self._forget_old()
            return len(self._values)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - self._seconds
        while self._values and next(iter(self._values.values()))[0] < oldest:
            self._values.popitem(last=False)
