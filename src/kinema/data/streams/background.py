"""Iteration in a thread of its own, so that decoding and the network overlap."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class InBackground(Generic[T]):
    """Iterate over `items` in a thread, at most `ahead` items ahead of the consumer.

    Used as a context manager, which ends the thread before it returns. Exceptions of the thread are raised where the
    items are consumed, after the items before them.
    """

    def __init__(self, items: Iterable[T], *, ahead: int) -> None:
        self._items, self._ahead = items, ahead
        self._ready = deque[T]()
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kinema-stream", daemon=True)

    def __enter__(self) -> "InBackground[T]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while (batch := self.take(1)) is not None:
            yield from batch

    def take(self, most: int, *, wait_for: int = 1) -> list[T] | None:
        """Wait for `wait_for` items or the end, and return at most `most` items; None at the end.

        Raises:
            BaseException: what the thread raised, once all items before it are taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) >= min(wait_for, self._ahead) or self._ended)
            if not self._ready:
                if self._error is not None:
                    raise self._error
                return None
            taken = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
            self._changed.notify_all()
            return taken

    def _run(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._ready) < self._ahead or self._stopped)
                    if self._stopped:
                        break
                    self._ready.append(item)
                    self._changed.notify_all()
        except BaseException as error:  # raised in `take`
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
