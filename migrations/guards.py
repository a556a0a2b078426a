"""What every tenant table gets: row-level security, a policy, and no more rights than it needs."""

from collections.abc import Sequence

from alembic import op


def guard_table(
    table: str,
    *,
    api: Sequence[str] = ("select", "insert", "update"),
    worker: Sequence[str] = ("select", "insert", "update"),
) -> None:
    """Close a tenant table to all but its organization's transactions (AUTHZ-22 to 24).

    The scalar sub-select is evaluated once for a statement and leaves the index usable;
    FORCE binds the owner too.
    """
    op.execute(f"alter table {table} enable row level security")
    op.execute(f"alter table {table} force row level security")
    op.execute(
        f"create policy organization on {table}"
        " using (organization_id = (select stepwell.organization_id()))"
        " with check (organization_id = (select stepwell.organization_id()))"
    )
    grant_table(table, api=api, worker=worker)


def grant_table(table: str, *, api: Sequence[str], worker: Sequence[str]) -> None:
    """Give the two running roles what they need, and nothing that steps around a policy."""
    if api:
        op.execute(f"grant {', '.join(api)} on {table} to stepwell_api")
    if worker:
        op.execute(f"grant {', '.join(worker)} on {table} to stepwell_worker")
    op.execute(f"grant select on {table} to stepwell_backup")


def definer_function(declaration: str, signature: str, *, roles: Sequence[str]) -> None:
    """Create a function that sees across organizations, for `roles` only.

    It belongs to `stepwell_auth`, which can do nothing but what its policies and grants say,
    and every one is on the list that the catalogue check compares with (AUTHZ-24).
    """
    op.execute(declaration)
    op.execute(f"revoke all on function {signature} from public")
    for role in roles:
        op.execute(f"grant execute on function {signature} to {role}")
    # Giving a function away needs membership in both roles, which only the migrating role has.
    op.execute("grant create on schema stepwell to stepwell_auth")
    op.execute("reset role")
    op.execute(f"alter function {signature} owner to stepwell_auth")
    op.execute("set role stepwell_owner")
    op.execute("revoke create on schema stepwell from stepwell_auth")
