"""Programs and tracks: what an organization offers."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from app.core.problems import (
    Invalid,
    InvalidCursor,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    problems,
)
from app.routers.pages import PageQuery, page_of
from app.routers.route import IfMatch, expected_version, router, tagged
from app.schemas.programs import (
    AdmissionPolicyCreate,
    AdmissionPolicyPage,
    AdmissionPolicyRead,
    ProgramCreate,
    ProgramPage,
    ProgramRead,
    ProgramUpdate,
    TrackCreate,
    TrackPage,
    TrackRead,
)
from app.security.guards import Database, Requires
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import admission_policies, programs

routes = router("/v1/programs", "programs")

ProgramReader = Annotated[Principal, Depends(Requires(Permission.PROGRAM_READ))]
ProgramManager = Annotated[Principal, Depends(Requires(Permission.PROGRAM_MANAGE))]


@routes.post("", status_code=HTTPStatus.CREATED, responses=problems(programs.SlugTaken))
async def open_program(
    body: ProgramCreate, response: Response, db: Database, principal: ProgramManager
) -> ProgramRead:
    """Begin to offer a program; people can be referred to it."""
    program = ProgramRead.model_validate(await programs.open_program(db, principal, body))
    response.headers["Location"] = f"/v1/programs/{program.id}"
    return tagged(response, program)


@routes.get("", responses=problems(InvalidCursor))
async def list_programs(page: PageQuery, db: Database, _: ProgramReader) -> ProgramPage:
    """List what the organization offers."""
    found = await programs.list_programs(db, after=page.after_id(), limit=page.limit)
    return page_of(ProgramPage, page, [ProgramRead.model_validate(p) for p in found])


@routes.get("/{program_id}", responses=problems(NotFound))
async def read_program(
    program_id: UUID, response: Response, db: Database, _: ProgramReader
) -> ProgramRead:
    """Read one program."""
    return tagged(response, ProgramRead.model_validate(await programs.get_program(db, program_id)))


@routes.patch(
    "/{program_id}", responses=problems(NotFound, PreconditionRequired, PreconditionFailed)
)
async def update_program(
    program_id: UUID,
    body: ProgramUpdate,
    response: Response,
    db: Database,
    principal: ProgramManager,
    if_match: IfMatch = None,
) -> ProgramRead:
    """Change a program; what is absent stays."""
    version = expected_version(if_match)
    program = await programs.update_program(db, principal, program_id, body, version)
    return tagged(response, ProgramRead.model_validate(program))


@routes.post(
    "/{program_id}/tracks",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, programs.SlugTaken),
)
async def open_track(
    program_id: UUID, body: TrackCreate, db: Database, principal: ProgramManager
) -> TrackRead:
    """Add a variant to a program."""
    return TrackRead.model_validate(await programs.open_track(db, principal, program_id, body))


@routes.get("/{program_id}/tracks", responses=problems(NotFound))
async def list_tracks(program_id: UUID, db: Database, _: ProgramReader) -> TrackPage:
    """List a program's variants."""
    found = await programs.list_tracks(db, program_id)
    return TrackPage(items=[TrackRead.model_validate(t) for t in found], next_cursor=None)


@routes.get("/{program_id}/admission-policies", responses=problems(NotFound))
async def list_admission_policies(
    program_id: UUID, db: Database, _: ProgramReader
) -> AdmissionPolicyPage:
    """List a program's own admission policies; without one in force it admits by what ships."""
    found = await admission_policies.list_admission_policies(db, program_id)
    return AdmissionPolicyPage(items=list(found), next_cursor=None)


@routes.post(
    "/{program_id}/admission-policies",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, Invalid, admission_policies.AdmissionPolicyVersionTaken),
)
async def load_admission_policy(
    program_id: UUID, body: AdmissionPolicyCreate, db: Database, principal: ProgramManager
) -> AdmissionPolicyRead:
    """Give a program an admission policy from a day on; one with a mistake is refused whole."""
    return await admission_policies.load_admission_policy_of(db, principal, program_id, body)
