"""How much one connection may say (WS-04, WS-06). Time is given, in monotonic seconds."""

import math
from collections import deque
from typing import Final
from uuid import UUID

from app.realtime.frames import ClientFrame, Send, Typing

FRAMES_PER_SECOND: Final = 10
FRAME_BURST: Final = 30
SENDS_PER_SECOND: Final = 5
TYPING_PER_SECOND: Final = 1
FLOOD_SECONDS: Final = 30
FLOOD_PAUSE_SECONDS: Final = 5
BAD_FRAMES: Final = 5
BAD_FRAME_SECONDS: Final = 60


class TokenBucket:
    """Lets `rate` through per second, and `burst` at once after a silence."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float) -> float:
        """Take one token; the answer is 0, or the seconds until there is one to take."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate

    def is_full(self, now: float) -> bool:
        """Whether the bucket is as a new one, and so can be forgotten."""
        return self._tokens + (now - self._at) * self._rate >= self._burst


class FrameLimits:
    """The limits of one connection, and how long it has been over them."""

    __slots__ = ("_bad", "_excess_at", "_flood_since", "_frames", "_sends", "_typing")

    def __init__(self, now: float) -> None:
        self._frames = TokenBucket(FRAMES_PER_SECOND, FRAME_BURST, now)
        self._sends: dict[UUID, TokenBucket] = {}
        self._typing: dict[UUID, TokenBucket] = {}
        self._bad: deque[float] = deque(maxlen=BAD_FRAMES)
        self._flood_since, self._excess_at = math.inf, -math.inf

    def wait(self, frame: ClientFrame, now: float) -> int:
        """Count a frame; the answer is 0, or the whole seconds after which it would pass."""
        seconds = self._frames.take(now)
        if not seconds and isinstance(frame, Send):
            seconds = _take(self._sends, frame.room_id, SENDS_PER_SECOND, now)
        elif not seconds and isinstance(frame, Typing):
            seconds = _take(self._typing, frame.room_id, TYPING_PER_SECOND, now)
        if seconds:
            self._note_excess(now)
        return math.ceil(seconds)

    def _note_excess(self, now: float) -> None:
        if now - self._excess_at > FLOOD_PAUSE_SECONDS:
            self._flood_since = now
        self._excess_at = now

    @property
    def is_flooded(self) -> bool:
        """Whether the connection has been over its limits for thirty seconds, without a pause."""
        return self._excess_at - self._flood_since >= FLOOD_SECONDS

    def is_one_bad_frame_too_many(self, now: float) -> bool:
        """Count a bad frame, and say whether it is the fifth within a minute."""
        self._bad.append(now)
        return len(self._bad) == BAD_FRAMES and now - self._bad[0] < BAD_FRAME_SECONDS


def _take(buckets: dict[UUID, TokenBucket], room_id: UUID, rate: int, now: float) -> float:
    """One token of a room's bucket.

    Full buckets are dropped when a new one comes, so that naming rooms costs a client no more
    memory here than its frame rate refills.
    """
    bucket = buckets.get(room_id)
    if bucket is None:
        for other in [key for key, kept in buckets.items() if kept.is_full(now)]:
            del buckets[other]
        bucket = buckets[room_id] = TokenBucket(rate, rate, now)
    return bucket.take(now)
