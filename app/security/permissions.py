"""The whole policy in one table: what each role may do, for whom, under which scope.

Three gates, in this order: the scope says what the application may do, the role what the person
may do, the reach for whom. What the table does not give is refused (AUTHZ-01). A compliance
officer can read it top to bottom; `docs/access.md` is generated from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final

from app.domain.roles import AccountKind, StaffRole
from app.security.principal import Principal, Reach
from app.security.scopes import Context

CLINICIAN: Final = StaffRole.CLINICIAN
PRESCRIBER: Final = StaffRole.PRESCRIBER
FACILITATOR: Final = StaffRole.FACILITATOR
PEER: Final = StaffRole.PEER_SPECIALIST
COORDINATOR: Final = StaffRole.CARE_COORDINATOR
SUPERVISOR: Final = StaffRole.SUPERVISOR
PRIVACY: Final = StaffRole.PRIVACY_OFFICER
ADMINISTRATOR: Final = StaffRole.ADMINISTRATOR

NONE, SELF, TEAM, ROSTER, SUPERVISEES, MEMBER, ALL, UNATTENDED, UNWATCHED = (
    Reach.NONE,
    Reach.SELF,
    Reach.CARE_TEAM,
    Reach.ROSTER,
    Reach.SUPERVISEES,
    Reach.MEMBER,
    Reach.ORGANIZATION,
    Reach.UNATTENDED,
    Reach.UNWATCHED,
)


@unique
class Permission(StrEnum):
    """Everything that anybody may be allowed to do."""

    OWN_ACCOUNT = "account:own"
    ACCOUNT_CHANGE = "account:change"
    ORGANIZATION_READ = "organization:read"
    CLOCK_MOVE = "clock:move"
    STAFF_READ = "staff:read"
    STAFF_MANAGE = "staff:manage"
    PROGRAM_READ = "program:read"
    PROGRAM_MANAGE = "program:manage"
    PARTICIPANT_LIST = "participant:list"
    PARTICIPANT_READ = "participant:read"
    PARTICIPANT_UPDATE = "participant:update"
    PARTICIPANT_REFER = "participant:refer"
    PARTICIPANT_REFER_AGAIN = "participant:refer_again"
    PARTICIPANT_INVITE = "participant:invite"
    CARE_TEAM_READ = "care_team:read"
    CARE_TEAM_CHANGE = "care_team:change"
    RECORD_ACCESS_READ = "record_access:read"
    INSTRUMENT_READ = "instrument:read"
    INSTRUMENT_MANAGE = "instrument:manage"
    ASSESSMENT_LIST = "assessment:list"
    ASSESSMENT_READ = "assessment:read"
    ASSESSMENT_ASSIGN = "assessment:assign"
    ASSESSMENT_ANSWER = "assessment:answer"
    ALERT_READ = "alert:read"
    ALERT_HANDLE = "alert:handle"
    INTAKE_READ = "intake:read"
    INTAKE_RECOMMEND = "intake:recommend"
    INTAKE_DECIDE = "intake:decide"
    CONNECTIVITY_TEST = "connectivity:test"
    CONNECTIVITY_READ = "connectivity:read"
    ENROLLMENT_READ = "enrollment:read"
    ENROLLMENT_AUTHORIZE = "enrollment:authorize"
    ENROLLMENT_DISCHARGE = "enrollment:discharge"
    PLAN_READ = "plan:read"
    PLAN_DRAFT = "plan:draft"
    PLAN_SIGN = "plan:sign"
    GROUP_READ = "group:read"
    GROUP_MANAGE = "group:manage"
    GROUP_ROSTER = "group:roster"
    SESSION_READ = "session:read"
    SESSION_JOIN = "session:join"
    SESSION_MANAGE = "session:manage"
    ATTENDANCE_READ = "attendance:read"
    ATTENDANCE_STATE = "attendance:state"
    ROOM_READ = "room:read"
    ROOM_WRITE = "room:write"
    ROOM_MODERATE = "room:moderate"
    REALTIME_CONNECT = "realtime:connect"
    EVENT_READ = "event:read"
    WEBHOOK_MANAGE = "webhook:manage"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who has a permission: a scope such as `Patient.r`, and a reach for each role."""

    scope: str
    staff: Mapping[StaffRole, Reach] = field(default_factory=dict)
    participant: Reach = NONE
    needs_license: bool = False

    @property
    def resource(self) -> str:
        """The FHIR resource type that the scope names."""
        return self.scope.partition(".")[0]

    @property
    def action(self) -> str:
        """One letter of `cruds`."""
        return self.scope.partition(".")[2]

    def is_in_scope_of(self, principal: Principal) -> bool:
        """Whether the app through which the caller acts was given the scope."""
        return principal.scope.allows(_context_of(principal), self.resource, self.action)

    def scope_for(self, principal: Principal) -> str:
        """The smallest scope that gives the permission to an app of this caller."""
        return f"{_context_of(principal)}/{self.scope}"

    def reach_of(self, principal: Principal) -> Reach:
        """What the permission gives this caller: the union over their roles."""
        if principal.kind is AccountKind.PARTICIPANT:
            return self.participant
        if self.needs_license and not principal.is_licensed:
            return NONE
        reach = NONE
        for role in principal.roles:
            reach |= self.staff.get(role, NONE)
        return reach


