"""Which network addresses a URL given by a stranger may lead to: public ones only.

A server that fetches URLs for others can be used to reach what only it can reach (server-side
request forgery). So the address itself is judged, after name resolution, not the name.
"""

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Ranges of IPv6 that carry an IPv4 address, and how far right it stands.
_EMBEDDED_IPV4 = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)
_IPV4_MASK = 2**32 - 1
# Local use of the address translation prefix, which Python versions judge differently.
_NEVER_PUBLIC = (ipaddress.IPv6Network("64:ff9b:1::/48"), ipaddress.IPv6Network("fec0::/10"))


def is_public(address: IPAddress) -> bool:
    """Whether `address` belongs to the public internet: not loopback, private, link-local, multicast or reserved.

    An IPv6 address that carries an IPv4 address (mapped, 6to4, NAT64) is public only if that one is too.
    """
    if isinstance(address, ipaddress.IPv6Address):
        embedded = _embedded_ipv4(address)
        if embedded is not None:
            return is_public(embedded)
        if any(address in network for network in _NEVER_PUBLIC):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def parse_address(text: str) -> IPAddress:
    """Return the address in `text`, without its zone (`fe80::1%eth0`)."""
    return ipaddress.ip_address(text.partition("%")[0])


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    for network, shift in _EMBEDDED_IPV4:
        if address in network:
            return ipaddress.IPv4Address((int(address) >> shift) & _IPV4_MASK)
    return None
