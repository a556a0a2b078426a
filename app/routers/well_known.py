"""What clients and libraries discover by themselves; only what works is listed (AUTH-05)."""

from typing import Final

from fastapi import Request, Response

from app.domain.roles import AccountKind, StaffRole
from app.routers.oauth import GRANTS
from app.routers.route import router
from app.schemas.oauth import AuthorizationServerRead, JwkSetRead, SmartConfigurationRead
from app.security.guards import Public, runtime_of
from app.services.sign_ins import ceiling

routes = router("/.well-known", "metadata")

_CACHED: Final = "public, max-age=300"
_PUBLIC_CLIENTS: Final = ["none"]
_CAPABILITIES: Final = [
    "client-public",
    "permission-patient",
    "permission-user",
    "permission-v2",
]
_SCOPES: Final = [
    str(scope)
    for scope in ceiling(AccountKind.PARTICIPANT, frozenset())
    | ceiling(AccountKind.STAFF, frozenset(StaffRole))
]


@routes.get("/oauth-authorization-server", dependencies=[Public])
async def read_authorization_server(
    request: Request, response: Response
) -> AuthorizationServerRead:
    """Read where and how to sign in (RFC 8414)."""
    response.headers["Cache-Control"] = _CACHED
    issuer = runtime_of(request).settings.issuer
    return AuthorizationServerRead(
        issuer=issuer,
        authorization_challenge_endpoint=f"{issuer}/oauth/challenge",
        token_endpoint=f"{issuer}/oauth/token",
        revocation_endpoint=f"{issuer}/oauth/revoke",
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        scopes_supported=_SCOPES,
        response_types_supported=[],
        grant_types_supported=list(GRANTS),
        token_endpoint_auth_methods_supported=_PUBLIC_CLIENTS,
        revocation_endpoint_auth_methods_supported=_PUBLIC_CLIENTS,
        code_challenge_methods_supported=["S256"],
    )


@routes.get("/jwks.json", dependencies=[Public])
async def read_jwks(request: Request, response: Response) -> JwkSetRead:
    """Read the public keys that verify access tokens, the next one included (RFC 7517)."""
    response.headers["Cache-Control"] = _CACHED
    return JwkSetRead.model_validate(runtime_of(request).issuer.jwks())


@routes.get("/smart-configuration", dependencies=[Public])
async def read_smart_configuration(request: Request, response: Response) -> SmartConfigurationRead:
    """Read what a SMART on FHIR client needs to know."""
    response.headers["Cache-Control"] = _CACHED
    issuer = runtime_of(request).settings.issuer
    return SmartConfigurationRead(
        issuer=issuer,
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        token_endpoint=f"{issuer}/oauth/token",
        revocation_endpoint=f"{issuer}/oauth/revoke",
        scopes_supported=_SCOPES,
        response_types_supported=[],
        grant_types_supported=list(GRANTS),
        token_endpoint_auth_methods_supported=_PUBLIC_CLIENTS,
        code_challenge_methods_supported=["S256"],
        capabilities=_CAPABILITIES,
    )