def _context_of(principal: Principal) -> Context:
    return "patient" if principal.kind is AccountKind.PARTICIPANT else "user"


_EVERY_ROLE = dict.fromkeys(StaffRole, ALL)
_TREATING = {CLINICIAN: TEAM, PRESCRIBER: TEAM, SUPERVISOR: SUPERVISEES}
_CARING = {**_TREATING, COORDINATOR: TEAM}
# Whose care team is of coordinators alone, or of nobody, has alerts too: somebody answers them.
_WATCHING = {**_TREATING, SUPERVISOR: SUPERVISEES | UNWATCHED}
# Whom nobody attends any more, somebody must find, and give a care team.
_GIVING_CARE_TEAMS = {COORDINATOR: TEAM | UNATTENDED, SUPERVISOR: SUPERVISEES | UNATTENDED}
_LEADING = {
    CLINICIAN: MEMBER,
    FACILITATOR: MEMBER,
    PEER: MEMBER,
    PRESCRIBER: MEMBER,
    SUPERVISOR: MEMBER,
    COORDINATOR: MEMBER,
}

POLICY: Final[Mapping[Permission, Rule]] = {
    Permission.OWN_ACCOUNT: Rule("Person.r", dict.fromkeys(StaffRole, SELF), SELF),
    Permission.ACCOUNT_CHANGE: Rule("Person.u", dict.fromkeys(StaffRole, SELF), SELF),
    Permission.ORGANIZATION_READ: Rule("Organization.r", _EVERY_ROLE, ALL),
    Permission.CLOCK_MOVE: Rule("Organization.u", {ADMINISTRATOR: ALL}),
    Permission.STAFF_READ: Rule("Practitioner.r", _EVERY_ROLE),
    Permission.STAFF_MANAGE: Rule("Practitioner.u", {ADMINISTRATOR: ALL}),
    Permission.PROGRAM_READ: Rule("HealthcareService.r", _EVERY_ROLE, ALL),
    Permission.PROGRAM_MANAGE: Rule("HealthcareService.u", {ADMINISTRATOR: ALL}),
    Permission.PARTICIPANT_LIST: Rule("Patient.s", {**_CARING, **_GIVING_CARE_TEAMS}),
    Permission.PARTICIPANT_READ: Rule("Patient.r", _CARING, SELF),
    Permission.PARTICIPANT_UPDATE: Rule("Patient.u", {CLINICIAN: TEAM, COORDINATOR: TEAM}, SELF),
    Permission.PARTICIPANT_REFER: Rule("ServiceRequest.c", {COORDINATOR: ALL, CLINICIAN: ALL}),
    Permission.PARTICIPANT_REFER_AGAIN: Rule(
        "ServiceRequest.c", {COORDINATOR: TEAM, CLINICIAN: TEAM}, SELF
    ),
    Permission.PARTICIPANT_INVITE: Rule("Patient.c", {COORDINATOR: TEAM, CLINICIAN: TEAM}),
    Permission.CARE_TEAM_READ: Rule("CareTeam.r", _CARING, SELF),
    Permission.CARE_TEAM_CHANGE: Rule("CareTeam.u", _GIVING_CARE_TEAMS),
    Permission.RECORD_ACCESS_READ: Rule("AuditEvent.r", {PRIVACY: ALL}, SELF),
    Permission.INSTRUMENT_READ: Rule("Questionnaire.r", _EVERY_ROLE, ALL),
    Permission.INSTRUMENT_MANAGE: Rule("Questionnaire.u", {ADMINISTRATOR: ALL}),
    Permission.ASSESSMENT_LIST: Rule("QuestionnaireResponse.s", _CARING, SELF),
    Permission.ASSESSMENT_READ: Rule("QuestionnaireResponse.r", _TREATING, SELF),
    Permission.ASSESSMENT_ASSIGN: Rule("QuestionnaireResponse.c", _CARING),
    Permission.ASSESSMENT_ANSWER: Rule(
        "QuestionnaireResponse.u", {CLINICIAN: TEAM, PRESCRIBER: TEAM}, SELF
    ),
    Permission.ALERT_READ: Rule("Flag.r", _WATCHING),
    Permission.ALERT_HANDLE: Rule("Flag.u", _WATCHING),
    Permission.INTAKE_READ: Rule("ServiceRequest.r", _CARING),
    Permission.INTAKE_RECOMMEND: Rule("ServiceRequest.u", _CARING),
    Permission.INTAKE_DECIDE: Rule(
        "EpisodeOfCare.c", {CLINICIAN: TEAM, PRESCRIBER: TEAM}, needs_license=True
    ),
    Permission.CONNECTIVITY_TEST: Rule("Observation.c", participant=SELF),
    Permission.CONNECTIVITY_READ: Rule("Observation.r", _CARING, SELF),
    Permission.ENROLLMENT_READ: Rule("EpisodeOfCare.r", _CARING, SELF),
    Permission.ENROLLMENT_AUTHORIZE: Rule("Coverage.c", {CLINICIAN: TEAM, COORDINATOR: TEAM}),
    Permission.ENROLLMENT_DISCHARGE: Rule(
        "EpisodeOfCare.u", {CLINICIAN: TEAM, PRESCRIBER: TEAM}, needs_license=True
    ),
    Permission.PLAN_READ: Rule("CarePlan.r", {**_CARING, PEER: NONE}, SELF),
    Permission.PLAN_DRAFT: Rule("CarePlan.c", {CLINICIAN: TEAM, PRESCRIBER: TEAM}),
    Permission.PLAN_SIGN: Rule(
        "CarePlan.u", {CLINICIAN: TEAM, PRESCRIBER: TEAM}, SELF, needs_license=True
    ),
    Permission.GROUP_READ: Rule("Group.r", _EVERY_ROLE, MEMBER),
    Permission.GROUP_MANAGE: Rule("Group.u", {COORDINATOR: ALL, SUPERVISOR: ALL}),
    Permission.GROUP_ROSTER: Rule("Group.r", {**_LEADING, COORDINATOR: ALL, SUPERVISOR: ALL}),
    Permission.SESSION_READ: Rule("Appointment.r", {**_LEADING, COORDINATOR: ALL}, MEMBER),
    Permission.SESSION_JOIN: Rule("Encounter.c", _LEADING, MEMBER),
    Permission.SESSION_MANAGE: Rule(
        "Appointment.u", {COORDINATOR: ALL, CLINICIAN: MEMBER, FACILITATOR: MEMBER}
    ),
    Permission.ATTENDANCE_READ: Rule("Encounter.r", {**_LEADING, COORDINATOR: ALL}, SELF),
    Permission.ATTENDANCE_STATE: Rule("Encounter.u", {CLINICIAN: MEMBER, FACILITATOR: MEMBER}),
    Permission.ROOM_READ: Rule("Communication.r", _LEADING, MEMBER),
    Permission.ROOM_WRITE: Rule("Communication.c", _LEADING, MEMBER),
    Permission.ROOM_MODERATE: Rule("Communication.u", {CLINICIAN: MEMBER, FACILITATOR: MEMBER}),
    Permission.REALTIME_CONNECT: Rule("Communication.r", _LEADING, MEMBER),
    Permission.EVENT_READ: Rule("Subscription.r", {ADMINISTRATOR: ALL}),
    Permission.WEBHOOK_MANAGE: Rule("Subscription.u", {ADMINISTRATOR: ALL}),
}


def roles_in_care_teams(permission: Permission) -> frozenset[StaffRole]:
    """The roles to which a permission is given by a place in the participant's care team."""
    return frozenset(
        role for role, reach in POLICY[permission].staff.items() if reach & (TEAM | SUPERVISEES)
    )
