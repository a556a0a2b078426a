"""What a deployment runs besides the service: keys, a certificate, passwords, a health check."""

import os
import re
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from app.core import embedded
from app.core.embedded.programs import Programs, server_user
from app.security.keyring import KeyRing
from app.security.sealing import LocalRootKey
from app.webhooks.urls import PORTS

ROOT = Path(__file__).resolve().parents[1]


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 (this interpreter, and scripts of ours)
        [sys.executable, str(ROOT / "deploy" / script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_names_everything_that_compose_asks_for() -> None:
    compose = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    example = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8")

    asked = set(re.findall(r"\$\{(\w+)", compose))

    assert set(re.findall(r"(?m)^(\w+)=", example)) == asked
    assert {"STEPWELL_SMTP_URL", "STEPWELL_MAIL_FROM"} <= asked


def test_a_policy_lets_out_what_the_worker_sends_and_in_who_measures() -> None:
    policies = (ROOT / "deploy" / "kubernetes" / "network.yaml").read_text(encoding="utf-8")
    ports = {
        name: set(map(int, re.findall(r"port: (\d+)", policy)))
        for policy in policies.split("\n---\n")
        for name in re.findall(r"(?m)^  name: (\S+)", policy)
    }

    assert ports["stepwell-webhooks"] == PORTS
    assert ports["stepwell-mail"] == {465, 587}
    assert ports["stepwell-metrics"] == {8000, 8001}


def test_containers_are_waited_for_as_long_as_the_operator_is_told() -> None:
    compose = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")

    assert re.findall(r"stop_grace_period: (\d+)s", compose)[0] == "40"


def test_prepare_runs_by_its_path_from_anywhere_and_makes_its_directory(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for arguments in (["keys", "keys"], ["tls", "deep/tls", "localhost"]):
        subprocess.run(  # noqa: S603 (this interpreter, and a script of ours)
            [sys.executable, str(ROOT / "deploy" / "prepare.py"), *arguments],
            cwd=tmp_path,
            env=environment,
            check=True,
        )

    assert (tmp_path / "keys" / "root.key").exists()
    assert (tmp_path / "deep" / "tls" / "server.crt").exists()


def test_phi_08_keys_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    assert run("prepare.py", "keys", tmp_path / "keys").returncode == 0
    made = contents(tmp_path / "keys")
    LocalRootKey.load(tmp_path / "keys" / "root.key")
    KeyRing.load(tmp_path / "keys" / "tokens")

    assert run("prepare.py", "keys", tmp_path / "keys").returncode == 0
    assert contents(tmp_path / "keys") == made
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_phi_08_the_certificate_is_for_one_host_name(tmp_path: Path) -> None:
    assert run("prepare.py", "tls", tmp_path, "postgres").returncode == 0
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o600

    assert handshake(tmp_path, "postgres") == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, "elsewhere")


def test_a_certificate_is_kept_and_an_unfinished_one_made_anew(tmp_path: Path) -> None:
    run("prepare.py", "tls", tmp_path, "postgres")
    made = contents(tmp_path)
    run("prepare.py", "tls", tmp_path, "postgres")
    assert contents(tmp_path) == made

    (tmp_path / "server.crt").unlink()
    assert run("prepare.py", "tls", tmp_path, "postgres").returncode == 0
    assert handshake(tmp_path, "postgres") == "TLSv1.3"


def handshake(directory: Path, host: str) -> str | None:
    """Verify the server as `ssl=verify-full` does, by the authority; answers the version."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(directory / "server.crt", directory / "server.key")
    client_context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    steps: list[Callable[[], None]] = [client.do_handshake, server.do_handshake]
    while steps:
        for step in list(steps):
            try:
                step()
            except ssl.SSLWantReadError:
                continue
            steps.remove(step)
    return client.version()


def test_prepare_explains_itself(tmp_path: Path) -> None:
    finished = run("prepare.py", "everything", tmp_path)
    assert finished.returncode == 1
    assert "python deploy/prepare.py keys /keys" in finished.stderr


class Answering(BaseHTTPRequestHandler):
    """A service that lives when it is called by its name."""

    def do_GET(self) -> None:
        is_well_asked = (self.path, self.headers["Host"]) == ("/livez", "api.example.org")
        self.send_response(200 if is_well_asked else 400)
        self.end_headers()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_health_is_asked_by_the_service_s_first_name() -> None:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        port = str(server.server_port)
        known = run("healthcheck.py", STEPWELL_PORT=port, STEPWELL_HOSTS="api.example.org, other")
        unknown = run("healthcheck.py", STEPWELL_PORT=port, STEPWELL_HOSTS="other")
        worker = run(
            "healthcheck.py",
            "worker",
            STEPWELL_WORKER_METRICS_PORT=port,
            STEPWELL_PORT="1",
            STEPWELL_HOSTS="api.example.org",
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (known.returncode, unknown.returncode, worker.returncode) == (0, 1, 0)


def test_health_is_bad_when_nobody_answers() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        assert run("healthcheck.py", STEPWELL_PORT=str(unheard.getsockname()[1])).returncode == 1


def test_authz_20_passwords_are_set_from_the_environment() -> None:
    """A fresh database reads roles.sql and then passwords.sql, as PostgreSQL's image does."""
    roles = ("MIGRATE", "API", "WORKER", "BACKUP")
    passwords = {f"STEPWELL_{role}_PASSWORD": f"it's {role}" for role in roles}
    with embedded.temporary() as server:
        programs = Programs.of(server.major, server_user(server.data_dir))
        done = subprocess.run(  # noqa: S603 (the wheel's psql)
            [
                str(programs.directory / "psql"),
                *("-h", str(server.socket_dir), "-U", "postgres", "-d", "stepwell"),
                *("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
                *("-f", str(ROOT / "deploy/roles.sql"), "-f", str(ROOT / "deploy/passwords.sql")),
                *("-c", "select count(*) from pg_authid where rolpassword like 'SCRAM-SHA-256$%'"),
            ],
            env={**os.environ, **passwords},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(len(roles))
