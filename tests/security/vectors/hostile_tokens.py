"""Makes `hostile_tokens.json`: tokens that must be refused, each for one reason (AUTH-10).

    python -m tests.security.vectors.hostile_tokens

Every token is made from a good one by one change, and signed again by the ring's own key wherever
the change is not about the signature, so that nothing but that change can be what refuses it. The
ring's keys are the integers below: they guard nothing.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

FILE: Final = Path(__file__).with_suffix(".json")
ISSUER: Final = "https://iop.example.org"
NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOW_SECONDS: Final = int(NOW.timestamp())
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

ACTIVE: Final = ec.derive_private_key(0xA11CE, ec.SECP256R1())
RETIRING: Final = ec.derive_private_key(0xB0B, ec.SECP256R1())
FOREIGN: Final = ec.derive_private_key(0xE7E, ec.SECP256R1())

HEADER: Final[dict[str, Any]] = {"alg": "ES256", "kid": "active", "typ": "at+jwt"}
CLAIMS: Final[dict[str, Any]] = {
    "iss": ISSUER,
    "aud": ISSUER,
    "sub": "0191f7a0-0000-7000-8000-000000000001",
    "org": "0191f7a0-0000-7000-8000-000000000002",
    "sid": "0191f7a0-0000-7000-8000-000000000003",
    "sv": 1,
    "client_id": "app",
    "scope": "offline_access patient/Appointment.rs",
    "auth_time": NOW_SECONDS - 60,
    "acr": "iop:2",
    "amr": ["pwd", "otp"],
    "jti": "0191f7a0-0000-7000-8000-000000000004",
    "iat": NOW_SECONDS,
    "exp": NOW_SECONDS + 300,
}


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def signature_of(signed: str, key: ec.EllipticCurvePrivateKey = ACTIVE) -> tuple[int, int]:
    """The numbers of an ECDSA signature, with the lower `s`."""
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return r, min(s, ORDER - s)


def raw_signature(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def token(
    header: object = HEADER,
    claims: object = CLAIMS,
    *,
    key: ec.EllipticCurvePrivateKey = ACTIVE,
) -> str:
    """A signed token; bytes stand for themselves, everything else is written as JSON."""
    parts = (part if isinstance(part, bytes) else dumped(part) for part in (header, claims))
    signed = ".".join(map(encoded, parts))
    return f"{signed}.{encoded(raw_signature(*signature_of(signed, key)))}"


def with_header(**changes: object) -> str:
    return token(header={**HEADER, **changes})


def without_header(name: str) -> str:
    return token(header={key: value for key, value in HEADER.items() if key != name})


def with_claims(**changes: object) -> str:
    return token(claims={**CLAIMS, **changes})


def without_claim(name: str) -> str:
    return token(claims={key: value for key, value in CLAIMS.items() if key != name})


def spelled(document: dict[str, Any], old: str, new: str) -> bytes:
    """A document with a piece of its JSON written otherwise than any encoder would."""
    text = dumped(document).decode()
    if old not in text:
        raise ValueError(f"{old} is not there to be replaced")
    return text.replace(old, new, 1).encode()


def good_tokens() -> Iterator[tuple[str, str]]:
    """Tokens that are accepted: they show that the others are refused for their one change."""
    yield "as issued", token()
    yield "signed by the retiring key", token({**HEADER, "kid": "retiring"}, key=RETIRING)
    yield "the long media type", with_header(typ="application/at+jwt")
    yield "the media type in capitals", with_header(typ="AT+JWT")
    yield "no scope", with_claims(scope="")
    yield "just not too old", with_claims(iat=NOW_SECONDS - 329, exp=NOW_SECONDS - 29)
    yield "a clock that is just not too fast", with_claims(iat=NOW_SECONDS + 30)
    yield "the longest life", with_claims(exp=NOW_SECONDS + 900)
    yield "a claim of a later release", with_claims(later=True)


def without_algorithm() -> Iterator[tuple[str, str]]:
    for name in ("none", "None", "NONE", "nOnE", "NoNe", "nonE"):
        signed = token({**HEADER, "alg": name}).rpartition(".")[0]
        yield f"alg {name}, empty signature", f"{signed}."
        yield f"alg {name}, some signature", f"{signed}.AAAA"
        yield f"alg {name}, signed", with_header(alg=name)


def with_another_algorithm() -> Iterator[tuple[str, str]]:
    public = ACTIVE.public_key()
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = {
        "PEM": public.public_bytes(serialization.Encoding.PEM, subject),
        "PEM without its last line break": public.public_bytes(
            serialization.Encoding.PEM, subject
        ).strip(),
        "DER": public.public_bytes(serialization.Encoding.DER, subject),
        "point": public.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        ),
        "kid": b"active",
        "nothing": b"",
    }
    for alg, function in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        for name, secret in secrets.items():
            signed = token({**HEADER, "alg": alg}).rpartition(".")[0]
            mac = hmac.digest(secret, signed.encode(), getattr(hashlib, function))
            yield f"{alg} with the public key's {name}", f"{signed}.{encoded(mac)}"
    for other in ("ES384", "ES512", "RS256", "PS256", "EdDSA", "ES256K", "es256", "ES256 ", ""):
        yield f"alg {other!r}", with_header(alg=other)
    for value in (None, 256, True, ["ES256"], {"ES256": 1}):
        yield f"alg is {type(value).__name__}", with_header(alg=value)
    yield "alg is missing", without_header("alg")


def with_another_signature() -> Iterator[tuple[str, str]]:
    good = token()
    signed, _, segment = good.rpartition(".")
    r, s = signature_of(signed)
    changed: dict[str, tuple[int, int]] = {
        "all zero": (0, 0),
        "r is zero": (0, s),
        "s is zero": (r, 0),
        "r is the order": (ORDER, s),
        "s is the order": (r, ORDER),
        "the other of its pair": (r, ORDER - s),
        "r and s exchanged": (s, r),
        "r one higher": (r + 1, s),
        "all ones": (2**256 - 1, 2**256 - 1),
    }
    for name, numbers in changed.items():
        yield f"signature: {name}", f"{signed}.{encoded(raw_signature(*numbers))}"
    raw = raw_signature(r, s)
    yield "signature: as DER", f"{signed}.{encoded(FOREIGN.sign(b'', ec.ECDSA(hashes.SHA256())))}"
    yield "signature: garbage after it", f"{signed}.{encoded(raw + b'garbage')}"
    yield "signature: a zero after it", f"{signed}.{encoded(raw + bytes(1))}"
    yield "signature: a zero before it", f"{signed}.{encoded(bytes(1) + raw)}"
    yield "signature: one byte short", f"{signed}.{encoded(raw[:-1])}"
    yield "signature: empty", f"{signed}."
    yield "signature: padded", f"{signed}.{segment}=="
    yield "signature: unused bits set", f"{signed}.{segment[:-1]}{_next_letter(segment[-1])}"
    yield "signature: one letter more", f"{signed}.{segment}A"
    yield "signed by a stranger", token(key=FOREIGN)
    yield "signed by the other key of the ring", token(key=RETIRING)
    yield "the kid of the other key", with_header(kid="retiring")
    other = with_claims(sv=2).split(".")
    yield "claims of another token", ".".join((signed.split(".")[0], other[1], segment))
    yield (
        "header of another token",
        ".".join((with_header(typ="AT+jwt").split(".")[0], signed.split(".")[1], segment)),
    )


def _next_letter(letter: str) -> str:
    """A letter that base64 decodes to the same byte."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(letter) + 1]


