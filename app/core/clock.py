"""The only source of now.

Three clocks exist, because three things need to be true at once:

- `now()` is what the clinic sees. An organization may live at an offset (a training tenant that
  rehearses next week), and the offset belongs to the request that is being served.
- `wall()` is what sign-ins and tokens see: no organization can move it, so none can outlive
  its own credentials.
- `monotonic()` measures how long something took, and belongs to no calendar.
"""

import time
from contextvars import ContextVar, Token
from datetime import UTC, datetime, timedelta
from typing import Final

ZERO: Final = timedelta(0)
_organization_offset: ContextVar[timedelta] = ContextVar("organization_offset", default=ZERO)


class _Process:
    """How far this process's clock stands from the machine's."""

    offset: timedelta = ZERO


def wall() -> datetime:
    """The process's instant, aware and in UTC, whatever the organization's offset is."""
    return datetime.now(UTC) + _Process.offset


def now() -> datetime:
    """The instant at which the caller's organization lives, aware and in UTC."""
    return datetime.now(UTC) + _Process.offset + _organization_offset.get()


def monotonic() -> float:
    """Seconds from an arbitrary start; never goes back, and is moved by no offset."""
    return time.monotonic()


def set_organization_offset(offset: timedelta) -> Token[timedelta]:
    """Let `now()` stand at this distance from the wall until the request ends.

    The value belongs to the running task. Give the token to `reset_organization_offset` to
    return to what was set before; the edge does so at the end of every request.
    """
    return _organization_offset.set(offset)


def reset_organization_offset(token: Token[timedelta]) -> None:
    """Undo one `set_organization_offset`."""
    _organization_offset.reset(token)


def shift_process(by: timedelta) -> None:
    """Move the whole process's clock; shifts add up, and the negative one undoes.

    For tests of token and sign-in limits only.
    """
    _Process.offset += by


def render(instant: datetime) -> str:
    """An instant as clients read it: RFC 3339 in UTC with `Z`, microseconds only when present."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
