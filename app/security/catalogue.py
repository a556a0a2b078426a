"""The database's own account of how tenants are kept apart, compared with what must be (AUTHZ-26).

Run before the first request is served, by `stepwell check`, and by the tests: a migration that
adds a bare table, a plain foreign key or a view of its own stops the start.
"""

import os
import ssl
from pathlib import Path
from typing import Final

import asyncpg

from app.core.database import Connections, connection_lost
from app.core.problems.database import sqlstate
from app.migrate import head

DEFINER_FUNCTIONS: Final = frozenset(
    {
        "accesses_to_participant",
        "accounts_with_login",
        "event_positions",
        "live_sign_ins",
        "longest_waits",
        "open_request",
        "organization_of_invitation",
        "organization_of_realtime_ticket",
        "organization_of_refresh_token",
        "room_heads",
        "standing_members",
        "worker_claim_deliveries",
        "worker_organizations",
        "worker_organizations_with_events",
    }
)
"""The functions that may see across organizations (AUTHZ-24). Everything else is refused."""

API_ROLE: Final = "stepwell_api"
WORKER_ROLE: Final = "stepwell_worker"

# Of a superuser pg_has_role says that it is everybody; of everybody, that they are themselves.
_UNSAFE_ROLE: Final = """
    select current_user::text where exists (
        select from pg_roles r
        where pg_has_role(r.oid, 'member') and (
            r.rolsuper or r.rolbypassrls
            or exists (select from pg_class c where c.relowner = r.oid)
            or exists (select from pg_proc p where p.proowner = r.oid)
            or exists (select from pg_namespace n where n.nspowner = r.oid)
        )
    )
"""
_TENANT_TABLES: Final = """
    select c.oid, c.relname::text as name, c.relrowsecurity and c.relforcerowsecurity as secured,
        exists (
            select from pg_policy p where p.polrelid = c.oid and p.polcmd = '*'
                and p.polwithcheck is not null and p.polroles = '{0}'
        ) as has_policy,
        exists (
            select from pg_index i where i.indrelid = c.oid and i.indisunique
                and i.indkey[0] = a.attnum
        ) as leads
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'organization_id'
    where n.nspname = 'stepwell' and c.relkind in ('r', 'p')
    order by 2
"""
_PLAIN_FOREIGN_KEYS: Final = """
    select k.conname::text from pg_constraint k
    join pg_attribute mine on mine.attrelid = k.conrelid and mine.attname = 'organization_id'
    join pg_attribute theirs
        on theirs.attrelid = k.confrelid and theirs.attname = 'organization_id'
    where k.contype = 'f' and not (
        mine.attnum = any(k.conkey) and theirs.attnum = any(k.confkey)
    )
"""
_OPEN_VIEWS: Final = """
    select c.relname::text from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'stepwell' and (
        c.relkind = 'm'
        or c.relkind = 'v' and not coalesce('security_invoker=true' = any(c.reloptions), false)
    )
"""
_DEFINERS: Final = """
    select p.proname::text as name,
        coalesce(array_to_string(p.proconfig, ',') like '%search_path=%', false) as pinned
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'stepwell' and p.prosecdef
"""
_DANGEROUS_GRANTS: Final = """
    select g.table_name || ' (' || lower(g.privilege_type) || ')'
    from information_schema.role_table_grants g
    where g.table_schema = 'stepwell' and g.grantee = current_user
        and g.privilege_type in ('TRUNCATE', 'REFERENCES', 'TRIGGER')
"""
_LOGGED: Final = """
    select s.name from pg_settings s
    join (values
        ('log_error_verbosity', 'terse'),
        ('log_min_error_statement', 'panic'),
        ('log_parameter_max_length', '0'),
        ('log_parameter_max_length_on_error', '0'),
        ('log_statement', 'none')
    ) wanted (name, value) using (name)
    where s.setting != wanted.value
    order by 1
"""
_UNREACHABLE: Final = "The database cannot be reached: does it run, and is its URL right?"
_NOT_LET_IN: Final = {
    "28": "The database does not let {role} in: are the name and the password of its URL right?",
    "3D": "The database that the URL of {role} names does not exist: create it, run roles.sql.",
}
_NO_AUTHORITY: Final = (
    "The database's certificate cannot be verified: PGSSLROOTCERT must name the file of the"
    " authority that signed it."
)


