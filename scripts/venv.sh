#!/bin/sh
# Makes the virtual environment $VENV with the first Python that is new enough ($PY is asked
# first), and installs uv into it from the hashed lock. The Makefile does the rest.
set -eu

VENV=${VENV:-.venv}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in "${PY:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "Stepwell needs Python 3.11 or later: install it, or name it: make PY=/path/to/python" >&2
    exit 1
}

# Debian and Ubuntu keep the module that makes environments in a package of its own.
install_venv() {
    if [ "$(id -u)" -eq 0 ]; then as_root=
    elif command -v sudo >/dev/null; then as_root=sudo
    else as_root=none
    fi
    if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
        echo "This Python cannot make virtual environments: install the package python3-venv." >&2
        exit 1
    fi
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$package" >/dev/null
}

python=$(find_python)
if ! [ -x "$VENV/bin/python" ]; then
    "$python" -c 'import ensurepip' 2>/dev/null || install_venv "$python"
    "$python" -m venv "$VENV"
elif ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    "$VENV/bin/python" -m ensurepip
fi
"$VENV/bin/python" -m pip install -q --require-hashes --no-deps -r requirements-bootstrap.lock
touch "$VENV/bin/uv"
