"""Text signals: what participants write is looked through, and what it may say reaches people.

A sign of danger opens an alert in the transaction that stores the text, and gives its author the
crisis card. Nothing is blocked, changed or answered, and nobody is told but those who may read
the participant's alerts (clinical reference, section 5.4). No sign is never evidence of safety.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.core.database import Handle
from app.domain.signals import default_detector, excerpt
from app.models.alerts import AlertSource
from app.schemas.assessments import CrisisResourceRead
from app.services.alerts.opening import Concern, open_alert, open_alert_once
from app.services.crisis import crisis_resources


@dataclass(frozen=True, slots=True)
class Heard:
    """Who wrote something, and where."""

    participant_id: UUID
    source: AlertSource
    source_id: UUID


async def hear(
    handle: Handle, heard: Heard, text: str, *, is_repeated: bool = False
) -> Sequence[CrisisResourceRead]:
    """Open an alert for each concern that a text raises; gives the card, empty without any.

    The caller holds the source's row lock. A text that is repeated opens what it has not opened
    before, and its author gets the card again, for the first answer may never have reached them.
    """
    detector = default_detector()
    hits = detector.hits(text)
    if not hits:
        return ()
    tell = open_alert_once if is_repeated else open_alert
    for hit in hits:
        concern = Concern(
            participant_id=heard.participant_id,
            tier=hit.tier,
            code=hit.code,
            source=heard.source,
            source_id=heard.source_id,
            excerpt=excerpt(text, hit.phrase),
            detector_version=detector.version,
        )
        await tell(handle, concern)
    return await crisis_resources(handle)
