"""Asks the process in this container whether it lives; exits 0 when it does.

The service answers only to its own host names, so it is asked by the first of them.
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection

TIMEOUT_SECONDS = 2


def is_alive() -> bool:
    """Whether `/livez` answers 200 in time."""
    port = int(os.environ.get("STEPWELL_PORT", "8000"))
    host = os.environ.get("STEPWELL_HOSTS", "localhost").split(",")[0].strip()
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/livez", headers={"Host": host})
        return connection.getresponse().status == HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive() else 1)
