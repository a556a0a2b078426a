"""The closed vocabularies that tables, schemas, events and rules share.

Each value is a stable, lower-case word: it is stored, sent to clients and
written into events, so a value is only ever added. Defaults that belong to a
word (whether a kind of session counts toward dose, who may sign for whom) are
properties here, because a word without its meaning is read differently by
everyone; what an operator may change lives in `app/rules` as dated data.

Sources: clinical reference, sections 2.1, 2.5, 3.1, 4.1, 5.2, 6.2, 6.5, 6.9 and 9.
"""

from enum import StrEnum, unique


@unique
class AccountKind(StrEnum):
    """Whose account it is; a person who is both has two accounts."""

    PARTICIPANT = "participant"
    STAFF = "staff"


@unique
class PrincipalKind(StrEnum):
    """Who acts: a person signed in, an application on its own behalf, or the worker."""

    PARTICIPANT = "participant"
    STAFF = "staff"
    APPLICATION = "application"
    SYSTEM = "system"


@unique
class StaffRole(StrEnum):
    """What a staff member does in the organization; one person may hold several."""

    CLINICIAN = "clinician"
    PRESCRIBER = "prescriber"
    FACILITATOR = "facilitator"
    PEER_SPECIALIST = "peer_specialist"
    CARE_COORDINATOR = "care_coordinator"
    SUPERVISOR = "supervisor"
    PRIVACY_OFFICER = "privacy_officer"
    ADMINISTRATOR = "administrator"

    @property
    def is_clinical(self) -> bool:
        """Whether the role treats people, and so needs a care relationship to see a record.

        Peer support is not clinical: no diagnosis, no risk rating, no scores or
        notes beyond a summary (clinical reference, 6.9).
        """
        return self in _CLINICAL_ROLES


_CLINICAL_ROLES = frozenset(
    {StaffRole.CLINICIAN, StaffRole.PRESCRIBER, StaffRole.FACILITATOR, StaffRole.SUPERVISOR}
)


@unique
class CareTeamRole(StrEnum):
    """What a staff member is to one participant, with dates."""

    PRIMARY_CLINICIAN = "primary_clinician"
    CLINICIAN = "clinician"
    PRESCRIBER = "prescriber"
    PEER_SPECIALIST = "peer_specialist"
    CARE_COORDINATOR = "care_coordinator"
    SUPERVISOR = "supervisor"


@unique
class Credential(StrEnum):
    """A professional qualification, as it stands after a signature."""

    PSYCHIATRIST = "psychiatrist"
    PSYCHIATRIC_NURSE_PRACTITIONER = "psychiatric_nurse_practitioner"
    PSYCHOLOGIST = "psychologist"
    CLINICAL_SOCIAL_WORKER = "clinical_social_worker"
    PROFESSIONAL_COUNSELOR = "professional_counselor"
    MARRIAGE_AND_FAMILY_THERAPIST = "marriage_and_family_therapist"
    SUD_COUNSELOR = "sud_counselor"
    REGISTERED_NURSE = "registered_nurse"
    OCCUPATIONAL_THERAPIST = "occupational_therapist"
    ACTIVITY_THERAPIST = "activity_therapist"
    CERTIFIED_PEER_SPECIALIST = "certified_peer_specialist"


@unique
class AuthorizationKind(StrEnum):
    """By what right a clinician may treat someone who is in a given state."""

    FULL_LICENSE = "full_license"
    COMPACT = "compact"
    TELEHEALTH_REGISTRATION = "telehealth_registration"
    EXCEPTION = "exception"


@unique
class Sensitivity(StrEnum):
    """A legal class of record, set when it is created and checked at every exit."""

    PART2 = "part2"
    PSYCHOTHERAPY_NOTE = "psychotherapy_note"
    MINOR_CONSENTED = "minor_consented"


