"""Who may do what to whom: every operation, for every actor, about every kind of object."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from app.core import clock
from app.core.ids import new_id
from app.runtime import Runtime
from app.security.permissions import POLICY
from app.security.principal import Reach
from tests.contract.caller import Answer, call
from tests.contract.matrix import Asked, Matrix
from tests.contract.operations import Operation
from tests.contract.oracle import Expected, expected, granted, is_as_expected, reaches
from tests.contract.people import Circle, World, slots_of
from tests.contract.requests import path_words, request_for
from tests.contract.things import body_for


def test_authz_30_everybody_gets_what_the_policy_gives_and_no_more(
    matrix: Matrix, operations: Sequence[Operation], say: Callable[[str], None]
) -> None:
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for one in matrix.asked:
        permission = one.cell.operation.permission
        assert permission is not None, one.cell.question
        wanted = expected(one.cell, permission)
        counts[wanted.name] += 1
        if not is_as_expected(one.cell, permission, one.answer):
            got = f"{one.answer.status} {one.answer.body[:200]!r}"
            wrong.append(f"{one.cell.question}: {wanted.name} was expected, got {got}")

    say(f"AUTHZ-30: {counts.total()} checks, {dict(counts)}")
    asked = {one.cell.operation.id for one in matrix.asked}
    assert asked == {one.id for one in operations if one.permission is not None}
    assert set(counts) == {one.name for one in Expected}
    assert counts.total() >= 5_000
    assert not wrong, f"{len(wrong)} of {counts.total()}:\n" + "\n".join(wrong[:30])


def test_authz_30_every_operation_succeeds_for_somebody(
    matrix: Matrix, operations: Sequence[Operation]
) -> None:
    never = {one.id for one in operations if one.permission is not None} - set(matrix.able)
    assert not never, f"{sorted(never)}: give MAKERS or body_for the state that they need"


def test_authz_05_what_may_not_be_seen_answers_as_what_does_not_exist(matrix: Matrix) -> None:
    answers: defaultdict[tuple[str, str, str], dict[object, str]] = defaultdict(dict)
    for one in matrix.asked:
        permission = one.cell.operation.permission
        assert permission is not None
        actor = one.cell.actor
        if expected(one.cell, permission) is Expected.NOTHING_THERE:
            key = one.cell.operation.id, actor.name, actor.clinic.name
            answers[key][one.answer.without_request_id] = one.cell.question

    assert len(answers) > 500
    assert not [list(found.values()) for found in answers.values() if len(found) > 1]


def test_authz_30_nobody_learns_of_whom_they_cannot_reach(matrix: Matrix, world: World) -> None:
    told: list[str] = []
    for one in matrix.asked:
        permission = one.cell.operation.permission
        assert permission is not None
        actor = one.cell.actor
        for circle in world.everybody:
            hidden = not reaches(actor, circle, granted(actor, permission))
            if hidden and any(found.encode() in one.answer.body for found in circle.ids):
                told.append(f"{one.cell.question}: tells of {circle.name} {circle.clinic.name}")
    assert not told, told[:30]


def test_authz_30_whom_nobody_looks_after_is_found_by_those_who_must(
    matrix: Matrix, world: World, operations: Sequence[Operation]
) -> None:
    alone = Reach.UNATTENDED | Reach.UNWATCHED
    opened = {
        permission
        for permission, rule in POLICY.items()
        if any(reach & alone for reach in rule.staff.values())
    }
    about: defaultdict[str, set[str]] = defaultdict(set)
    listed = 0
    for one in matrix.asked:
        operation, actor, circle = one.cell.operation, one.cell.actor, one.cell.circle
        permission = operation.permission
        if permission not in opened:
            continue
        if circle in world.clinic.left:
            about[operation.id].add(circle.name)
        asked = [circle] if circle in world.clinic.left else world.clinic.left
        if _is_list(one) and bool(slots_of(operation)) is (circle in world.clinic.left):
            for left in asked:
                finds = str(left.participant.participant_id).encode() in one.answer.body
                assert finds == reaches(actor, left, granted(actor, permission)), one.cell.question
                listed += finds

    named = {one.id for one in operations if one.permission in opened and slots_of(one)}
    assert len(named) >= 6
    assert listed >= 6
    assert not {operation for operation in named if about[operation] != {"unattended", "unwatched"}}


def _is_list(one: Asked) -> bool:
    """Whether a list was asked for, and given."""
    return one.answer.status == HTTPStatus.OK and b'"items":[' in one.answer.body


async def test_authz_30_without_a_valid_token_every_cause_has_one_answer(
    world: World, rehearsal: FastAPI, runtime: Runtime, operations: Sequence[Operation]
) -> None:
    tokens = _tokens_that_are_not_valid(world, runtime)
    for operation in operations:
        request = request_for(operation, world.clinic.own, None)
        nobody = await call(rehearsal, request)
        answers: dict[str, Answer] = {}
        for cause, token in tokens.items():
            header = request.with_header("Authorization", f"Bearer {token}")
            answers[cause] = await call(rehearsal, header)
        if operation.permission is None:
            for answer in (nobody, *answers.values()):
                assert answer.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
            continue
        assert {one.status for one in answers.values()} == {HTTPStatus.UNAUTHORIZED}, operation
        assert nobody.status == HTTPStatus.UNAUTHORIZED, operation
        first, *others = (answer.without_request_id for answer in answers.values())
        for status, headers, body in others:
            assert (status, body) == (first[0], first[2]), operation
            assert headers ^ first[1] == set(), operation


def _tokens_that_are_not_valid(world: World, runtime: Runtime) -> dict[str, str]:
    now = clock.wall()
    actor = world.clinic.actor("participant")
    actor.token()
    claims = actor.claims
    then = now - timedelta(hours=1)
    past = replace(claims, iat=then, exp=then + timedelta(minutes=5), auth_time=then)
    changes: dict[str, dict[str, Any]] = {
        "a sign-in that never was": {"sign_in_id": new_id()},
        "an older version of the sign-in": {"version": claims.version + 1},
        "a sign-in of another organization": {
            "organization_id": world.elsewhere.make.organization_id
        },
    }
    return {
        "no token": "nonsense",
        "expired": runtime.issuer.issue(past, then),
        **{c: runtime.issuer.issue(replace(claims, **f), now) for c, f in changes.items()},
    }


async def test_authz_30_an_app_without_the_scope_may_do_nothing_for_anybody(
    world: World, rehearsal: FastAPI, matrix: Matrix, operations: Sequence[Operation]
) -> None:
    make = world.clinic.make
    # Each has every scope, of the context in which they are not.
    staff = await make.staff(scope="patient/*.cruds")
    participant = await make.participant(scope="user/*.cruds")
    for operation in operations:
        if operation.permission is None:
            continue
        request = request_for(operation, world.clinic.own, matrix.able[operation.id])
        for person in (staff, participant):
            answer = await call(
                rehearsal, request.with_header("Authorization", f"Bearer {person.token}")
            )
            assert (answer.status, answer.code) == (
                HTTPStatus.FORBIDDEN,
                "insufficient_scope",
            ), operation


async def test_authz_30_a_body_cannot_name_what_belongs_to_another_organization(
    world: World, rehearsal: FastAPI, matrix: Matrix, operations: Sequence[Operation]
) -> None:
    checked = 0
    for operation in operations:
        for slot in slots_of(operation):
            if slot.place != "body" or operation.permission is None:
                continue
            actor = matrix.able[operation.id]
            body = body_for(operation, world.clinic.own)
            foreign = {**body, slot.name: world.elsewhere.own.thing(slot)}
            request = request_for(operation, world.clinic.own, actor, body=foreign)
            answer = await call(rehearsal, request)
            refused = {HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT}
            assert answer.status in refused, (str(operation), slot.name, answer.text)
            checked += 1
    assert checked >= 8


async def test_authz_32_a_child_is_found_below_its_own_parent_only(
    world: World, rehearsal: FastAPI, matrix: Matrix, operations: Sequence[Operation]
) -> None:
    own, other = world.clinic.own, world.clinic.other
    nested = [one for one in operations if len(one.placed("path")) > 1]
    # A word of a vocabulary, such as an instrument's key, is nobody's child.
    nested = [one for one in nested if one.placed("path")[-1].name.endswith("_id")]
    assert nested
    for operation in nested:
        actor = matrix.able[operation.id]
        for parent, child in ((own, other), (other, own)):
            words = _crossed(operation, parent, child)
            answer = await call(rehearsal, request_for(operation, own, actor, words=words))
            assert answer.code == "not_found", (str(operation), parent.name, answer.text)


def _crossed(operation: Operation, parent: Circle, child: Circle) -> dict[str, str]:
    """The words of a path whose last object belongs to another circle than the others."""
    last = operation.placed("path")[-1].name
    return {**path_words(operation, parent), last: path_words(operation, child)[last]}


async def test_authz_33_a_method_that_is_not_declared_is_refused_with_those_that_are(
    world: World, rehearsal: FastAPI, operations: Sequence[Operation]
) -> None:
    declared: defaultdict[str, set[str]] = defaultdict(set)
    for operation in operations:
        declared[operation.path].add(operation.method)
    circle, actor = world.clinic.own, world.clinic.actor("administrator unrelated")
    for operation in operations:
        methods = declared[operation.path]
        request = request_for(operation, circle, actor)
        allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - methods:
            answer = await call(rehearsal, replace(request, method=method, headers={}, body=b""))
            assert answer.status == HTTPStatus.METHOD_NOT_ALLOWED, (method, operation.path)
            assert answer.code == "method_not_allowed"
            assert _words(answer, "allow") == allowed, (method, operation.path)


def _words(answer: Answer, header: str) -> set[str]:
    return set((answer.header(header) or "").replace(" ", "").split(","))