def of_another_shape() -> Iterator[tuple[str, str]]:
    good = token()
    header, claims, signature = good.split(".")
    yield "empty", ""
    yield "one segment", header
    yield "two segments", f"{header}.{claims}"
    yield "four segments", f"{good}.{signature}"
    yield "five segments, as a JWE", f"{header}.{claims}.{signature}.{claims}.{signature}"
    yield "dots only", ".."
    yield "no header", f".{claims}.{signature}"
    yield "no claims", f"{header}..{signature}"
    for name, sign in (("space", " "), ("line break", "\n"), ("NUL", "\0"), ("tab", "\t")):
        yield f"a {name} at the end", f"{good}{sign}"
        yield f"a {name} at the beginning", f"{sign}{good}"
    yield "a scheme before it", f"Bearer {good}"
    yield "two tokens", f"{good},{good}"
    yield "a letter that is not ASCII", f"{header}\u00e9.{claims}.{signature}"
    yield "digits that are not ASCII", f"{header}\u0661.{claims}.{signature}"
    yield "a lone surrogate", f"{header}.{claims}\ud800.{signature}"
    yield "the other alphabet of base64", f"{header}.{claims}+/.{signature}"
    yield "longer than is read", with_claims(later="x" * 3_000)
    yield "an opaque ticket", encoded(bytes(range(32)))


