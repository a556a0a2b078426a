"""What a process is started with, made once from the settings."""

from dataclasses import dataclass, field

from app.core.database import Connections
from app.core.pagination import CursorCodec
from app.security.acquaintances import Acquaintances
from app.security.rate_limits import RateLimits
from app.security.tokens import Issuer, Verifier
from app.security.vault import Vault
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Runtime:
    """The process's pool, keys and codecs; one for each application."""

    settings: Settings
    connections: Connections
    vault: Vault
    issuer: Issuer
    verifier: Verifier
    cursors: CursorCodec
    limits: RateLimits
    acquaintances: Acquaintances = field(default_factory=Acquaintances)
