"""Who works and who is treated at Cedar Bridge. Nobody of them exists."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from app.domain.roles import StaffRole

DOMAIN: Final = "cedar-bridge.example"


@dataclass(frozen=True, slots=True)
class Colleague:
    """Somebody who works there."""

    login: str
    name: str
    roles: tuple[StaffRole, ...]
    is_licensed: bool = False
    supervisor: str | None = None


STAFF: Final = (
    Colleague("administrator", "Avery Lindqvist", (StaffRole.ADMINISTRATOR,)),
    Colleague("supervisor", "Morgan Achebe", (StaffRole.SUPERVISOR,), is_licensed=True),
    Colleague(
        "clinician",
        "Robin Vale",
        (StaffRole.CLINICIAN, StaffRole.FACILITATOR),
        is_licensed=True,
        supervisor="supervisor",
    ),
    Colleague("prescriber", "Kei Tanaka", (StaffRole.PRESCRIBER,), is_licensed=True),
    Colleague("facilitator", "Sol Marchetti", (StaffRole.FACILITATOR,)),
    Colleague("peer", "Jamie Okonkwo", (StaffRole.PEER_SPECIALIST,)),
    Colleague("coordinator", "Dana Whitfield", (StaffRole.CARE_COORDINATOR,)),
    Colleague("privacy", "Noor Haddad", (StaffRole.PRIVACY_OFFICER,)),
)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody who is in treatment there, and how it has gone so far.

    The totals are those of each week, the first before admission.
    """

    given_name: str
    family_name: str
    alias: str
    born_on: date
    phq9: tuple[int, ...]
    gad7: tuple[int, ...]
    is_in_recovery: bool = False
    is_admitted: bool = True

    @property
    def mention_in_week(self) -> int | None:
        """The week in which the form's last item was not answered with "not at all"."""
        return 2 if self.alias == "Grey Owl" else None


PARTICIPANTS: Final = (
    Newcomer(
        "Jordan", "Reed", "Blue Heron", date(1994, 3, 9),
        (17, 16, 14, 13, 11, 10, 8), (14, 12, 9, 7),
    ),
    Newcomer(
        "Casey", "Lindholm", "Quiet Fern", date(1988, 11, 21),
        (15, 15, 14, 12, 12, 11, 10), (16, 15, 12, 11),
    ),
    Newcomer(
        "Amara", "Nwosu", "River Stone", date(2001, 6, 2),
        (13, 12, 12, 9, 8, 7, 5), (11, 9, 8, 5),
    ),
    Newcomer(
        "Theo", "Castellano", "Grey Owl", date(1979, 1, 30),
        (19, 18, 20, 17, 16, 15, 14), (13, 14, 12, 11),
    ),
    Newcomer(
        "Priya", "Raman", "Copper Leaf", date(1996, 8, 14),
        (12, 11, 9, 9, 8, 6, 6), (15, 12, 10, 8),
    ),
    Newcomer(
        "Wren", "Halvorsen", "North Wind", date(1991, 12, 5),
        (16, 16, 15, 16, 15, 14, 15), (12, 12, 11, 12),
    ),
    Newcomer(
        "Luis", "Ortega", "Tall Cedar", date(1985, 4, 17),
        (14, 12, 11, 10, 9, 8, 7), (10, 9, 7, 6),
    ),
    Newcomer(
        "Mina", "Sato", "Paper Boat", date(1999, 9, 26),
        (18, 17, 15, 12, 10, 9, 9), (17, 13, 11, 9),
    ),
    Newcomer(
        "Sam", "Doyle", "Stone Bridge", date(1983, 2, 11),
        (13, 12, 11, 11, 10, 9, 8), (12, 11, 9, 8),
        is_in_recovery=True,
    ),
    Newcomer(
        "Ines", "Faure", "Green Lantern", date(1990, 7, 7),
        (14,), (11,),
        is_in_recovery=True, is_admitted=False,
    ),
)  # fmt: skip


def address(login: str) -> str:
    """The address that somebody signs in with."""
    return f"{login}@{DOMAIN}"


def login_of(number: int) -> str:
    """The login of the participant with this number, counted from one."""
    return f"participant{number}"
