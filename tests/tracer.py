"""Leaving out the tracer that measures coverage where it would only measure again.

It makes our code and every library take twice as long, which is well spent on what runs once.
What is asked twelve thousand times in the same few ways, and what prepares one test after the
other, has been measured before: coverage can only be reported too low for it.
"""

import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Pause:
    """Nothing is traced in this thread while anybody is within, one inside or beside another."""

    def __init__(self) -> None:
        self._within = 0
        self._tracer: Any = None

    def __enter__(self) -> None:
        if not self._within:
            self._tracer = sys.gettrace()
            sys.settrace(None)
        self._within += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._within -= 1
        if not self._within:
            sys.settrace(self._tracer)


_pause: Final = _Pause()
_seen: Final[set[object]] = set()


def untraced() -> _Pause:
    """Trace nothing of this thread until the block is left."""
    return _pause


def traced_once(name: object) -> AbstractContextManager[None, None]:
    """Trace what is called so the first time, and not when it is done again."""
    if name in _seen:
        return _pause
    _seen.add(name)
    return nullcontext()


def repeated(
    prepare: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Trace the first call of a function that many tests begin with."""

    @wraps(prepare)
    async def traced_or_not(*args: P.args, **kwargs: P.kwargs) -> T:
        with traced_once(prepare):
            return await prepare(*args, **kwargs)

    return traced_or_not
