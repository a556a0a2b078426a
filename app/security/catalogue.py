"""The database's own account of how tenants are kept apart, compared with what must be (AUTHZ-26).

Run before the first request is served, by `stepwell check`, and by the tests: a migration that
adds a bare table, a plain foreign key or a view of its own stops the start.
"""

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

_UNSAFE_ROLE: Final = """
    select r.rolname::text from pg_roles r
    where r.rolname = current_user and (
        r.rolsuper or r.rolbypassrls
        or exists (select from pg_class c where c.relowner = r.oid)
        or exists (select from pg_proc p where p.proowner = r.oid)
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
_NOT_LET_IN: Final = frozenset({"28", "3D"})


async def findings(connections: Connections) -> list[str]:
    """The same of a database that may not answer at all."""
    try:
        async with connections.lane() as lane:
            return await check(await lane.begun())
    except Exception as error:
        if not connection_lost(error) and (sqlstate(error) or "")[:2] not in _NOT_LET_IN:
            raise
        return [_UNREACHABLE]


async def check(connection: asyncpg.Connection) -> list[str]:
    """What is wrong with the database, a sentence each; nothing when it keeps its promises."""
    findings = await _check_role(connection)
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


async def _check_role(connection: asyncpg.Connection) -> list[str]:
    return [
        f"The role {name} is a superuser, bypasses row-level security or owns something:"
        " connect as stepwell_api."
        for name in await _names(connection, _UNSAFE_ROLE)
    ]


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
