"""Leaving out the tracer that measures coverage where it would only measure again.

It makes our code and every library take twice as long, which is well spent on what runs once.
What is asked twelve thousand times in the same few ways is measured by other tests: coverage can
only be reported too low for it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def untraced() -> Iterator[None]:
    """Trace nothing of this thread until the block is left."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