@unique
class LevelOfCare(StrEnum):
    """The ladder of intensity; `rank` orders it."""

    OUTPATIENT = "outpatient"
    INTENSIVE_OUTPATIENT = "intensive_outpatient"
    PARTIAL_HOSPITALIZATION = "partial_hospitalization"
    RESIDENTIAL = "residential"
    INPATIENT = "inpatient"

    @property
    def rank(self) -> int:
        """Place on the ladder: a higher rank is more intensive care."""
        return list(LevelOfCare).index(self)


@unique
class AgeBand(StrEnum):
    """Minors and adults are never mixed in one group."""

    ADOLESCENT = "adolescent"
    ADULT = "adult"


@unique
class ReferralSource(StrEnum):
    """Who sent the person to the program."""

    SELF = "self"
    FAMILY = "family"
    EMERGENCY_DEPARTMENT = "emergency_department"
    INPATIENT_STEP_DOWN = "inpatient_step_down"
    RESIDENTIAL_STEP_DOWN = "residential_step_down"
    PHP_STEP_DOWN = "php_step_down"
    OUTPATIENT_PROVIDER = "outpatient_provider"
    SCHOOL = "school"
    COURT = "court"
    EMPLOYER = "employer"
    PAYER = "payer"
    CRISIS_LINE = "crisis_line"


@unique
class SessionKind(StrEnum):
    """What happens in a session of care."""

    INDIVIDUAL_THERAPY = "individual_therapy"
    GROUP_THERAPY = "group_therapy"
    FAMILY_THERAPY = "family_therapy"
    MULTIFAMILY_GROUP = "multifamily_group"
    PSYCHIATRIC_CONSULTATION = "psychiatric_consultation"
    MEDICATION_FOLLOWUP = "medication_followup"
    PSYCHOEDUCATION = "psychoeducation"
    SKILL_BUILDING = "skill_building"
    EXPERIENTIAL = "experiential"
    PEER_SUPPORT = "peer_support"
    CASE_MANAGEMENT = "case_management"
    INTAKE_ASSESSMENT = "intake_assessment"
    TREATMENT_PLANNING = "treatment_planning"
    CRISIS = "crisis"
    ORIENTATION = "orientation"
    DISCHARGE_PLANNING = "discharge_planning"

    @property
    def counts_toward_dose(self) -> bool:
        """Whether attended minutes count toward the week's clinical hours by default.

        Peer support, orientation and administrative contacts do not; a payer
        or state that says otherwise does so in a dated dose rule (clinical
        reference, 4.1 and 2.4).
        """
        return self in _COUNTS_TOWARD_DOSE

    @property
    def is_group(self) -> bool:
        """Whether several participants share the session, so that a cap applies."""
        return self in _GROUP_KINDS


_COUNTS_TOWARD_DOSE = frozenset(
    {
        SessionKind.INDIVIDUAL_THERAPY,
        SessionKind.GROUP_THERAPY,
        SessionKind.FAMILY_THERAPY,
        SessionKind.MULTIFAMILY_GROUP,
        SessionKind.PSYCHIATRIC_CONSULTATION,
        SessionKind.MEDICATION_FOLLOWUP,
        SessionKind.PSYCHOEDUCATION,
        SessionKind.SKILL_BUILDING,
        SessionKind.EXPERIENTIAL,
    }
)
_GROUP_KINDS = frozenset(
    {
        SessionKind.GROUP_THERAPY,
        SessionKind.MULTIFAMILY_GROUP,
        SessionKind.PSYCHOEDUCATION,
        SessionKind.SKILL_BUILDING,
        SessionKind.EXPERIENTIAL,
        SessionKind.PEER_SUPPORT,
    }
)


@unique
class Modality(StrEnum):
    """How people meet."""

    VIDEO = "video"
    AUDIO = "audio"
    IN_PERSON = "in_person"