def with_another_header() -> Iterator[tuple[str, str]]:
    for name, value in {
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "enc": "A256GCM",
        "jwk": {"kty": "EC"},
        "jku": "https://attacker.example/jwks.json",
        "x5u": "https://attacker.example/cert.pem",
        "x5c": ["MIIB"],
        "cty": "JWT",
        "x5t": "AAAA",
        "later": 1,
    }.items():
        yield f"header: {name}", with_header(**{name: value})
    for value in ("unknown", "", "../active", "active\0", "ACTIVE", None, 1, ["active"], {}):
        yield f"kid is {value!r}", with_header(kid=value)
    yield "kid is missing", without_header("kid")
    for value in ("JWT", "jwt", "", "at+jwt ", "at+jwt\0", "logout+jwt", None, 1, ["at+jwt"]):
        yield f"typ is {value!r}", with_header(typ=value)
    yield "typ is missing", without_header("typ")
    yield "header: alg twice", token(spelled(HEADER, "{", '{"alg":"none",'))
    yield "header: kid twice", token(spelled(HEADER, "{", '{"kid":"retiring",'))
    yield "header: an array", token([HEADER])
    yield "header: a string", token("ES256")
    yield "header: null", token(None)
    yield "header: empty", token({})
    yield "header: no JSON", token(b"{alg:ES256}")
    yield "header: two documents", token(dumped(HEADER) + b"{}")
    yield "header: in UTF-16", token(dumped(HEADER).decode().encode("utf-16"))
    yield "header: a byte order mark", token(b"\xef\xbb\xbf" + dumped(HEADER))
    yield (
        "header: not UTF-8",
        token(spelled(HEADER, "at+jwt", "at+jwt\u00ff").decode().encode("latin-1")),
    )
    yield "header: 1,000 levels deep", token(b"[" * 1_000 + b"]" * 1_000)
    yield (
        "header: a hidden depth",
        token(spelled(HEADER, "{", '{"jwk":' + "[" * 500 + "]" * 500 + ",")),
    )
    yield "header: 2,000 digits", token(spelled(HEADER, "{", '{"x":' + "9" * 2_000 + ","))
    yield "header: a lone surrogate", token(spelled(HEADER, "active", "\\ud800"))
    yield "header: NaN", token(spelled(HEADER, '"active"', "NaN"))


