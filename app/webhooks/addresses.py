"""Which addresses a webhook may be sent to: the public internet, and nothing else (WH-14).

The list is our own, after the IANA special-purpose registries. `ipaddress.is_global` does not
serve: it is True for multicast, for NAT64 of a loopback address and, before Python 3.12, for
6to4 of one.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_SPECIAL_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_UNICAST_V6: Final = IPv6Network("2000::/3")
_SPECIAL_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which holds any IPv4 address
        "3fff::/20",  # documentation
    )
)
# Addresses that stand for an IPv4 address in their last 32 bits.
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_allowed(address: Address) -> bool:
    """Whether a webhook may be sent there."""
    match _unwrapped(address):
        case IPv4Address() as v4:
            return not any(v4 in network for network in _SPECIAL_V4)
        case IPv6Address() as v6:
            # A zone names an interface of this machine, so it is never a public address.
            return (
                v6.scope_id is None
                and v6 in _UNICAST_V6
                and not any(v6 in network for network in _SPECIAL_V6)
            )


def is_loopback(address: Address) -> bool:
    """Whether the address is this machine's own, where receivers under development listen."""
    return _unwrapped(address).is_loopback


def parse_address(text: str) -> Address | None:
    """Read an address as a resolver writes it; None for anything else.

    Shorthand that `inet_aton` would take (`127.1`, `0x7f000001`) is not an address here.
    """
    if not text.isascii():
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv6Address) and (address in _MAPPED or address in _NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