@unique
class RoomKind(StrEnum):
    """A place where people talk live."""

    GROUP = "group"
    SESSION = "session"
    PEER_SUPPORT = "peer_support"
    DIRECT = "direct"

    @property
    def is_shared(self) -> bool:
        """Whether participants meet one another there, and so appear by alias only."""
        return self is not RoomKind.DIRECT


@unique
class RoomRole(StrEnum):
    """What a member may do in a room."""

    HOST = "host"
    CO_HOST = "co_host"
    OBSERVER = "observer"
    PARTICIPANT = "participant"
    INTERPRETER = "interpreter"


@unique
class NoteKind(StrEnum):
    """The documentation formats; a psychotherapy note is never a progress note."""

    SOAP = "soap"
    DAP = "dap"
    BIRP = "birp"
    GIRP = "girp"
    PSYCHIATRIC = "psychiatric"
    GROUP_SESSION = "group_session"
    PARTICIPANT_ADDENDUM = "participant_addendum"
    CRISIS = "crisis"
    CONTACT = "contact"
    CASE_CONSULT = "case_consult"
    UTILIZATION_REVIEW = "utilization_review"
    PSYCHOTHERAPY = "psychotherapy"


@unique
class ConsentKind(StrEnum):
    """What a participant has agreed to, one document each."""

    TREATMENT = "treatment"
    TELEHEALTH = "telehealth"
    PRIVACY_NOTICE = "privacy_notice"
    GROUP_CONFIDENTIALITY = "group_confidentiality"
    PART2_TPO = "part2_tpo"
    PART2_SPECIFIC = "part2_specific"
    PART2_COUNSELING_NOTES = "part2_counseling_notes"
    PART2_LEGAL_PROCEEDING = "part2_legal_proceeding"
    RELEASE_OF_INFORMATION = "release_of_information"
    EMERGENCY_CONTACT = "emergency_contact"
    MINOR_ASSENT = "minor_assent"
    MESSAGING = "messaging"
    RESEARCH = "research"
    RECORDING = "recording"
    INCENTIVE_TERMS = "incentive_terms"
    CONTROLLED_SUBSTANCE_AGREEMENT = "controlled_substance_agreement"


@unique
class MissedReason(StrEnum):
    """Why a session was missed, in the participant's account."""

    ILLNESS = "illness"
    HOSPITALIZED = "hospitalized"
    WORK_OR_SCHOOL = "work_or_school"
    CHILDCARE = "childcare"
    TECHNOLOGY = "technology"
    PRIVACY_UNAVAILABLE = "privacy_unavailable"
    FORGOT = "forgot"
    LOW_MOTIVATION = "low_motivation"
    CONFLICT_WITH_GROUP = "conflict_with_group"
    RELAPSE = "relapse"
    CRISIS = "crisis"
    LEGAL = "legal"
    PAYER = "payer"
    OTHER = "other"
    UNKNOWN = "unknown"


@unique
class DischargeReason(StrEnum):
    """Why an enrollment ended; aligned with SAMHSA TEDS so that reports compare."""

    COMPLETED = "completed"
    TRANSFERRED_HIGHER = "transferred_higher"
    TRANSFERRED_LOWER = "transferred_lower"
    TRANSFERRED_OTHER = "transferred_other"
    DROPPED_OUT = "dropped_out"
    TERMINATED_BY_PROGRAM = "terminated_by_program"
    MOVED_OR_UNAVAILABLE = "moved_or_unavailable"
    INCARCERATED = "incarcerated"
    DIED = "died"
    INSURANCE_ENDED = "insurance_ended"
    OTHER = "other"


@unique
class RiskLevel(StrEnum):
    """A clinician's risk formulation; the software never sets one."""

    NONE = "none"
    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"
    IMMINENT = "imminent"
    UNKNOWN = "unknown"

    @property
    def needs_supervisor(self) -> bool:
        """Whether closing the alert needs a supervisor's co-signature (5.2)."""
        return self in {RiskLevel.HIGH, RiskLevel.IMMINENT}
