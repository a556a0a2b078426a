"""Alerts: a safety concern, its clock, and what people have done about it.

An alert is opened in the transaction that found the concern. It ends only by what people write
down, and every step is a row that never changes. Participants do not see alerts; they see help.
"""

from app.services.alerts.clocks import escalate_due
from app.services.alerts.handling import (
    AlertStateConflict,
    SupervisorNeeded,
    acknowledge,
    assess,
    close,
    disposition,
)
from app.services.alerts.opening import Concern, open_alert, open_alert_once
from app.services.alerts.reading import Place, list_alerts, place_of, read_alert

__all__ = [
    "AlertStateConflict",
    "Concern",
    "Place",
    "SupervisorNeeded",
    "acknowledge",
    "assess",
    "close",
    "disposition",
    "escalate_due",
    "list_alerts",
    "open_alert",
    "open_alert_once",
    "place_of",
    "read_alert",
]
