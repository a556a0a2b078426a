from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.addresses import is_allowed, is_loopback, parse_address

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2000::1",
    "2001:200::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80e::200e",
    "3ffe::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104  # an address to be refused, not one to listen on
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:1ff::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
]
NOT_ADDRESSES = [
    "",
    "localhost",
    "127.1",
    "0x7f000001",
    "0x7f.0.0.1",
    "2130706433",
    "017700000001",
    "127.0.0.01",
    "①②⑦.0.0.1",
    "١٢٧.0.0.1",
    "127.0.0.1 ",
    "127.0.0.1:80",
    "[::1]",
    "1.2.3",
    "256.1.1.1",
]


def test_the_table_is_long_enough() -> None:
    assert len(PUBLIC) + len(NOT_PUBLIC) >= 60


@pytest.mark.parametrize("text", PUBLIC)
def test_wh_14_a_public_address_is_allowed(text: str) -> None:
    address = parse_address(text)
    assert address is not None
    assert is_allowed(address)


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_wh_14_every_other_address_is_refused(text: str) -> None:
    address = parse_address(text)
    assert address is not None
    assert not is_allowed(address)


@pytest.mark.parametrize("text", NOT_ADDRESSES)
def test_wh_14_shorthand_is_not_an_address(text: str) -> None:
    assert parse_address(text) is None


@given(st.ip_addresses(v=4))
def test_wh_14_an_address_in_disguise_is_judged_as_itself(v4: IPv4Address) -> None:
    for prefix in (0xFFFF << 32, 0x64_FF9B << 96):
        disguised = IPv6Address(prefix | int(v4))
        assert is_allowed(disguised) == is_allowed(v4)
        assert is_loopback(disguised) == is_loopback(v4)


@given(st.ip_addresses())
def test_wh_14_we_allow_nothing_that_python_knows_to_be_special(
    address: IPv4Address | IPv6Address,
) -> None:
    """A second opinion: stricter than `is_global`, and never looser."""
    if is_allowed(address) and address not in DISGUISED:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


class _Disguised:
    """Addresses that are judged by the IPv4 address they hold."""

    def __contains__(self, address: IPv4Address | IPv6Address) -> bool:
        return isinstance(address, IPv6Address) and int(address) >> 32 in {0xFFFF, 0x64_FF9B << 64}


DISGUISED = _Disguised()


def test_only_this_machine_is_loopback() -> None:
    assert is_loopback(IPv4Address("127.0.0.1"))
    assert is_loopback(IPv6Address("::1"))
    assert not is_loopback(IPv4Address("10.0.0.1"))
    assert not is_loopback(IPv6Address("fe80::1"))
