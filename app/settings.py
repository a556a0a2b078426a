"""What an operator decides, read from the environment once.

A wrong or missing value stops the start with a sentence that says what to do.
"""

import hmac
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum, unique
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, HttpUrl, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Misconfigured(Exception):
    """The configuration cannot be started with; each sentence says what to change."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


@unique
class Mode(StrEnum):
    """`development` serves documentation; `production` refuses what is unsafe."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


_LONGEST: Final[Mapping[str, timedelta]] = {
    "access_token_lifetime": timedelta(minutes=15),
    "staff_idle": timedelta(hours=1),
    "participant_idle": timedelta(hours=12),
    "staff_absolute": timedelta(hours=24),
    "participant_absolute": timedelta(days=90),
}
"""How far the limits of sign-ins may be widened where real people are behind them (AUTH-14)."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", ""})


class Settings(BaseSettings):
    """Every setting, with its default; the environment variable is `STEPWELL_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="STEPWELL_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    mode: Mode = Field(Mode.DEVELOPMENT, description="development or production")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on")
    data_dir: Path = Field(
        Path(".data"), description="Where the embedded database and development keys live"
    )
    database_url: SecretStr | None = Field(
        None, description="postgresql+asyncpg:// URL of the role stepwell_api"
    )
    worker_database_url: SecretStr | None = Field(
        None, description="The same for the role stepwell_worker"
    )
    migrate_database_url: SecretStr | None = Field(
        None, description="The same for the role stepwell_migrate"
    )
    embedded_major: int = Field(18, description="PostgreSQL major of the embedded server: 16 or 18")
    pool_size: int = Field(8, ge=1, le=64, description="Database connections of one process")
    nats_url: str | None = Field(None, description="NATS server of the bus; LISTEN/NOTIFY without")
    public_url: HttpUrl = Field(
        HttpUrl("http://127.0.0.1:8000"), description="Where clients reach this service"
    )
    hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1", "localhost", "[::1]", "testserver"),
        description="Host names that requests may be addressed to, separated by commas",
    )
    origins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("http://localhost:3000", "http://localhost:5173"),
        description="Origins of browser apps, exactly, separated by commas",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses whose X-Forwarded-For is believed, separated by commas"
    )
    root_key_file: Path | None = Field(
        None, description="File of the root key (32 bytes, mode 0600) that wraps all others"
    )
    token_keys_dir: Path | None = Field(
        None, description="Directory of the keys that sign access tokens"
    )
    access_token_lifetime: timedelta = Field(
        timedelta(seconds=300), description="How long an access token is good for"
    )
    staff_idle: timedelta = Field(
        timedelta(minutes=15), description="A staff sign-in ends when unused for so long (AUTH-14)"
    )
    participant_idle: timedelta = Field(
        timedelta(minutes=30), description="The same for a participant's (AUTH-14)"
    )
    staff_absolute: timedelta = Field(
        timedelta(hours=12), description="A staff sign-in ends after so long, used or not (AUTH-14)"
    )
    participant_absolute: timedelta = Field(
        timedelta(days=30), description="The same for a participant's (AUTH-14)"
    )
    request_deadline: timedelta = Field(
        timedelta(seconds=60), description="How long a request may take in all (API-01)"
    )
    max_in_flight: int = Field(200, ge=1, description="Requests at once before 503 (REL-08)")
    max_sockets: int = Field(2000, ge=1, description="WebSockets of one process (WS-03)")
    account_requests: int = Field(
        600, ge=1, description="Requests a minute of one account, over all processes (API-06)"
    )
    network_requests: int = Field(
        300, ge=1, description="Requests a minute of one network without a token (API-06)"
    )
    worker_metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Port of the worker's health and metrics; none without"
    )
    operator_token: SecretStr | None = Field(
        None,
        min_length=32,
        description="Bearer token that shows the checks of /readyz; nobody sees them without",
    )
    database_limit: timedelta = Field(
        timedelta(seconds=1), description="/readyz fails when the database takes longer (REL-16)"
    )
    listener_limit: timedelta = Field(
        timedelta(seconds=5), description="/readyz is degraded when the bus is gone for longer"
    )
    outbox_limit: timedelta = Field(
        timedelta(seconds=60), description="The same when an event waits longer for its position"
    )
    deliveries_limit: timedelta = Field(
        timedelta(seconds=60), description="The same when a due webhook is not begun for longer"
    )
    jobs_limit: timedelta = Field(
        timedelta(seconds=120), description="The same when a job of the worker is late by more"
    )
    tracing: bool = Field(
        default=False, description="OpenTelemetry traces, set up by the variables of its SDK"
    )
    smtp_url: SecretStr | None = Field(
        None, description="smtps://user:password@host:465; files in the data directory without"
    )
    mail_from: str = Field(
        "Stepwell <no-reply@stepwell.invalid>", description="Sender of messages to accounts"
    )
    part2_notice: str = Field(
        "42 CFR part 2 prohibits unauthorized use or disclosure of these records.",
        description="The statement of 42 CFR 2.32 that accompanies Part 2 records",
    )
    allow_local_webhooks: bool = Field(
        default=False, description="Development: receivers on loopback over http"
    )

    @field_validator("hosts", "origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("embedded_major")
    @classmethod
    def _known_major(cls, value: int) -> int:
        if value not in {16, 18}:
            raise ValueError("must be 16 or 18")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _names_a_mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit("" if value is None else value.get_secret_value())
        if value is not None and not (parts.scheme in {"smtp", "smtps"} and parts.hostname):
            raise ValueError("must begin with smtps:// or smtp://, and name a host")
        return value

    @model_validator(mode="after")
    def _urls_come_together(self) -> Self:
        if self.database_url is not None and self.database_url.get_secret_value().startswith(
            "postgresql://"
        ):
            raise ValueError("database_url must begin with postgresql+asyncpg://")
        return self

    @property
    def is_production(self) -> bool:
        """Whether real people may be behind it."""
        return self.mode is Mode.PRODUCTION

    def is_operator(self, authorization: str | None) -> bool:
        """Whether an Authorization header bears the operator's token; nobody does without one."""
        if self.operator_token is None or authorization is None:
            return False
        expected = f"Bearer {self.operator_token.get_secret_value()}"
        return hmac.compare_digest(authorization.encode(), expected.encode())

    @property
    def address(self) -> str:
        """Where people reach this process: as was set, or else where it listens.

        The issuer does not follow the port: processes side by side accept each other's tokens.
        """
        if "public_url" in self.model_fields_set:
            return self.issuer
        return f"http://127.0.0.1:{self.port}"

    @property
    def issuer(self) -> str:
        """The issuer of access tokens, and their audience."""
        return str(self.public_url).rstrip("/")


def misspelled(environment: Iterable[str]) -> list[str]:
    """Variables that no setting reads and that look like one: they would have no effect.

    Others are left alone: compose, Kubernetes and the tests have variables of their own.
    """
    prefix = "STEPWELL_"
    known = [f"{prefix}{name.upper()}" for name in Settings.model_fields]
    unknown = sorted(
        name
        for name in environment
        if name.startswith(prefix) and name not in known and not name.startswith(f"{prefix}TEST_")
    )
    likely = ((name, get_close_matches(name, known, 1, cutoff=0.9)) for name in unknown)
    return [f"{name} is no setting: is {near[0]} meant?" for name, near in likely if near]


def load() -> Settings:
    """Read the environment; raises Misconfigured with a sentence for each wrong value or name."""
    if sentences := misspelled(os.environ):
        raise Misconfigured(sentences)
    try:
        return Settings()
    except ValidationError as error:
        raise Misconfigured(
            [
                f"STEPWELL_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}."
                for e in error.errors(include_input=False, include_url=False)
            ]
        ) from None


def unsafe(settings: Settings) -> list[str]:
    """What must not be so in production (AUTHZ-20, PHI-08): a sentence for each finding.

    What only the database can tell (roles, row-level security) is checked once it is reachable.
    """
    if not settings.is_production:
        return []
    findings = [
        *_unsafe_database("STEPWELL_DATABASE_URL", settings.database_url),
        *_unsafe_database("STEPWELL_WORKER_DATABASE_URL", settings.worker_database_url),
    ]
    if settings.root_key_file is None:
        findings.append(
            "STEPWELL_ROOT_KEY_FILE is not set: point it at the file that holds the root key."
        )
    if settings.token_keys_dir is None:
        findings.append("STEPWELL_TOKEN_KEYS_DIR is not set: point it at the signing keys.")
    if settings.public_url.scheme != "https":
        findings.append("STEPWELL_PUBLIC_URL must begin with https://.")
    if settings.allow_local_webhooks:
        findings.append("STEPWELL_ALLOW_LOCAL_WEBHOOKS must not be set in production.")
    if any(not _is_web_origin(origin) for origin in settings.origins):
        findings.append(
            "STEPWELL_ORIGINS may name only https:// origins in production, as a browser sends"
            " them: https://app.example.org, with neither a path nor a slash at the end."
        )
    findings += [
        f"STEPWELL_{name.upper()} may not be longer than {longest} in production (AUTH-14)."
        for name, longest in _LONGEST.items()
        if getattr(settings, name) > longest
    ]
    if "*" in settings.hosts or "testserver" in settings.hosts:
        findings.append("STEPWELL_HOSTS must name the host names of this service.")
    if not settings.part2_notice.strip():
        findings.append("STEPWELL_PART2_NOTICE is empty: give the current text of 42 CFR 2.32.")
    return findings


def _is_web_origin(origin: str) -> bool:
    parts = urlsplit(origin)
    return (
        parts.scheme == "https"
        and bool(parts.hostname)
        and "*" not in origin
        and (origin == f"https://{parts.netloc}" and "@" not in parts.netloc)
    )


def _unsafe_database(name: str, url: SecretStr | None) -> list[str]:
    if url is None:
        return [f"{name} is not set: production needs a PostgreSQL of its own."]
    parts = urlsplit(url.get_secret_value())
    if (parts.hostname or "") in _LOOPBACK:
        return []
    if "ssl=verify-full" not in parts.query:
        return [f"{name} crosses a network without ssl=verify-full."]
    return []
