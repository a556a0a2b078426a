"""What a checkout promises: it can be installed anywhere, deployed as written, and read by all."""

import ast
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
VENDORED = "app/static/swagger/"
LOCKS = ["requirements-bootstrap.lock", "requirements.lock", "requirements-dev.lock"]
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
# Pieced together, so that this file does not name what it forbids.
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("registry", "npmjs", "org"),
            ("registry", "yarnpkg", "com"),
            ("unpkg", "com"),
            ("jsdelivr", "net"),
            ("jfrog", "io"),
        )
    )
)
BUILD_PATHS = re.compile("(?<![\\w.~-])/" + "(?:root|work|home|Users|opt/wheels|builds)/(?=[\\w.])")
PROBES = {"startup": "/startupz", "liveness": "/livez", "readiness": "/readyz"}
SEALED_IMPORTS = {
    "jose": {"app/security/tokens.py"},
    "jwt": set[str](),
    "passlib": {"app/security/passwords.py"},
    "argon2": {"app/security/passwords.py"},
}


def git(*arguments: str) -> str:
    program = shutil.which("git")
    assert program is not None, "the tests of the repository need git"
    return subprocess.run(  # noqa: S603 (git, with our own arguments)
        [program, "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def committed() -> Iterator[tuple[str, str]]:
    """Every committed text file of our own: its name and its text."""
    for name in git("ls-files", "-z").split("\0"):
        path = ROOT / name
        if not name or name.startswith(VENDORED) or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            yield name, content.decode("utf-8")


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in committed()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes(name: str) -> None:
    logical_lines = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
    packages = [line for line in logical_lines if line and not line.startswith("#")]
    assert packages
    assert [line for line in packages if "==" not in line or "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("name", LOCKS)
def test_locks_do_not_say_where_packages_come_from(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text


def test_the_development_lock_is_the_production_lock_and_more() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements.lock") < pins("requirements-dev.lock")


def test_no_file_names_a_package_registry() -> None:
    assert lines_with(REGISTRY_HOSTS) == []


def test_no_file_holds_a_path_of_the_machine_it_was_written_on() -> None:
    assert lines_with(BUILD_PATHS) == []


@pytest.mark.parametrize("name", [".ci/run", "scripts/venv.sh"])
def test_scripts_can_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    assert git("ls-files", "--stage", name).startswith("100755")
    check = subprocess.run(  # noqa: S603 (a fixed program)
        ["/bin/sh", "-n", str(ROOT / name)], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    make = shutil.which("make")
    assert phony is not None
    assert make is not None

    said = subprocess.run(  # noqa: S603 (make, with our own arguments)
        [make, "-C", str(ROOT), "--no-print-directory"], capture_output=True, text=True, check=True
    ).stdout
    listed = set(re.findall(r"^  make ([a-z-]+) +\S", said, re.MULTILINE))
    assert listed == targets - {"help"} | {"help"}
    assert set(phony[1].replace("\\\n", " ").split()) == targets


@pytest.mark.parametrize("library", sorted(SEALED_IMPORTS))
def test_auth_10_each_security_library_is_imported_in_one_module(library: str) -> None:
    importing = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "app").rglob("*.py")
        if library in imported_packages(path)
    }
    assert importing <= SEALED_IMPORTS[library]


def imported_packages(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module.partition(".")[0])
            case _:
                pass
    return found


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    return document


def test_compose_mounts_files_that_exist_and_volumes_that_are_declared() -> None:
    document = compose()
    for name, service in document["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (ROOT / "deploy" / source).exists(), f"{name} mounts {source}"
            else:
                assert source in document["volumes"], f"{name} mounts {source}"


def test_compose_waits_for_services_that_exist() -> None:
    services = compose()["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)


def test_compose_takes_every_secret_from_the_environment() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    offered = set(
        re.findall(r"^(\w+)=$", (ROOT / "deploy" / "env.example").read_text(), re.MULTILINE)
    )
    assert asked == offered


def test_compose_gives_only_the_proxy_a_port() -> None:
    assert [name for name, it in compose()["services"].items() if "ports" in it] == ["proxy"]


def test_our_containers_may_do_nothing_but_serve() -> None:
    for name in ("api", "worker", "migrate", "keys", "tls"):
        service = compose()["services"][name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name


def manifests() -> list[dict[str, Any]]:
    return [
        document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text("utf-8"))
    ]


def test_manifests_say_what_they_are() -> None:
    for manifest in manifests():
        assert manifest["apiVersion"]
        assert manifest["kind"]


def test_the_kustomization_lists_every_manifest_but_the_example_of_secrets() -> None:
    listed = yaml.safe_load((ROOT / "deploy/kubernetes/kustomization.yaml").read_text())
    present = {path.name for path in MANIFESTS}
    assert set(listed["resources"]) == present - {"kustomization.yaml", "secrets.example.yaml"}


def test_no_manifest_holds_a_secret() -> None:
    secrets = [manifest for manifest in manifests() if manifest["kind"] == "Secret"]
    assert secrets
    assert {value for secret in secrets for value in secret["stringData"].values()} == {""}


def test_pods_run_as_nobody_in_particular_and_can_gain_nothing() -> None:
    workloads = [m for m in manifests() if m["kind"] in {"Deployment", "Job"}]
    assert {m["metadata"]["name"] for m in workloads} == {
        "stepwell-api",
        "stepwell-worker",
        "stepwell-migrate",
    }
    for workload in workloads:
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_every_object_that_a_pod_names_is_described() -> None:
    described = {
        (m["kind"], m["metadata"]["name"]) for m in manifests() if m["kind"] != "Kustomization"
    } | {("ConfigMap", "stepwell-database-authority")}  # made from a file, as the example says
    for path in MANIFESTS:
        text = path.read_text("utf-8")
        for kind, pattern in (
            ("ConfigMap", r"configMap(?:Ref)?: \{name: ([\w-]+)"),
            ("Secret", r"secret(?:Ref)?: \{(?:name|secretName): ([\w-]+)"),
        ):
            for name in re.findall(pattern, text):
                assert (kind, name) in described, f"{path.name} names {name}"


def test_the_api_is_probed_as_it_answers() -> None:
    api = yaml.safe_load((ROOT / "deploy/kubernetes/api.yaml").read_text())
    (container,) = api["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in PROBES}
    assert paths == PROBES


def test_the_worker_is_probed_on_its_own_port() -> None:
    worker = yaml.safe_load((ROOT / "deploy/kubernetes/worker.yaml").read_text())
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in PROBES}
    (port,) = container["ports"]
    (variable,) = container["env"]
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert variable == {"name": "STEPWELL_WORKER_METRICS_PORT", "value": str(port["containerPort"])}


def test_the_image_copies_what_exists_and_what_is_not_ignored() -> None:
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    sources = {
        source
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert sources == allowed
    assert [source for source in sorted(sources) if not (ROOT / source).exists()] == []


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "The Stepwell maintainers" in (ROOT / "NOTICE").read_text()


def test_vendored_files_have_their_version_and_licence() -> None:
    names = {path.name for path in (ROOT / VENDORED).iterdir()}
    assert {"LICENSE", "NOTICE", "VERSION.txt", "swagger-ui-bundle.js", "swagger-ui.css"} <= names
    version = (ROOT / VENDORED / "VERSION.txt").read_text().split()[1]
    assert version.startswith("5.")
    for name in names:
        assert stat.S_IMODE((ROOT / VENDORED / name).stat().st_mode) & stat.S_IXUSR == 0
