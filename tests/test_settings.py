"""What must not be started with is said, a sentence for each finding (REL-31, PHI-08, AUTHZ-20).

The broken databases are real ones: each is broken inside a transaction that is rolled back.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from pydantic import HttpUrl, SecretStr
from typer.testing import CliRunner, Result

from app.cli import cli
from app.core.embedded import EmbeddedServer
from app.jobs.workplace import Workplace
from app.main import create_app, make_runtime
from app.security import catalogue
from app.settings import Misconfigured, Mode, Settings, load, misspelled, unsafe
from tests.processes import DidNotStart, api_processes

SAFE: Final[Mapping[str, Any]] = {
    "mode": Mode.PRODUCTION,
    "database_url": SecretStr("postgresql+asyncpg://stepwell_api@db.example/s?ssl=verify-full"),
    "worker_database_url": SecretStr("postgresql+asyncpg://stepwell_worker@localhost/s"),
    "root_key_file": Path("root.key"),
    "token_keys_dir": Path("tokens"),
    "public_url": HttpUrl("https://api.example"),
    "hosts": ("api.example",),
    "origins": ("https://app.example",),
}
KEYS_ARE_NAMED: Final = {
    "STEPWELL_ROOT_KEY_FILE": "root.key",
    "STEPWELL_TOKEN_KEYS_DIR": "tokens",
}
ORIGINS: Final = (
    "STEPWELL_ORIGINS may name only https:// origins in production, as a browser sends them:"
    " https://app.example.org, with neither a path nor a slash at the end."
)
SUPERUSER: Final = "The role stepwell_api is a superuser, bypasses row-level security or owns some"
OTHER_SCHEMA: Final = "The schema is not the one of this version: run `stepwell migrate`."


def url(text: str) -> SecretStr:
    return SecretStr(f"postgresql+asyncpg://stepwell_api@{text}")


def production(**changed: Any) -> Settings:  # noqa: ANN401  # as settings take them
    return Settings(**{**SAFE, **changed})


# Settings


def test_rel_31_safe_settings_are_safe() -> None:
    assert unsafe(production()) == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"database_url": None},
            "STEPWELL_DATABASE_URL is not set: production needs a PostgreSQL of its own.",
        ),
        (
            {"worker_database_url": None},
            "STEPWELL_WORKER_DATABASE_URL is not set: production needs a PostgreSQL of its own.",
        ),
        (
            {"root_key_file": None},
            "STEPWELL_ROOT_KEY_FILE is not set: point it at the file that holds the root key.",
        ),
        (
            {"token_keys_dir": None},
            "STEPWELL_TOKEN_KEYS_DIR is not set: point it at the signing keys.",
        ),
        (
            {"public_url": HttpUrl("http://api.example")},
            "STEPWELL_PUBLIC_URL must begin with https://.",
        ),
        (
            {"allow_local_webhooks": True},
            "STEPWELL_ALLOW_LOCAL_WEBHOOKS must not be set in production.",
        ),
        *(
            ({"origins": ("https://app.example", origin)}, ORIGINS)
            for origin in (
                "http://app.example",
                "*",
                "https://*.example",
                "https://app.example/",
                "https://app.example/path",
                "https://me@app.example",
                "app.example",
            )
        ),
        *(
            (
                {name: timedelta(days=days)},
                (
                    f"STEPWELL_{name.upper()} may not be longer than {longest} in production"
                    " (AUTH-14)."
                ),
            )
            for name, days, longest in (
                ("access_token_lifetime", 30, "0:15:00"),
                ("staff_idle", 365, "1:00:00"),
                ("participant_idle", 365, "12:00:00"),
                ("staff_absolute", 3650, "1 day, 0:00:00"),
                ("participant_absolute", 91, "90 days, 0:00:00"),
            )
        ),
        ({"hosts": ("*",)}, "STEPWELL_HOSTS must name the host names of this service."),
        ({"hosts": ("testserver",)}, "STEPWELL_HOSTS must name the host names of this service."),
        (
            {"part2_notice": " "},
            "STEPWELL_PART2_NOTICE is empty: give the current text of 42 CFR 2.32.",
        ),
    ],
)
def test_rel_31_each_unsafe_setting_has_its_sentence(
    changed: dict[str, Any], sentence: str
) -> None:
    assert unsafe(production(**changed)) == [sentence]
    with pytest.raises(Misconfigured) as refused:
        make_runtime(production(**changed), "postgresql+asyncpg://stepwell_api@/stepwell")
    assert refused.value.sentences == [sentence]


@pytest.mark.parametrize(
    "place",
    [
        "db.example/s",
        "db.example/s?ssl=require",
        "db.example/s?ssl=verify-ca",
        "10.0.0.5/s?ssl=prefer",
        "[2001:db8::1]/s",
    ],
)
@pytest.mark.parametrize("name", ["database_url", "worker_database_url"])
def test_phi_08_a_database_across_a_network_needs_a_verified_certificate(
    name: str, place: str
) -> None:
    assert unsafe(production(**{name: url(place)})) == [
        f"STEPWELL_{name.upper()} crosses a network without ssl=verify-full."
    ]


@pytest.mark.parametrize(
    "place", ["/s?host=/run/postgresql", "localhost/s", "127.0.0.1:5433/s", "[::1]/s"]
)
def test_phi_08_a_database_on_this_machine_needs_none(place: str) -> None:
    assert unsafe(production(database_url=url(place))) == []


def test_phi_08_development_may_do_what_production_may_not() -> None:
    assert unsafe(Settings(database_url=url("db.example/s"))) == []


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("STEPWELL_PORT", "eight", "STEPWELL_PORT: Input should be a valid integer"),
        ("STEPWELL_MODE", "staging", "STEPWELL_MODE: Input should be"),
        ("STEPWELL_EMBEDDED_MAJOR", "17", "STEPWELL_EMBEDDED_MAJOR: Value error, must be 16 or 18"),
        ("STEPWELL_DATABASE_URL", "postgresql://x@secret-host/s", "postgresql+asyncpg://"),
        ("STEPWELL_SMTP_URL", "mail.example.org:587", "must begin with smtps:// or smtp://"),
        ("STEPWELL_SMTP_URL", "smtps://:465", "and name a host"),
    ],
)
def test_rel_31_a_value_that_means_nothing_stops_the_start_and_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(Misconfigured) as refused:
        load()
    assert sentence in str(refused.value)
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "meant"), [("PROT", "PORT"), ("ORIGIN", "ORIGINS"), ("DATABSE_URL", "DATABASE_URL")]
)
def test_a_misspelled_variable_is_said(
    monkeypatch: pytest.MonkeyPatch, typed: str, meant: str
) -> None:
    monkeypatch.setenv(f"STEPWELL_{typed}", "secret")
    with pytest.raises(Misconfigured) as refused:
        load()
    assert refused.value.sentences == [
        f"STEPWELL_{typed} is no setting: is STEPWELL_{meant} meant?"
    ]


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"PORT": "8123"}, "http://127.0.0.1:8123"),
        ({"PORT": "8123", "PUBLIC_URL": "https://api.example"}, "https://api.example"),
    ],
)
def test_the_address_that_is_said_is_the_one_that_is_served(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], address: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"STEPWELL_{name}", value)
    assert load().address == address


def test_processes_side_by_side_have_one_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_PORT", "8123")
    assert load().issuer == "http://127.0.0.1:8000"


def test_variables_of_others_are_left_alone() -> None:
    others = ("PARENT_PID", "DOMAIN", "API_PASSWORD", "TEST_DATABASE_URL", "PORT_8000_TCP")
    assert misspelled(f"STEPWELL_{name}" for name in others) == []


# The database


BROKEN: Final = [
    ("alter role stepwell_api superuser", SUPERUSER),
    ("alter role stepwell_api bypassrls", SUPERUSER),
    ("create table mine (); alter table mine owner to stepwell_api", SUPERUSER),
    ("update alembic_version set version_num = '0001'", OTHER_SCHEMA),
    ("drop table alembic_version", OTHER_SCHEMA),
    (
        "alter table participant no force row level security",
        "The table participant has no forced row-level security.",
    ),
    (
        "alter table participant disable row level security",
        "The table participant has no forced row-level security.",
    ),
    (
        "create table bare (organization_id uuid, id uuid primary key)",
        "The table bare has no forced row-level security.",
    ),
    (
        "create table bare (organization_id uuid, id uuid primary key)",
        "The table bare has no policy for every command.",
    ),
    (
        "create table bare (organization_id uuid, id uuid primary key)",
        "No unique index of bare begins with organization_id.",
    ),
    (
        (
            "create table a (organization_id uuid, id uuid primary key);"
            "create table b (organization_id uuid, a_id uuid constraint plain references a (id))"
        ),
        "The foreign key plain does not include organization_id.",
    ),
    (
        "create view peek as select id from participant",
        "The view peek is not security_invoker.",
    ),
    (
        "create materialized view peek as select 1 as one",
        "The view peek is not security_invoker.",
    ),
    (
        "create function peek() returns int language sql security definer as 'select 1'",
        "The function peek may not be SECURITY DEFINER.",
    ),
    (
        "create function peek() returns int language sql security definer as 'select 1'",
        "The function peek does not set its search_path.",
    ),
    (
        "grant truncate on participant to stepwell_api",
        "This role holds a right that steps around row-level security: participant (truncate).",
    ),
    (
        "set log_statement = 'all'",
        "The server's log could hold what people wrote (log_statement): see roles.sql.",
    ),
    (
        "set log_error_verbosity = 'default'",
        "The server's log could hold what people wrote (log_error_verbosity): see roles.sql.",
    ),
]


async def findings_after(server: EmbeddedServer, breaking: str) -> list[str]:
    """What the API's role finds in a database that a superuser has just broken."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        # Nothing of it is ever committed: closing the connection rolls it back.
        await connection.execute("begin; set local search_path = stepwell")
        await connection.execute(breaking)
        await connection.execute("set local role stepwell_api")
        return await catalogue.check(connection)
    finally:
        await connection.close()


