"""Tables, their constraints and their enumerations."""

from app.models import accounts as accounts
from app.models import alerts as alerts
from app.models import assessments as assessments
from app.models import audit as audit
from app.models import events as events
from app.models import groups as groups
from app.models import idempotency as idempotency
from app.models import intakes as intakes
from app.models import organizations as organizations
from app.models import participants as participants
from app.models import plans as plans
from app.models import programs as programs
from app.models import rooms as rooms
from app.models import sessions as sessions
from app.models import staff as staff
from app.models import webhooks as webhooks
