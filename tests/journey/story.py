"""How the journey is told: a line for each step, and a sentence for what was not expected."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, NoReturn

_WIDTH: Final = 74


class Surprise(AssertionError):
    """Something came back that the journey does not expect. The message says what."""


class Story:
    """Prints each step and what came back, and counts what was held true."""

    def __init__(self) -> None:
        self.steps = self.expectations = self.requests = 0
        self._began = time.monotonic()
        self._is_telling = True

    def chapter(self, title: str) -> None:
        """Begin another part."""
        _print(f"\n{title}")

    def step(self, sentence: str, status: int | None = None, telling: str = "") -> None:
        """Tell one step: what somebody did, the status it had, and the telling part of the answer.

        Every step is something that was held true, so that a story without surprises is a proof.
        """
        if not self._is_telling:
            return
        self.steps += 1
        came_back = " ".join(part for part in (str(status or ""), telling) if part)
        _print(f"{self.steps:>4}  {sentence:<{_WIDTH}}  {came_back}".rstrip())

    @contextmanager
    def summarized(self) -> Iterator[None]:
        """Walk a stretch that was told before; one step is told of it afterwards."""
        self._is_telling = False
        try:
            yield
        finally:
            self._is_telling = True

    def expect(self, holds: object, sentence: str) -> None:
        """Raise Surprise with the sentence unless it holds."""
        self.expectations += 1
        if not holds:
            self.surprise(sentence)

    def surprise(self, sentence: str) -> NoReturn:
        """Raise Surprise."""
        raise Surprise(sentence)

    def end(self) -> None:
        """Say how much was walked, and how long it took."""
        _print(
            f"\nThe journey is walked: {self.steps} steps, {self.requests} requests,"
            f" {self.expectations} expectations, {time.monotonic() - self._began:.1f} s."
        )


def say(line: str) -> None:
    """Print a line that is no step."""
    _print(line)


def word(status: int) -> str:
    """A status with its name, as people say it."""
    return f"{status} {HTTPStatus(status).phrase}"


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
