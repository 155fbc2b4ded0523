"""Where a request comes from. Headers are believed only from a proxy the site trusts."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Scope

from clustercockpit.access.policy import AddressList


def client_address(scope: Scope, trusted: AddressList) -> str:
    """The caller's address: the peer (in Lambda the gateway's source address), or, if the peer is a trusted
    proxy, the right-most address of X-Forwarded-For that is not one itself."""
    peer = scope.get("client")
    address = str(peer[0]) if peer else ""
    if not address or not (trusted.networks or trusted.everyone) or not trusted.admits(address):
        return address
    hops = [hop.strip() for hop in ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")]
    for hop in reversed([hop for hop in hops if hop]):
        address = hop
        if not trusted.admits(hop):
            break
    return address


def is_secure(scope: Scope, trusted: AddressList) -> bool:
    """True if the caller's connection is encrypted, as far as we or a trusted proxy can tell."""
    if scope.get("scheme") == "https":
        return True
    peer = scope.get("client")
    if not peer or not trusted.admits(str(peer[0])):
        return False
    return Headers(scope=scope).get("x-forwarded-proto") == "https"
