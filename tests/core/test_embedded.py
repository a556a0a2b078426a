"""The embedded PostgreSQL, as real processes: who starts it, who stops it, what a crash leaves."""

import asyncio
import concurrent.futures
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.core import embedded
from app.core.embedded import EmbeddedServer, EmbeddedUnavailable

ROOT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0
LOG_SETTINGS = {
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
}


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the server's user can walk through, as a checkout usually is."""
    with tempfile.TemporaryDirectory(prefix="stepwell-home-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedServer]:
    server = embedded.start(home / "data", for_tests=True)
    yield server
    server.stop()


def ask(
    server: EmbeddedServer, query: str, *, role: str = "postgres", database: str = "postgres"
) -> Any:  # noqa: ANN401 (whatever the database answers)
    async def _ask() -> Any:  # noqa: ANN401 (the same)
        connection = await asyncpg.connect(
            host=str(server.socket_dir), user=role, database=database
        )
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(_ask())


def process_of(server: EmbeddedServer) -> int:
    return int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Where nothing reaps orphans, as in some containers, the dead stay listed.
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("major", [16, 18])
def test_a_server_is_durable_silent_and_reachable_by_its_socket_only(
    home: Path, major: int
) -> None:
    server = embedded.start(home / "data", major=major)
    try:
        assert server.was_started_here
        assert ask(server, "show server_version").startswith(f"{major}.")
        assert ask(server, "show fsync") == "on"
        assert ask(server, "show synchronous_commit") == "on"
        assert ask(server, "show listen_addresses") == ""
        assert {name: ask(server, f"show {name}") for name in LOG_SETTINGS} == LOG_SETTINGS
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    finally:
        server.stop()


@pytest.mark.parametrize("major", [16, 18])
def test_text_sorts_by_code_point_whatever_the_caller_speaks(
    home: Path, major: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    server = embedded.start(home / "data", major=major, for_tests=True)
    try:
        words = "select string_agg(w, '' order by w) from unnest(array['b', 'a', 'B', 'ä']) w"
        assert ask(server, words) == "Babä"
        assert ask(server, "select upper('ä')") == "Ä"
        assert ask(server, "show timezone") == "UTC"
    finally:
        server.stop()


def test_a_server_for_tests_forgoes_durability(server: EmbeddedServer) -> None:
    assert ask(server, "show fsync") == "off"
    assert ask(server, "show synchronous_commit") == "off"
    assert ask(server, "show log_error_verbosity") == "terse"


def test_a_second_start_finds_the_first_server_and_leaves_it_running(
    server: EmbeddedServer,
) -> None:
    second = embedded.start(server.data_dir, for_tests=True)
    assert not second.was_started_here
    assert not second.is_ours
    assert second.url(role="stepwell_api") == server.url(role="stepwell_api")

    second.stop()
    assert ask(server, "select 1") == 1


def test_stop_waits_until_no_process_is_left_and_may_be_repeated(server: EmbeddedServer) -> None:
    pid = process_of(server)
    server.stop()
    assert not is_running(pid)
    assert not server.socket_dir.exists()
    assert not server.is_ours
    server.stop()


def test_starts_that_race_get_one_server(home: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        servers = list(pool.map(lambda _: embedded.start(home / "data", for_tests=True), range(4)))
    try:
        assert sum(server.was_started_here for server in servers) == 1
        assert sum(server.is_ours for server in servers) == 1
    finally:
        for server in servers:
            server.stop()


def start_and_be_killed(data_dir: Path) -> int:
    program = (
        "import os, signal, sys; from pathlib import Path; from app.core import embedded;"
        " embedded.start(Path(sys.argv[1]), for_tests=True);"
        " os.kill(os.getpid(), signal.SIGKILL)"
    )
    return subprocess.run(  # noqa: S603 (this interpreter)
        [sys.executable, "-c", program, str(data_dir)], cwd=ROOT, check=False
    ).returncode


def test_the_server_of_a_starter_that_was_killed_is_adopted(home: Path) -> None:
    assert start_and_be_killed(home / "data") == -signal.SIGKILL

    server = embedded.start(home / "data", for_tests=True)
    pid = process_of(server)
    assert not server.was_started_here
    assert server.is_ours
    server.stop()
    assert not is_running(pid)


def test_what_was_committed_survives_a_crash_of_the_server(home: Path) -> None:
    first = embedded.start(home / "data")
    ask(first, "create table kept as select 7 as value")
    first.stop("immediate")
    second = embedded.start(home / "data")
    try:
        assert second.was_started_here
        assert ask(second, "select value from kept") == 7
    finally:
        second.stop()


def test_a_pid_file_that_names_a_stranger_does_not_prevent_a_start(home: Path) -> None:
    first = embedded.start(home / "data", for_tests=True)
    path, content = home / "data" / "postmaster.pid", (home / "data" / "postmaster.pid").read_text()
    first.stop()
    path.write_text(content.replace(content.splitlines()[0], str(os.getpid()), 1))
    path.chmod(0o644)

    second = embedded.start(home / "data", for_tests=True)
    try:
        assert second.was_started_here
        assert process_of(second) != os.getpid()
    finally:
        second.stop()


def test_a_server_has_a_session_of_its_own_so_that_ctrl_c_passes_it_by(
    server: EmbeddedServer,
) -> None:
    assert os.getsid(process_of(server)) != os.getsid(0)


def test_a_server_for_tests_is_never_served_on(server: EmbeddedServer) -> None:
    with pytest.raises(EmbeddedUnavailable, match="was started for tests"):
        embedded.start(server.data_dir)


def test_another_version_s_data_is_refused_with_what_to_do(server: EmbeddedServer) -> None:
    server.stop()
    with pytest.raises(EmbeddedUnavailable, match="STEPWELL_EMBEDDED_MAJOR=18"):
        embedded.start(server.data_dir, major=16)


def test_a_version_that_the_wheel_lacks_is_refused(home: Path) -> None:
    with pytest.raises(EmbeddedUnavailable, match="it has 16 and 18"):
        embedded.start(home / "data", major=17)


def test_somebody_s_files_are_not_taken_for_a_database(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "thesis.txt").write_text("years of work")
    with pytest.raises(EmbeddedUnavailable, match="not empty, and not a database"):
        embedded.start(home / "data", for_tests=True)
    assert (home / "data" / "thesis.txt").read_text() == "years of work"


def test_an_empty_directory_is_filled(home: Path) -> None:
    (home / "data").mkdir(mode=0o755)
    embedded.start(home / "data", for_tests=True).stop()
    assert (home / "data" / "PG_VERSION").exists()


def test_an_initialization_that_was_cut_short_is_begun_anew(home: Path) -> None:
    (home / "data.new").mkdir()
    (home / "data.new" / "PG_VERSION").write_text("18")
    embedded.start(home / "data", for_tests=True).stop()
    assert not (home / "data.new").exists()


def test_a_path_too_long_for_a_socket_gets_a_short_one(home: Path) -> None:
    server = embedded.start(home / ("long" * 30) / "it's" / "data", for_tests=True)
    try:
        assert len(str(server.socket_dir / ".s.PGSQL.5432")) < 100
        assert ask(server, "select 1") == 1
    finally:
        server.stop()


def test_a_socket_directory_that_somebody_else_put_there_is_refused(home: Path) -> None:
    (home / "elsewhere").mkdir()
    (home / "data.socket").symlink_to(home / "elsewhere")
    with pytest.raises(EmbeddedUnavailable, match="belongs to somebody else"):
        embedded.start(home / "data", for_tests=True)
    assert (home / "elsewhere").stat().st_uid == os.geteuid()


@pytest.fixture
def closed(home: Path) -> Path:
    """A directory that only we can enter, as a home directory often is."""
    (home / "closed").mkdir(mode=0o700)
    return home / "closed"


def test_the_rights_of_no_parent_change(closed: Path) -> None:
    before = {path: path.stat() for path in (closed, *closed.parents)}

    server = embedded.start(closed / "new" / "data", for_tests=True)
    try:
        for path, was in before.items():
            assert (path.stat().st_mode, path.stat().st_uid) == (was.st_mode, was.st_uid), path
        # As root, the server's user cannot enter: the data is elsewhere rather than laid open.
        assert server.data_dir.is_relative_to(closed) is not IS_ROOT
    finally:
        server.stop()


def test_data_is_found_again_where_it_was_asked_for(closed: Path) -> None:
    first = embedded.start(closed / "data", for_tests=True)
    ask(first, "create table kept as select 7 as value")
    second = embedded.start(closed / "data", for_tests=True)
    assert not second.was_started_here
    first.stop()

    third = embedded.start(closed / "data", for_tests=True)
    try:
        assert third.data_dir == first.data_dir
        assert ask(third, "select value from kept") == 7
    finally:
        third.stop()


def test_what_killed_tests_leave_behind_is_cleared_away(closed: Path, home: Path) -> None:
    starter = start_and_be_killed(closed / "data")
    left = (closed / "data").resolve()
    pid = int((left / "postmaster.pid").read_text().splitlines()[0])
    assert starter == -signal.SIGKILL
    assert is_running(pid)

    if IS_ROOT:
        (closed / "data").unlink()
        embedded.start(home / "other", for_tests=True).stop()
        assert not left.parent.exists()
    else:
        embedded.start(closed / "data", for_tests=True).stop()
    assert not is_running(pid)


def test_a_temporary_server_goes_away_with_its_data() -> None:
    with embedded.temporary() as server:
        pid = process_of(server)
        assert ask(server, "select current_schema", role="stepwell_api", database="stepwell") == (
            "stepwell"
        )
    assert not is_running(pid)
    assert not server.data_dir.parent.exists()


@pytest.mark.parametrize("major", [16, 18])
def test_bootstrap_may_run_again_and_twice_at_once(home: Path, major: int) -> None:
    server = embedded.start(home / "data", major=major, for_tests=True)
    try:
        embedded.bootstrap(server)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for done in [pool.submit(embedded.bootstrap, server) for _ in range(3)]:
                done.result()
        assert ask(server, "select count(*) from pg_roles where rolname like 'stepwell%'") == 7
    finally:
        server.stop()


@pytest.fixture(scope="module")
def bootstrapped() -> Iterator[EmbeddedServer]:
    with embedded.temporary() as server:
        yield server


@pytest.mark.parametrize(
    ("role", "may_sign_in", "bypasses"),
    [
        ("stepwell_owner", False, False),
        ("stepwell_auth", False, False),
        ("stepwell_audit_reader", False, False),
        ("stepwell_migrate", True, False),
        ("stepwell_api", True, False),
        ("stepwell_worker", True, False),
        ("stepwell_backup", True, True),
    ],
)
def test_authz_20_roles_are_no_more_than_they_must_be(
    bootstrapped: EmbeddedServer, role: str, *, may_sign_in: bool, bypasses: bool
) -> None:
    query = (
        "select array[rolcanlogin, rolbypassrls, rolsuper, rolcreatedb, rolcreaterole,"  # noqa: S608 (our own names)
        f" rolreplication] from pg_roles where rolname = '{role}'"
    )
    assert ask(bootstrapped, query) == [may_sign_in, bypasses, False, False, False, False]


@pytest.mark.parametrize("role", ["stepwell_api", "stepwell_worker"])
def test_authz_20_serving_roles_own_nothing_and_belong_to_nobody(
    bootstrapped: EmbeddedServer, role: str
) -> None:
    owned = (
        "select count(*) from pg_shdepend where refclassid = 'pg_authid'::regclass"  # noqa: S608 (our own names)
        f" and refobjid = '{role}'::regrole and deptype = 'o'"
    )
    member = f"select count(*) from pg_auth_members where member = '{role}'::regrole"  # noqa: S608 (our own names)
    assert ask(bootstrapped, owned, database="stepwell") == 0
    assert ask(bootstrapped, member) == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        ask(bootstrapped, "create table mine (x int)", role=role, database="stepwell")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        ask(bootstrapped, "create temporary table mine (x int)", role=role, database="stepwell")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        ask(bootstrapped, "set role stepwell_owner", role=role, database="stepwell")


def test_authz_20_widened_roles_are_narrowed_again(bootstrapped: EmbeddedServer) -> None:
    ask(bootstrapped, "alter role stepwell_api superuser bypassrls")
    embedded.bootstrap(bootstrapped)
    query = "select rolsuper or rolbypassrls from pg_roles where rolname = 'stepwell_api'"
    assert ask(bootstrapped, query) is False


def test_authz_20_the_migrating_role_acts_as_the_owner(bootstrapped: EmbeddedServer) -> None:
    for role in ("stepwell_owner", "stepwell_auth"):
        ask(bootstrapped, f"set role {role}", role="stepwell_migrate", database="stepwell")


@pytest.mark.parametrize("role", ["stepwell_api", "stepwell_worker"])
def test_aud_07_serving_roles_have_timeouts(bootstrapped: EmbeddedServer, role: str) -> None:
    limits = {
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "10s",
        "transaction_timeout": "30s",
    }
    for name, limit in limits.items():
        assert ask(bootstrapped, f"show {name}", role=role, database="stepwell") == limit


def test_phi_11_what_a_person_wrote_stays_out_of_the_server_s_log(
    bootstrapped: EmbeddedServer,
) -> None:
    async def provoke() -> None:
        connection = await asyncpg.connect(
            host=str(bootstrapped.socket_dir), user="postgres", database="postgres"
        )
        await connection.execute("create table told (note text unique check (note <> 'canary-1'))")
        await connection.execute("insert into told values ('canary-2')")
        for note in ("canary-1", "canary-2"):
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                await connection.execute("insert into told values ($1)", note)
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.execute("select 'canary-3' from where")
        await connection.close()

    asyncio.run(provoke())
    log = (bootstrapped.data_dir / "server.log").read_text()
    assert "violates check constraint" in log
    assert "violates unique constraint" in log
    assert "canary" not in log
