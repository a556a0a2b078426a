"""What an intake collects beyond the forms: history, places, contacts, and what somebody needs."""

from enum import StrEnum, unique
from typing import Annotated, Final
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.domain.roles import LevelOfCare
from app.schemas.base import ReadSchema, Schema
from app.schemas.types import (
    Code,
    Date,
    Flag,
    LanguageTag,
    LongText,
    Name,
    Phone,
    ShortText,
    StateCode,
)

_FACTS: Final[JsonDict] = {
    "functional_ratings": [{"domain": "work_or_school", "rating": 3}],
    "attestations": [{"code": "diagnosis_present", "holds": True}],
    "history": {
        "presenting": "Low mood since spring; on leave from work.",
        "prior_treatment": [
            {
                "level_of_care": "outpatient",
                "ended_on": "2026-02-20",
                "was_completed": False,
                "note": "Weekly sessions were not enough.",
            }
        ],
        "substance_use": None,
        "medications": "Sertraline 50 mg.",
        "medical": None,
    },
    "commitment": {
        "decided_by": "self",
        "availability": "Evenings from five.",
        "barriers": "Child care on Thursdays.",
    },
    "locations": [
        {
            "label": "Home",
            "is_primary": True,
            "address": "12 Cedar Street, Denver",
            "state": "US-CO",
            "emergency": {
                "police": "+17205550111",
                "fire_and_ambulance": "+17205550112",
                "mobile_crisis": "+17205550113",
                "nearest_department": "St. Anne, 4 Elm Street, Denver",
            },
        }
    ],
    "emergency_contact": {
        "name": "Sam Reed",
        "relation": "brother",
        "phone": "+13035550101",
        "distance": "20 minutes",
        "is_release_signed": True,
    },
    "other_providers": [
        {
            "name": "Dr. Lee",
            "role": "primary care",
            "phone": "+13035550102",
            "is_release_signed": True,
        }
    ],
    "accommodations": {
        "language": "en-US",
        "needs_interpreter": False,
        "needs_captions": True,
        "uses_screen_reader": False,
        "literacy": None,
        "other": None,
    },
}


class Attestation(Schema):
    """A statement of the policy, and whether a clinician says that it holds."""

    code: Code
    holds: Flag


class FunctionalRating(Schema):
    """How impaired somebody is in one domain of life: 0 not at all, 4 extremely."""

    domain: Code
    rating: Annotated[int, Field(strict=True, ge=0, le=4)]


class PriorTreatment(Schema):
    """Care that somebody had before."""

    level_of_care: LevelOfCare
    ended_on: Date | None = None
    was_completed: Flag | None = None
    note: LongText | None = None


class History(Schema):
    """What brought somebody here. An absent list of earlier care means that nobody asked."""

    presenting: LongText | None = None
    prior_treatment: Annotated[list[PriorTreatment] | None, Field(max_length=30)] = None
    substance_use: LongText | None = None
    medications: LongText | None = None
    medical: LongText | None = None


@unique
class DecidedBy(StrEnum):
    """Whose wish the referral is."""

    SELF = "self"
    FAMILY = "family"
    COURT = "court"
    EMPLOYER = "employer"
    OTHER = "other"


class CommitmentFacts(Schema):
    """Whose wish it is, when the person is free, and what may come in the way."""

    decided_by: DecidedBy | None = None
    availability: LongText | None = None
    barriers: LongText | None = None


class EmergencyNumbers(Schema):
    """Whom to call for somebody who is there: 911 reaches the caller's own area (2.6)."""

    police: Phone
    fire_and_ambulance: Phone
    mobile_crisis: Phone | None = None
    nearest_department: ShortText


class Location(Schema):
    """A place from which somebody attends; one of them is where they usually are."""

    label: Name
    is_primary: Flag = False
    address: LongText
    state: StateCode
    emergency: EmergencyNumbers | None = None


class EmergencyContact(Schema):
    """Whom to call in an emergency, and whether the release for it is signed."""

    name: Name
    relation: Name
    phone: Phone
    distance: ShortText | None = None
    is_release_signed: Flag | None = None


class OtherProvider(Schema):
    """Somebody else who treats the person."""

    name: Name
    role: Name
    phone: Phone | None = None
    is_release_signed: Flag | None = None


class Accommodations(Schema):
    """What somebody needs to take part. None means that nobody asked."""

    language: LanguageTag | None = None
    needs_interpreter: Flag | None = None
    needs_captions: Flag | None = None
    uses_screen_reader: Flag | None = None
    literacy: ShortText | None = None
    other: LongText | None = None


class IntakeFacts(Schema):
    """What is known of somebody beyond the forms, whole. All of it is sealed."""

    functional_ratings: list[FunctionalRating] = Field(default_factory=list, max_length=20)
    attestations: list[Attestation] = Field(default_factory=list, max_length=100)
    history: History = Field(default_factory=History)
    commitment: CommitmentFacts = Field(default_factory=CommitmentFacts)
    locations: list[Location] = Field(default_factory=list, max_length=20)
    emergency_contact: EmergencyContact | None = None
    other_providers: list[OtherProvider] = Field(default_factory=list, max_length=30)
    accommodations: Accommodations = Field(default_factory=Accommodations)

    model_config = ConfigDict(json_schema_extra={"examples": [_FACTS]})

    @property
    def primary(self) -> Location | None:
        """Where the person usually is during sessions."""
        return next((place for place in self.locations if place.is_primary), None)


class IntakeFactsRead(ReadSchema):
    """The facts of an intake, in the version of the intake."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019a7f3e-4c1b-7d52-9e64-2b8f0c6a1d01",
                    "version": 2,
                    "facts": _FACTS,
                }
            ]
        }
    )

    id: UUID
    version: int
    facts: IntakeFacts
