"""The tenant of a transaction, and a range over ids.

`stepwell.organization_id()` is null when nothing is set, so that no policy lets anything
through; a setting that was used once reads '' afterwards, hence `nullif` (AUTHZ-22). The range
type lets an exclusion constraint compare ids without a contrib extension.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("create type uuidrange as range (subtype = uuid)")
    op.execute(
        """
        create function organization_id() returns uuid
        language sql stable parallel safe
        as $$ select nullif(current_setting('stepwell.organization_id', true), '')::uuid $$
        """
    )
    op.execute(
        """
        create function enter_organization(p_organization uuid) returns void
        language sql
        as $$ select set_config('stepwell.organization_id', p_organization::text, true) $$
        """
    )
    op.execute(
        """
        create function refuse_change() returns trigger
        language plpgsql
        as $$
        begin
            raise exception '% is insert-only', tg_table_name
                using errcode = 'restrict_violation';
        end
        $$
        """
    )
    for function in ("organization_id()", "enter_organization(uuid)"):
        op.execute(f"grant execute on function {function} to public")
