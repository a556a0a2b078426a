"""Sealing and unsealing inside a transaction: the vault, as services meet it.

The vault travels with the database handle, so that a service needs no more than the handle it
already has.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import asyncpg

from app.core.database import Handle, Lane, in_lane
from app.models.organizations import KeyPurpose
from app.security.sealing import Cell, DataKey
from app.security.vault import Keys, Vault

__all__ = [
    "Cell",
    "DataKey",
    "Keys",
    "blind_index",
    "keys_for",
    "login_index",
    "opened",
    "organization_key",
    "participant_key",
    "sealed",
]


def _vault(lane: Lane) -> Vault:
    vault: Vault = lane.info["vault"]
    return vault


async def participant_key(handle: Handle, participant_id: UUID) -> DataKey:
    """The key that seals what is about this participant; made on first use."""
    lane = await in_lane(handle)
    return await _vault(lane).for_participant(lane, lane.info["organization_id"], participant_id)


async def organization_key(handle: Handle, purpose: KeyPurpose) -> DataKey:
    """The organization's own key for staff names or for secrets."""
    lane = await in_lane(handle)
    return await _vault(lane).for_organization(lane, lane.info["organization_id"], purpose)


async def keys_for(handle: Handle, blobs: Iterable[bytes | None]) -> Keys:
    """Have at hand every key that these cells need; no round trip when all are cached."""
    lane = await in_lane(handle)
    return await _vault(lane).load(lane, lane.info["organization_id"], blobs)


async def blind_index(handle: Handle, purpose: str, normalized: str) -> bytes:
    """Where an identifier can be looked up within the organization (PHI-04)."""
    lane = await in_lane(handle)
    return await _vault(lane).blind_index(lane, lane.info["organization_id"], purpose, normalized)


def login_index(handle: Handle, email: str) -> bytes:
    """Where an account is looked up at sign-in, before its organization is known."""
    vault: Vault = handle.info["vault"]
    return vault.global_index("login", email)


def opened(
    keys: Keys, table: str, row: Mapping[str, Any] | asyncpg.Record, *columns: str
) -> dict[str, str | None]:
    """The sealed columns of a row, as text; a column that holds nothing stays None."""
    return {
        column: None
        if (blob := row[column]) is None
        else keys.unseal(Cell(table, column, row["id"]), blob)
        for column in columns
    }


def sealed(key: DataKey, table: str, row_id: UUID, **texts: str | None) -> dict[str, bytes | None]:
    """Texts of a row, sealed for the column that each is named after."""
    return {
        column: None if text is None else key.seal(Cell(table, column, row_id), text)
        for column, text in texts.items()
    }
