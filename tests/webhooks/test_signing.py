import base64
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.core.ids import new_id
from app.webhooks.signing import BadSecret, BadSignature, WebhookSecret, message_id, sign, verify

# The published verifier reads the machine's clock, so what it checks is signed now.
NOW = datetime.now(tz=UTC)
BODY = json.dumps({"type": "appointment.updated", "data": {"name": "café"}}).encode()
SECRET = WebhookSecret(bytes(range(32)))
ID = "msg_0198c0de"


def published(secret: WebhookSecret) -> Webhook:
    return Webhook(secret.reveal())


def test_wh_03_the_published_verifier_accepts_what_we_sign() -> None:
    headers = sign([SECRET], ID, datetime.now(tz=UTC), BODY)
    assert published(SECRET).verify(BODY, headers) == json.loads(BODY)


@given(st.text(alphabet=st.characters(codec="utf-8")), st.binary(min_size=24, max_size=64))
def test_wh_03_whatever_the_body_and_the_secret(text: str, key: bytes) -> None:
    secret, body = WebhookSecret(key), text.encode()
    headers = sign([secret], ID, datetime.now(tz=UTC), body)
    published(secret).verify(body, headers, json_parse=False)


def test_wh_03_the_published_signer_is_accepted_by_us() -> None:
    at = datetime.now(tz=UTC)
    signature = published(SECRET).sign(ID, at, BODY.decode())
    headers = {
        "webhook-id": ID,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": f"v1a,AAAA {signature}",
    }
    assert verify([SECRET], headers, BODY, now=at) == ID


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("webhook-id", "msg_0198c0df"),
        ("webhook-timestamp", str(int(NOW.timestamp()) + 1)),
        ("webhook-signature", "v1," + base64.b64encode(bytes(32)).decode()),
        ("webhook-signature", "v1,é"),
        ("webhook-signature", ""),
    ],
    # Not by value: the processes that run the tests must collect the same ones.
    ids=["id", "timestamp", "signature", "not-ascii", "empty"],
)
def test_wh_03_a_changed_header_is_refused(changed: str, value: str) -> None:
    headers = {**sign([SECRET], ID, NOW, BODY), changed: value}
    with pytest.raises(BadSignature):
        verify([SECRET], headers, BODY, now=NOW)


def test_wh_03_a_changed_body_or_another_secret_is_refused_by_both() -> None:
    headers = sign([SECRET], ID, NOW, BODY)
    other = WebhookSecret.generate()
    for secret, body in ((SECRET, BODY + b" "), (other, BODY)):
        with pytest.raises(BadSignature):
            verify([secret], headers, body, now=NOW)
        with pytest.raises(WebhookVerificationError):
            published(secret).verify(body, headers)


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_wh_03_a_missing_header_is_refused(header: str) -> None:
    headers = sign([SECRET], ID, NOW, BODY)
    del headers[header]
    with pytest.raises(BadSignature):
        verify([SECRET], headers, BODY, now=NOW)


@pytest.mark.parametrize("seconds", ["", "soon", "1.5", "-1", "٣", "1" * 13])
def test_wh_03_a_timestamp_is_a_number_of_seconds(seconds: str) -> None:
    headers = {**sign([SECRET], ID, NOW, BODY), "webhook-timestamp": seconds}
    with pytest.raises(BadSignature):
        verify([SECRET], headers, BODY, now=NOW)


@pytest.mark.parametrize("away", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_wh_03_a_webhook_recorded_and_sent_again_later_is_refused(away: timedelta) -> None:
    headers = sign([SECRET], ID, NOW, BODY)
    with pytest.raises(BadSignature):
        verify([SECRET], headers, BODY, now=NOW + away)


def test_wh_02_two_attempts_have_one_id_and_their_own_seconds() -> None:
    event_id = new_id()
    first = sign([SECRET], message_id(event_id), NOW, BODY)
    second = sign([SECRET], message_id(event_id), NOW + timedelta(seconds=5), BODY)

    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-timestamp"] != second["webhook-timestamp"]
    assert first["webhook-signature"] != second["webhook-signature"]
    for headers in (first, second):
        verify([SECRET], headers, BODY, now=NOW)


@given(st.uuids())
def test_wh_02_an_id_has_no_dot(event_id: UUID) -> None:
    assert message_id(event_id).startswith("msg_")
    assert message_id(event_id).removeprefix("msg_").isalnum()


@pytest.mark.parametrize("bad", ["msg_a.b", "msg_", "evt_1", "msg_a b", "msg_é"])
def test_wh_02_an_id_that_could_be_read_in_two_ways_is_not_signed(bad: str) -> None:
    with pytest.raises(ValueError, match="message id"):
        sign([SECRET], bad, NOW, BODY)


def test_wh_04_both_secrets_verify_during_the_overlap_and_only_the_new_one_after_it() -> None:
    new, old = WebhookSecret.generate(), WebhookSecret.generate()
    overlap = sign([new, old], ID, datetime.now(tz=UTC), BODY)
    published(new).verify(BODY, overlap)
    published(old).verify(BODY, overlap)
    assert overlap["webhook-signature"].count("v1,") == 2

    after = sign([new], ID, datetime.now(tz=UTC), BODY)
    published(new).verify(BODY, after)
    with pytest.raises(WebhookVerificationError):
        published(old).verify(BODY, after)


def test_wh_04_a_receiver_may_hold_both_secrets_too() -> None:
    new, old = WebhookSecret.generate(), WebhookSecret.generate()
    assert verify([new, old], sign([old], ID, NOW, BODY), BODY, now=NOW) == ID


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="at least one secret"):
        sign([], ID, NOW, BODY)


def test_wh_03_a_secret_has_256_bits_and_one_way_to_write_it() -> None:
    secret = WebhookSecret.generate()
    assert len(secret.key) == 32
    assert WebhookSecret.parse(secret.reveal()) == secret
    assert secret != WebhookSecret.generate()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        base64.b64encode(bytes(32)).decode(),
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="),
        "whsec_" + base64.b64encode(bytes(32)).decode() + "\n",
        "whsec_é",
        "whsk_" + base64.b64encode(bytes(32)).decode(),
    ],
)
def test_wh_03_anything_else_is_not_a_secret(text: str) -> None:
    with pytest.raises(BadSecret):
        WebhookSecret.parse(text)


def test_a_secret_is_not_shown_by_accident() -> None:
    secret = WebhookSecret(b"k" * 32)
    assert "k" * 8 not in f"{secret!r} {secret}"
    assert secret.reveal() not in f"{secret!r}"
    with pytest.raises(BadSecret) as caught:
        WebhookSecret.parse("whsec_hunter2")
    assert "hunter2" not in str(caught.value)
