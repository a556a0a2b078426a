"""What is wrong with a definition, and where."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake: `place` is a JSON pointer (RFC 6901) into the definition, `reason` a code."""

    place: str
    reason: str


class InvalidDefinition(ValueError):
    """A definition contradicts itself; `faults` names every mistake that was found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.place}: {fault.reason}" for fault in faults))
        self.faults = tuple(faults)
