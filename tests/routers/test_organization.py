"""Organizations: founded by an operator, and read by their people."""

from http import HTTPStatus
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import select

from app.core.ids import new_id
from app.models.organizations import Environment, Organization
from app.runtime import Runtime
from app.schemas.organization import OrganizationCreate
from app.services import organizations
from app.services.visitors import Visitor, look_into
from tests.routers.signing_in import PASSWORD, device


def founding(runtime: Runtime) -> tuple[Visitor, OrganizationCreate]:
    slug = f"north-{new_id().hex[-12:]}"
    request = OrganizationCreate(
        slug=slug,
        name="North Clinic",
        environment=Environment.DEVELOPMENT,
        admin_email=f"avery@{slug}.example",
    )
    return Visitor(runtime, request_id=new_id().hex, source="operator"), request


async def test_auth_20_the_first_administrator_comes_by_a_one_time_invitation(
    app: FastAPI, client: AsyncClient, runtime: Runtime
) -> None:
    visitor, request = founding(runtime)
    founded = await organizations.found_organization(visitor, request)
    acceptance = {"token": founded.invitation_token, "password": PASSWORD}

    accepted = await client.post("/v1/invitations/accept", json=acceptance)
    again = await client.post("/v1/invitations/accept", json=acceptance)
    async with device(app) as here:
        tokens = await here.sign_in(request.admin_email)
        me = (await here.http.get("/v1/me", headers=tokens.header)).json()
        read = await here.http.get("/v1/organization", headers=tokens.header)

    assert (accepted.status_code, again.status_code) == (HTTPStatus.NO_CONTENT, 404)
    assert me["roles"] == ["administrator"]
    assert UUID(me["organization"]["id"]) == founded.id
    assert read.json()["name"] == "North Clinic"
    assert read.json()["environment"] == "development"


async def test_a_slug_is_given_once_and_nothing_is_left_of_the_second(runtime: Runtime) -> None:
    visitor, request = founding(runtime)
    founded = await organizations.found_organization(visitor, request)

    with pytest.raises(organizations.OrganizationExists):
        await organizations.found_organization(visitor, request)

    async with visitor.transaction() as db:
        await look_into(db, founded.id)
        found = (await db.scalars(select(Organization.organization_id))).all()
    assert found == [founded.id]
