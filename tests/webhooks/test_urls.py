import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.urls import BadUrl, parse_url

GOOD = [
    ("https://example.com", "example.com", 443, "/"),
    ("https://example.com/", "example.com", 443, "/"),
    ("https://EXAMPLE.com/Hooks", "example.com", 443, "/Hooks"),
    ("HTTPS://example.com/hooks", "example.com", 443, "/hooks"),
    ("https://example.com:443/hooks", "example.com", 443, "/hooks"),
    ("https://example.com:8443/hooks?a=1&b=2", "example.com", 8443, "/hooks?a=1&b=2"),
    ("https://example.com?a=1", "example.com", 443, "/?a=1"),
    ("https://example.com./hooks", "example.com", 443, "/hooks"),
    ("https://a.b-c.example.co.uk/%7Ehook/", "a.b-c.example.co.uk", 443, "/%7Ehook/"),
    ("https://xn--bcher-kva.example/h", "xn--bcher-kva.example", 443, "/h"),
    ("https://3com.example/1", "3com.example", 443, "/1"),
    ("https://example.com/a@b", "example.com", 443, "/a@b"),
    ("https://example.com/a//b/../c", "example.com", 443, "/a//b/../c"),
]
BAD = [
    ("", "character"),
    ("example.com", "scheme"),
    ("//example.com/", "scheme"),
    ("http://example.com/", "scheme"),
    ("ftp://example.com/", "scheme"),
    ("file:///etc/passwd", "scheme"),
    ("gopher://example.com/", "scheme"),
    ("javascript:alert(1)", "scheme"),
    ("https:example.com", "host"),
    ("https:///hooks", "host"),
    ("https://", "host"),
    ("https://.example.com/", "host"),
    ("https://example..com/", "host"),
    ("https://-example.com/", "host"),
    ("https://exa_mple.com/", "host"),
    ("https://example%2ecom/", "host"),
    ("https://" + "a" * 64 + ".com/", "host"),
    ("https://" + "a." * 127 + "com/", "host"),
    ("https://localhost/", "host_without_dot"),
    ("https://metadata/", "host_without_dot"),
    ("https://com./", "host_without_dot"),
    ("https://2130706433/", "host_without_dot"),
    ("https://0x7f000001/", "host_without_dot"),
    ("https://127.0.0.1/", "ip_literal"),
    ("https://8.8.8.8/", "ip_literal"),
    ("https://127.1/", "ip_literal"),
    ("https://0x7f.0x1/", "ip_literal"),
    ("https://0x7f.0.0.1/", "ip_literal"),
    ("https://017.0.0.01/", "ip_literal"),
    ("https://169.254.169.254./", "ip_literal"),
    ("https://example.0x/", "ip_literal"),
    ("https://[::1]/", "ip_literal"),
    ("https://[::ffff:127.0.0.1]/", "ip_literal"),
    ("https://[v1.fe80]/", "ip_literal"),
    ("https://[::1/", "malformed"),
    ("https://user@example.com/", "userinfo"),
    ("https://user:secret@example.com/", "userinfo"),
    ("https://@example.com/", "userinfo"),
    ("https://example.com@127.0.0.1/", "userinfo"),
    ("https://example.com/#top", "fragment"),
    ("https://example.com/#", "fragment"),
    ("https://example.com#@127.0.0.1/", "fragment"),
    ("https://example.com:/", "port"),
    ("https://example.com:80/", "port"),
    ("https://example.com:22/", "port"),
    ("https://example.com:0/", "port"),
    ("https://example.com:65536/", "malformed"),
    ("https://example.com:https/", "malformed"),
    ("https://example.com:-443/", "malformed"),
    ("https://①②⑦.0.0.1/", "not_ascii"),
    ("https://bücher.example/", "not_ascii"),
    ("https://example。com/", "not_ascii"),
    ("https://example.com/é", "not_ascii"),
    ("https://example.com/a b", "character"),
    ("https://example.com\\@127.0.0.1/", "character"),
    ("https://example.com/\r\nHost: internal", "character"),
    ("https://example.com/\t", "character"),
    (" https://example.com/", "character"),
    ("https://example.com/\n", "character"),
    ("https://example.com/%", "character"),
    ("https://example.com/%zz", "character"),
    ("https://example.com/\x00", "character"),
    ("https://example.com/" + "a" * 2_029, "too_long"),
]


def test_the_table_is_long_enough() -> None:
    assert len(GOOD) + len(BAD) >= 40


@pytest.mark.parametrize(("text", "host", "port", "target"), GOOD)
def test_wh_13_a_receiver_of_the_internet_is_accepted(
    text: str, host: str, port: int, target: str
) -> None:
    url = parse_url(text)
    assert (url.scheme, url.host, url.port, url.target) == ("https", host, port, target)
    assert url.is_secure
    assert url.authority == (host if port == 443 else f"{host}:{port}")


@pytest.mark.parametrize(("text", "code"), BAD)
def test_wh_13_every_other_url_is_refused_with_its_rule(text: str, code: str) -> None:
    with pytest.raises(BadUrl) as caught:
        parse_url(text)
    assert caught.value.code == code
    assert str(caught.value) == code


def test_wh_13_the_longest_url_fits() -> None:
    assert parse_url("https://example.com/" + "a" * 2_028).host == "example.com"


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("http://localhost:9000/h", "localhost:9000"),
        ("http://localhost/h", "localhost"),
        ("http://127.0.0.1:9000/h", "127.0.0.1:9000"),
        ("http://[::1]:9000/h", "[::1]:9000"),
        ("https://localhost/h", "localhost"),
        ("https://example.com:9443/h", "example.com:9443"),
        ("http://receiver.test:9000/h", "receiver.test:9000"),
    ],
)
def test_wh_13_a_receiver_under_development_may_be_on_this_machine(
    text: str, authority: str
) -> None:
    assert parse_url(text, development=True).authority == authority
    with pytest.raises(BadUrl):
        parse_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[fe80::1]/",
        "http://intranet/",
        "http://127.0.0.2/",
        "http://localhost:0/",
        "http://u@localhost/",
        "ftp://localhost/",
    ],
)
def test_wh_13_development_opens_nothing_else(text: str) -> None:
    with pytest.raises(BadUrl):
        parse_url(text, development=True)


@given(st.text(alphabet=st.characters(codec="utf-8")) | st.text("htps:/.[]@#?%\\ 0x7f1a-"))
def test_wh_13_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"https://{text}", f"https://example.com{text}"):
        try:
            url = parse_url(candidate)
        except BadUrl:
            continue
        assert url.is_secure
        assert "." in url.host
        assert url.port in {443, 8443}
        assert url.target.startswith("/")
