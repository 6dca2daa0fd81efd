"""Network addresses, with and without what tells one sender from the neighbours."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

HOST_BITS = 64  # of an IPv6 address: a single subscriber has so many addresses, or more


def subscriber(address: str) -> str:
    """An address without the part that one sender can change at will."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:  # a Unix socket has none
        return address
    if isinstance(ip, IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ip_network((ip.packed, HOST_BITS), strict=False))
