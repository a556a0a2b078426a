"""New identifiers.

Ids are UUIDv7 (RFC 9562): they sort by the moment they were drawn, which keeps indexes dense and
lets pages be ordered by id. They are names, never keys to a door.
"""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Draw an id that sorts after every id this process has drawn before."""
    return uuid7()
