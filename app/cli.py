"""The operator's command: thin, like a router. Every message says what to do next."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr, ValidationError

from app import contract, launch, migrate, seed
from app import worker as background
from app.core.database import Connections
from app.main import create_app, make_runtime
from app.models.organizations import Environment
from app.schemas.organization import OrganizationCreate
from app.security import catalogue, keyfiles, keys, turning
from app.security.keyring import BadKeyRing
from app.security.sealing import BadRootKey
from app.settings import Misconfigured, Settings, load, unsafe

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
organization = typer.Typer(no_args_is_help=True, help="Make organizations.")
cli.add_typer(organization, name="organization")
keyring = typer.Typer(no_args_is_help=True, help="Show keys, and replace them while all goes on.")
cli.add_typer(keyring, name="keys")
OPENAPI = Path(__file__).resolve().parent.parent / "openapi"


@cli.command()
def serve() -> None:
    """Serve the API. Without a database URL: with an embedded PostgreSQL, seeded, and a worker."""
    launch.serve(_settings())


@cli.command()
def worker() -> None:
    """Deliver events and webhooks, run the alert clocks, keep the schedule's horizon."""
    asyncio.run(background.run(_settings()))


@cli.command("migrate")
def migrate_database() -> None:
    """Bring the database to the schema of this version."""
    settings = _settings()
    if settings.migrate_database_url is None:
        raise _stop("STEPWELL_MIGRATE_DATABASE_URL is not set: give the URL of stepwell_migrate.")
    migrate.upgrade(settings.migrate_database_url.get_secret_value())


@cli.command("seed")
def seed_database() -> None:
    """Make the demonstration organization, once: synthetic people, two programs, a group."""
    settings = _settings()
    for line in asyncio.run(seed.run(settings, launch.database_url(settings))):
        typer.echo(line)


@cli.command()
def openapi(
    *,
    write: Annotated[bool, typer.Option(help="Write the contract to openapi/.")] = False,
    check: Annotated[bool, typer.Option(help="Fail when openapi/ differs from the code.")] = False,
) -> None:
    """Show, write or check the contract."""
    app = create_app(make_runtime(Settings(), "postgresql+asyncpg://stepwell_api@/stepwell"))
    documents = contract.documents(app)
    if write:
        contract.write(documents, OPENAPI)
    elif check:
        if stale := contract.stale(documents, OPENAPI):
            raise _stop(f"{', '.join(stale)}: not what the code says; run `make openapi`.")
    else:
        typer.echo(json.dumps(app.openapi(), indent=2, ensure_ascii=False))


@cli.command("check")
def check_configuration() -> None:
    """Say whether this configuration and database are safe to start with; exits 1 when not."""
    settings = _settings()
    findings = [*unsafe(settings), *_check_keys(settings)]
    findings += asyncio.run(_check_database(settings))
    for finding in dict.fromkeys(findings):  # both roles may find the same
        typer.echo(finding, err=True)
    if findings:
        raise typer.Exit(1)
    typer.echo("The configuration and the database are safe to start with.")


@cli.command()
def token(email: Annotated[str, typer.Argument(help="Whose sign-in.")]) -> None:
    """Make tokens for an account of a development organization, without a password."""
    typer.echo(asyncio.run(launch.development_token(_settings(), email)))


@organization.command("create")
def create_organization(
    slug: Annotated[str, typer.Option(help="Its short name, unique on this service.")],
    name: Annotated[str, typer.Option(help="What its people call it.")],
    admin_email: Annotated[str, typer.Option(help="The address of its first administrator.")],
    environment: Annotated[
        Environment, typer.Option(help="Development shows invitations, and may move its clock.")
    ] = Environment.PRODUCTION,
) -> None:
    """Make an organization, and a one-time invitation for its first administrator."""
    try:
        request = OrganizationCreate(
            slug=slug, name=name, environment=environment, admin_email=admin_email
        )
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)
        raise _stop("\n".join(f"--{_option(e['loc'])}: {e['msg']}." for e in wrong)) from None
    typer.echo(asyncio.run(launch.found_organization(_settings(), request)))


@keyring.command("list")
def list_keys() -> None:
    """Show which keys there are and where each stands; never a key itself."""
    root, ring = _key_places(_settings())
    typer.echo(_turned(lambda: "\n".join(turning.described(root, ring))))


@keyring.command("rotate-signing")
def rotate_signing(
    *,
    now: Annotated[bool, typer.Option(help="Do not wait: somebody may have the key.")] = False,
) -> None:
    """Do the next step of replacing the key that signs access tokens; three make a replacement."""
    _, directory = _key_places(_settings())
    typer.echo(_turned(lambda: turning.turn_ring(directory, at_once=now)))


@keyring.command("rotate-root")
def rotate_root() -> None:
    """Do the next step of replacing the root key; three make a replacement."""
    settings = _settings()
    typer.echo(_turned(lambda: asyncio.run(launch.turn_root(settings))))


def _key_places(settings: Settings) -> tuple[Path, Path]:
    return keys.root_file(settings), keys.ring_directory(settings)


def _turned(turn: Callable[[], str]) -> str:
    """What a step says when it was done; a sentence and exit 1 when it was not."""
    try:
        return turn()
    except keyfiles.Busy:
        raise _stop("Somebody else is replacing these keys.") from None
    except (BadKeyRing, BadRootKey, turning.TooEarly, turning.Unfinished) as reason:
        raise _stop(str(reason)) from None


def _option(place: tuple[int | str, ...]) -> str:
    return "-".join(map(str, place)).replace("_", "-")


def _check_keys(settings: Settings) -> list[str]:
    """Development makes its keys at the start; only keys that are named can be wrong before."""
    if settings.root_key_file is None and settings.token_keys_dir is None:
        return []
    try:
        keys.load(settings)
    except Misconfigured as error:
        return error.sentences
    return []


async def _check_database(settings: Settings) -> list[str]:
    return [
        *await _check_role(settings.database_url, catalogue.API_ROLE),
        *await _check_role(settings.worker_database_url, catalogue.WORKER_ROLE),
    ]


async def _check_role(url: SecretStr | None, role: str) -> list[str]:
    if url is None:
        return []
    connections = Connections(url.get_secret_value(), size=1)
    try:
        return await catalogue.findings(connections, role=role)
    finally:
        await connections.close()


def _settings() -> Settings:
    try:
        return load()
    except Misconfigured as error:
        raise _stop(str(error)) from None


def _stop(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(1)


def main() -> None:
    """Run the command; a configuration that cannot be started with is a sentence, not a trace."""
    try:
        cli()
    except Misconfigured as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
