"""What a site chose about access, taken from `config.json` and turned into values the door can use."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from clustercockpit.errors import InvalidInputError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AddressList:
    """Addresses and networks. Compared canonically: `::1` equals `0:0:0:0:0:0:0:1`, and an IPv4 address
    that arrives mapped into IPv6 is the IPv4 address."""

    networks: tuple[Network, ...] = ()
    everyone: bool = True

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AddressList:
        """Addresses, CIDR networks, or `*` at any place. An empty list admits everyone.

        Raises InvalidInputError naming an entry that is neither.
        """
        networks: list[Network] = []
        everyone = False
        for entry in entries:
            text = entry.strip()
            if text == "*":
                everyone = True
                continue
            try:
                networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise InvalidInputError(
                    f"{entry!r} is not an IP address, a network like 192.0.2.0/24, or '*'"
                ) from None
        return cls(tuple(networks), everyone or not networks)

    def admits(self, address: str) -> bool:
        if self.everyone:
            return True
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Durations in seconds; None means no expiry."""

    authentication_disabled: bool = False
    # Tokens: subject must exist, roles come from the account instead of the claims
    validate_user: bool = False
    token_max_age: int | None = None
    session_max_age: int | None = 7 * 24 * 3600
    api_allowed: AddressList = field(default_factory=AddressList)
    metric_allowed: AddressList = field(default_factory=AddressList)
    legacy_metric_roles: bool = False
    # Peers whose X-Forwarded-* headers are believed (a reverse proxy of the site)
    trusted_proxies: AddressList = field(default_factory=lambda: AddressList(everyone=False))
    strict_transport_security: bool = True
