"""Iteration in a thread of its own, so that decoding and the network overlap."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class InBackground(Generic[T]):
    """Iterate over `items` in a thread, at most `ahead` items ahead of the consumer.

    Used as a context manager, which ends the thread before it returns. Exceptions of the thread are raised where the
    items are consumed, after the items before them.

    Attributes:
        dropped: Number of items that the consumer was too slow for.

    Args:
        items: What to iterate over.
        ahead: Number of items that may wait for the consumer.
        drops: Whether a further item replaces the oldest one that waits, rather than waiting itself; asked each time.
        grace: Seconds to wait for the end of the thread, which may be in a call that nothing interrupts; None: as long
            as it takes.
    """

    def __init__(
        self, items: Iterable[T], *, ahead: int, drops: Callable[[], bool] = lambda: False, grace: float | None = None
    ) -> None:
        self._items, self._ahead, self._drops, self._grace = items, ahead, drops, grace
        self.dropped = 0
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
        self._thread.join(self._grace)

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def __iter__(self) -> Iterator[T]:
        while (batch := self.take(1)) is not None:
            yield from batch

    def take(self, most: int, *, wait_for: int = 1, seconds: float | None = None) -> list[T] | None:
        """Wait for `wait_for` items or the end, and return at most `most` items; None at the end.

        After so many seconds, return what there is.

        Raises:
            BaseException: what the thread raised, once all items before it are taken.
        """
        with self._changed:
            wanted = min(wait_for, self._ahead)
            self._changed.wait_for(lambda: len(self._ready) >= wanted or self._ended, seconds)
            if not self._ready and self._ended:
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
                    self._changed.wait_for(lambda: len(self._ready) < self._ahead or self._stopped or self._drops())
                    if self._stopped:
                        break
                    if len(self._ready) >= self._ahead:
                        self._ready.popleft()
                        self.dropped += 1
                    self._ready.append(item)
                    self._changed.notify_all()
        except BaseException as error:  # raised in `take`
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