async def test_rel_31_a_database_that_keeps_its_promises_has_no_findings(
    server: EmbeddedServer,
) -> None:
    assert await findings_after(server, "select 1") == []


@pytest.mark.parametrize(("breaking", "sentence"), BROKEN)
async def test_rel_31_each_broken_database_has_its_sentence(
    server: EmbeddedServer, breaking: str, sentence: str
) -> None:
    found = await findings_after(server, breaking)
    assert [each for each in found if each.startswith(sentence)]


# The command, and the start


def check(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Result:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return CliRunner().invoke(cli, ["check"])


def test_rel_31_the_check_passes_what_is_safe(
    server: EmbeddedServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = check(
        monkeypatch,
        STEPWELL_DATABASE_URL=server.url(role="stepwell_api"),
        STEPWELL_DATA_DIR=str(settings.data_dir),
    )
    assert result.exit_code == 0
    assert result.stdout == "The configuration and the database are safe to start with.\n"


def test_rel_31_the_check_says_everything_that_is_wrong_and_fails(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = check(
        monkeypatch,
        STEPWELL_MODE="production",
        STEPWELL_DATABASE_URL=server.url(role="postgres"),
        **KEYS_ARE_NAMED,
    )
    assert result.exit_code == 1
    said = result.stderr.splitlines()
    for beginning in (
        "STEPWELL_WORKER_DATABASE_URL is not set",
        "STEPWELL_PUBLIC_URL must begin with https://",
        "STEPWELL_HOSTS must name",
        "The keys cannot be read",
        "The role postgres is a superuser",
    ):
        assert len([line for line in said if line.startswith(beginning)]) == 1, said
    assert result.stdout == ""


@pytest.mark.parametrize(
    "case",
    [
        ("DATABASE", "stepwell_migrate", "owns something, itself or by a role it is member of"),
        ("DATABASE", "stepwell_worker", "is not the one of this process: connect as stepwell_api."),
        ("DATABASE", "stepwell_backup", "bypasses row-level security"),
        ("WORKER_DATABASE", "stepwell_migrate", "member of: connect as stepwell_worker."),
        ("WORKER_DATABASE", "stepwell_api", "of this process: connect as stepwell_worker."),
    ],
)
def test_authz_20_each_process_has_a_role_and_no_other_will_do(
    server: EmbeddedServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, str, str],
) -> None:
    variable, role, sentence = case
    result = check(
        monkeypatch,
        STEPWELL_DATA_DIR=str(settings.data_dir),
        **{f"STEPWELL_{variable}_URL": server.url(role=role)},
    )
    assert result.exit_code == 1
    assert f"The role {role} is " in result.stderr
    assert sentence in result.stderr


async def test_authz_20_a_worker_in_the_api_s_role_does_not_start(
    server: EmbeddedServer, settings: Settings
) -> None:
    url = SecretStr(server.url(role="stepwell_api"))
    place = Workplace.of(settings.model_copy(update={"worker_database_url": url}))
    with pytest.raises(Misconfigured, match=r"connect as stepwell_worker\."):
        await place.check()
    await place.connections.close()


@pytest.mark.parametrize("variable", ["PGSSLROOTCERT", "HOME"])
def test_phi_08_the_check_says_that_the_authority_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    result = check(
        monkeypatch,
        **{variable: str(tmp_path / "nowhere")},
        STEPWELL_DATABASE_URL=url("127.0.0.1:1/stepwell?ssl=verify-full").get_secret_value(),
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("The database's certificate cannot be verified: PGSSLROOTCERT")


def test_rel_31_the_check_says_that_the_database_does_not_let_it_in(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = check(monkeypatch, STEPWELL_DATABASE_URL=server.url(role="nobody_at_all"))
    assert result.exit_code == 1
    assert result.stderr == (
        "The database does not let stepwell_api in: are the name and the password of its URL"
        " right?\n"
    )


@pytest.mark.parametrize("place", ["127.0.0.1:1/stepwell", "/stepwell?host=/nowhere"])
def test_rel_31_the_check_says_when_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    result = check(monkeypatch, STEPWELL_DATABASE_URL=url(place).get_secret_value())
    assert result.exit_code == 1
    assert result.stderr.startswith("The database cannot be reached")


async def test_authz_20_a_role_that_could_see_everything_stops_the_start(
    server: EmbeddedServer, settings: Settings
) -> None:
    runtime = make_runtime(settings, server.url(role="postgres"))
    app = create_app(runtime)
    with pytest.raises(Misconfigured, match="The role postgres is a superuser"):
        async with app.router.lifespan_context(app):
            pass
    assert app.state.has_started is False
    await runtime.connections.close()


async def test_authz_20_the_process_says_why_it_does_not_start(
    server: EmbeddedServer, settings: Settings
) -> None:
    with pytest.raises(DidNotStart, match="The role postgres is a superuser"):
        async with api_processes(server, settings, database_url=server.url(role="postgres")):
            pass