def with_other_claims() -> Iterator[tuple[str, str]]:
    for name in CLAIMS:
        yield f"{name} is missing", without_claim(name)
        yield f"{name} is null", with_claims(**{name: None})
        yield f"{name} is an object", with_claims(**{name: {}})
    for name in ("exp", "iat", "auth_time"):
        value = CLAIMS[name]
        yield f"{name} is a string", with_claims(**{name: str(value)})
        yield f"{name} is a float", with_claims(**{name: float(value)})
        yield f"{name} is true", with_claims(**{name: True})
        yield f"{name} is negative", with_claims(**{name: -1})
        yield f"{name} is the largest integer", with_claims(**{name: 2**63 - 1})
        yield (
            f"{name} has 2,000 digits",
            token(claims=spelled(CLAIMS, f'"{name}":{value}', f'"{name}":{"9" * 2_000}')),
        )
        yield (
            f"{name} is infinite",
            token(claims=spelled(CLAIMS, f'"{name}":{value}', f'"{name}":1e999')),
        )
        yield f"{name} is NaN", token(claims=spelled(CLAIMS, f'"{name}":{value}', f'"{name}":NaN'))
    yield "expired", with_claims(iat=NOW_SECONDS - 330, exp=NOW_SECONDS - 30)
    yield "expired long ago", with_claims(iat=0, exp=300, auth_time=0)
    yield "lives too long", with_claims(exp=NOW_SECONDS + 901)
    yield "lives no second", with_claims(exp=NOW_SECONDS)
    yield "ends before it begins", with_claims(exp=NOW_SECONDS - 1)
    yield "issued in the future", with_claims(iat=NOW_SECONDS + 31)
    yield "signed in in the future", with_claims(auth_time=NOW_SECONDS + 31)
    yield "not before tomorrow", with_claims(nbf=NOW_SECONDS + 86_400)
    yield "not before, as a string", with_claims(nbf="0")
    for aud in ("https://other.example.org", f"{ISSUER}/", [], [ISSUER], [ISSUER, "other"], ""):
        yield f"aud is {aud!r}", with_claims(aud=aud)
    for iss in ("https://other.example.org", f"{ISSUER}/", ISSUER.upper(), [ISSUER], ""):
        yield f"iss is {iss!r}", with_claims(iss=iss)
    for name in ("sub", "org", "sid", "jti"):
        for value in (
            "app",
            "",
            1,
            CLAIMS[name].upper(),
            CLAIMS[name].replace("-", ""),
            f"{{{CLAIMS[name]}}}",
            f"urn:uuid:{CLAIMS[name]}",
            [CLAIMS[name]],
        ):
            yield f"{name} is {value!r}", with_claims(**{name: value})
    for value in (-1, "1", 1.0, True, 2**63):
        yield f"sv is {value!r}", with_claims(sv=value)
    for value in ("admin", "patient/Appointment.sr", " ", "patient/*.r  user/*.r", ["user/*.r"]):
        yield f"scope is {value!r}", with_claims(scope=value)
    for value in ("pwd", [1], [""], [["pwd"]]):
        yield f"amr is {value!r}", with_claims(amr=value)
    yield "acr is a number", with_claims(acr=2)
    yield "client_id is too long", with_claims(client_id="x" * 256)
    yield "claims: exp twice", token(claims=spelled(CLAIMS, "{", '{"exp":9999999999,'))
    yield "claims: an array", token(claims=[CLAIMS])
    yield "claims: a string", token(claims="sub")
    yield "claims: no JSON", token(claims=b"sub=1")
    yield (
        "claims: not UTF-8",
        token(claims=spelled(CLAIMS, "app", "\u00ff").decode().encode("latin-1")),
    )
    yield "claims: 1,000 levels deep", with_deep_claim(1_000)
    yield "claims: a NUL", with_claims(later="\0")
    yield "claims: a lone surrogate", token(claims=spelled(CLAIMS, "app", "\\udfff"))
    yield "an ID token", token({**HEADER, "typ": "JWT"}, {**CLAIMS, "aud": "app", "nonce": "n"})
    yield (
        "a client's assertion",
        token(
            {**HEADER, "typ": "JWT"},
            {"iss": "app", "sub": "app", "aud": ISSUER, "jti": "1", "exp": NOW_SECONDS + 300},
        ),
    )


def with_deep_claim(levels: int) -> str:
    return token(claims=spelled(CLAIMS, "{", '{"later":' + "[" * levels + "]" * levels + ","))


def hostile_tokens() -> Iterator[tuple[str, str]]:
    yield from without_algorithm()
    yield from with_another_algorithm()
    yield from with_another_signature()
    yield from of_another_shape()
    yield from with_another_header()
    yield from with_other_claims()


def main() -> None:
    """Write the file anew: ECDSA draws a random number, so that every token changes."""
    document = {
        "now": NOW_SECONDS,
        "good": [{"name": name, "token": text} for name, text in good_tokens()],
        "hostile": [{"name": name, "token": text} for name, text in hostile_tokens()],
    }
    FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