async def findings(connections: Connections, *, role: str = API_ROLE) -> list[str]:
    """The same of a database that may not answer at all, or not to this role."""
    try:
        async with connections.lane() as lane:
            return await check(await lane.begun(), role=role)
    except Exception as error:
        if (sentence := _why_not(error, role)) is None:
            raise
        return [sentence]


def _why_not(error: BaseException, role: str) -> str | None:
    """Why there is no connection, without a word of the driver's; None for anything else."""
    cause: BaseException | None = error
    while cause is not None:
        if (refusal := _NOT_LET_IN.get((sqlstate(cause) or "")[:2])) is not None:
            return refusal.format(role=role)
        if isinstance(cause, ssl.SSLError | asyncpg.ClientConfigurationError):
            return _NO_AUTHORITY
        cause = cause.__cause__
    authority = os.environ.get("PGSSLROOTCERT")
    if isinstance(error, FileNotFoundError) and authority and not Path(authority).is_file():
        return _NO_AUTHORITY
    return _UNREACHABLE if connection_lost(error) else None


async def check(connection: asyncpg.Connection, *, role: str = API_ROLE) -> list[str]:
    """What is wrong with the database, a sentence each; nothing when it keeps its promises.

    `role` is the one this process must be: what it can do is what AUTHZ-20 lets it do.
    """
    findings = await _check_role(connection, role)
    revision = await _revision(connection)
    if revision != head():
        return [*findings, "The schema is not the one of this version: run `stepwell migrate`."]
    findings += await _check_tables(connection)
    findings += await _check_functions(connection)
    for name in await _names(connection, _PLAIN_FOREIGN_KEYS):
        findings.append(f"The foreign key {name} does not include organization_id.")
    for name in await _names(connection, _OPEN_VIEWS):
        findings.append(f"The view {name} is not security_invoker.")
    for grant in await _names(connection, _DANGEROUS_GRANTS):
        findings.append(f"This role holds a right that steps around row-level security: {grant}.")
    for name in await _names(connection, _LOGGED):
        findings.append(f"The server's log could hold what people wrote ({name}): see roles.sql.")
    return findings


async def _check_role(connection: asyncpg.Connection, role: str) -> list[str]:
    unsafe = [
        f"The role {name} is a superuser, bypasses row-level security or owns something, itself"
        f" or by a role it is member of: connect as {role}."
        for name in await _names(connection, _UNSAFE_ROLE)
    ]
    present = await connection.fetchval("select current_user::text")
    if unsafe or present == role:
        return unsafe
    return [f"The role {present} is not the one of this process: connect as {role}."]


async def _revision(connection: asyncpg.Connection) -> str | None:
    if not await connection.fetchval("select to_regclass('stepwell.alembic_version') is not null"):
        return None
    revision: str | None = await connection.fetchval("select version_num from alembic_version")
    return revision


async def _check_tables(connection: asyncpg.Connection) -> list[str]:
    findings = []
    for table in await connection.fetch(_TENANT_TABLES):
        if not table["secured"]:
            findings.append(f"The table {table['name']} has no forced row-level security.")
        if not table["has_policy"]:
            findings.append(f"The table {table['name']} has no policy for every command.")
        if not table["leads"]:
            findings.append(f"No unique index of {table['name']} begins with organization_id.")
    return findings


async def _check_functions(connection: asyncpg.Connection) -> list[str]:
    findings = []
    for function in await connection.fetch(_DEFINERS):
        if function["name"] not in DEFINER_FUNCTIONS:
            findings.append(f"The function {function['name']} may not be SECURITY DEFINER.")
        if not function["pinned"]:
            findings.append(f"The function {function['name']} does not set its search_path.")
    return findings


async def _names(connection: asyncpg.Connection, query: str) -> list[str]:
    return [row[0] for row in await connection.fetch(query)]
