"""Network addresses, with or without the part that varies within a subscriber's network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

HOST_BITS = 64  # of an IPv6 address; a single subscriber has at least that many addresses


def subscriber(address: str) -> str:
    """Return an address without the part that a sender can change at will."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:  # a Unix socket has no address
        return address
    if isinstance(ip, IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ip_network((ip.packed, HOST_BITS), strict=False))
