"""Two API processes for all tests of live connections, and a limit to waiting for a frame."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Final

import pytest

from app.core import embedded
from app.settings import Settings
from tests.factories import Make
from tests.processes import ApiProcess, api_processes
from tests.realtime.staging import Stage, open_stage

PATIENCE: Final = 120
"""Seconds after which a test has failed; nothing waits for them to pass."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let no test wait forever for a frame that does not come.

    A fixture could not do it: it runs in a task of its own.
    """
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _impatient(item.obj)


def _impatient(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def within_patience(*args: object, **fixtures: object) -> None:
        async with asyncio.timeout(PATIENCE):
            await test(*args, **fixtures)

    return within_patience


@pytest.fixture(scope="session")
async def apis(
    server: embedded.EmbeddedServer, settings: Settings
) -> AsyncIterator[list[ApiProcess]]:
    """Two processes behind which everybody is the same."""
    async with api_processes(server, settings, 2) as processes:
        yield processes


@pytest.fixture
async def stage(make: Make) -> Stage:
    """A group's room with its leader."""
    return await open_stage(make)
