"""What every table has in common: its tenant, its version and the class of each column."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    event,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, declared_attr, mapped_column
from typing_extensions import override

from app.core.ids import new_id

NAMING = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_1_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}

Code = Annotated[str, mapped_column(Text, info={"class": "code"})]
"""A word of a closed or technical vocabulary: a state, a slug, a key. Never about a person."""

OrganizationText = Annotated[str, mapped_column(Text, info={"class": "organization-text"})]
"""What an organization calls its own things (a program, a group). Never about a person."""

Sealed = Annotated[bytes, mapped_column(LargeBinary, info={"class": "phi-text"})]
"""Text about a person, sealed before it reaches the database (PHI-01, PHI-03)."""

Secret = Annotated[bytes, mapped_column(LargeBinary, info={"class": "secret"})]
"""A wrapped key or a sealed secret."""

Digest = Annotated[bytes, mapped_column(LargeBinary, info={"class": "digest"})]
"""SHA-256 of a secret of 256 random bits, or of a document."""

BlindIndex = Annotated[bytes, mapped_column(LargeBinary, info={"class": "blind-index"})]
"""HMAC of a normalized identifier, so that it can be found without being stored (PHI-04)."""


class Base(DeclarativeBase):
    """The registry of tables. A row shows its type and id, never its content."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {
        datetime: DateTime(timezone=True),
        UUID: Uuid,
        bytes: LargeBinary,
        str: Text,
    }

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'id', '?')}>"


class Tenant:
    """A row of one organization; row-level security keeps it there (AUTHZ-21 to 23)."""

    organization_id: Mapped[UUID] = mapped_column(
        primary_key=True,
        server_default=text("stepwell.organization_id()"),
        sort_order=-20,
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id, sort_order=-10)


class Versioned:
    """A row that people change: each change raises its version, which is its ETag (API-08)."""

    version: Mapped[int] = mapped_column(default=1, sort_order=80)
    created_at: Mapped[datetime] = mapped_column(sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(sort_order=91)

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, object]:  # noqa: N805 (SQLAlchemy calls it on the class)
        return {"version_id_col": cls.version}


E = TypeVar("E", bound=StrEnum)


class Word(TypeDecorator[E], Generic[E]):
    """A word of a closed vocabulary: text in the database, an enumeration member in Python."""

    impl = Text
    cache_ok = True

    def __init__(self, vocabulary: type[E]) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    @override
    def process_result_value(self, value: Any | None, dialect: Dialect) -> E | None:
        return None if value is None else self.vocabulary(value)


def word(column: str, vocabulary: type[E], *, default: E | None = None) -> MappedColumn[E]:
    """A column that holds one word of `vocabulary`; the database refuses any other."""
    return mapped_column(column, Word(vocabulary), default=default, info={"class": "code"})


@event.listens_for(Column, "after_parent_attach")
def _keep_the_vocabulary(column: Column[Any], table: Table) -> None:
    """Give the table the check that a word column promises; the column's own is not migrated."""
    # A mapped column is announced twice: when it is declared and when its table is made.
    if isinstance(column.type, Word) and not column.info.get("is_kept"):
        column.info["is_kept"] = True
        words = ", ".join(f"'{member.value}'" for member in column.type.vocabulary)
        check = CheckConstraint(f"{column.name} in ({words})", name=column.name)
        table.append_constraint(check)


def belongs_to(table: str, column: str | None = None) -> ForeignKeyConstraint:
    """Bind `column` to a row of the same organization.

    Foreign-key checks ignore row-level security, so a plain key would accept another
    organization's row (AUTHZ-23).
    """
    return ForeignKeyConstraint(
        ["organization_id", column or f"{table}_id"],
        [f"{table}.organization_id", f"{table}.id"],
    )
