"""Driver connections, for those who must not import the application to have one: the floors."""

import asyncpg


async def connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect to a URL that is written for SQLAlchemy."""
    return await asyncpg.connect(driver_url(url))


def driver_url(url: str) -> str:
    """Spell a URL as the driver does."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)
