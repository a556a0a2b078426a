"""`python -m tests.journey`: walk the first journey, and exit with 1 when something differs.

`python -m tests.journey admission` walks four ways through an intake instead.

Without anything else it runs over the embedded PostgreSQL 18. `STEPWELL_TEST_MAJOR=16` takes the
other embedded version; `STEPWELL_TEST_DATABASE_URL` names a superuser of a server that runs
already (PostgreSQL 15 or later), on which a database is made and dropped again.
"""

import asyncio
import os
import signal
import sys

from tests.journey.databases import embedded_database, external_database
from tests.journey.story import say
from tests.journey.walk import walk


def main() -> int:
    """Walk over the database that the environment names."""
    # Also where whoever started us ignores Ctrl-C, as a shell does for what it sends behind.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    url = os.environ.get("STEPWELL_TEST_DATABASE_URL")
    (way,) = sys.argv[1:] or ["first"]
    major = int(os.environ.get("STEPWELL_TEST_MAJOR", "18"))
    try:
        with embedded_database(major) if url is None else external_database(url) as database:
            return asyncio.run(walk(database, way))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("\nThe journey was broken off; everything that it started has been stopped.")
        return 130


sys.exit(main())
