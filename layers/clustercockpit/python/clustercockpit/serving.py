"""Listening: address, TLS, and giving up root after the port is taken."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from clustercockpit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from clustercockpit.config.sections import Main

log = logging.getLogger(__name__)

# TLS 1.2 with forward secrecy only; TLS 1.3 chooses by itself
CIPHERS = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"


def serve(main: Main, application: Callable[[], FastAPI]) -> None:
    """Serve until SIGINT or SIGTERM, then let requests finish for at most 60 s.

    The port is bound and the certificate read before root is given up, the application is built after it.
    ConfigurationError for a port that is taken, a certificate that cannot be read, or an unknown user.
    """
    try:
        import uvicorn
    except ImportError:
        raise ConfigurationError(
            "-server needs uvicorn: install the package with its extra, clustercockpit[metric-store]"
        ) from None
    host, port = main.host_and_port
    config = uvicorn.Config(
        lambda: application(),
        factory=True,
        host=host,
        port=port,
        # What headers say about the caller is believed from `main.trusted-proxies` only, and read by us.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=60,
        h11_max_incomplete_event_size=64 * 1024,
    )
    listener = _bound(host, port)
    try:
        context = _tls(main)
        drop_privileges(main.user, main.group)
        config.load()
        config.ssl = context
        scheme = "https" if context is not None else "http"
        log.info("serving %s://%s:%d", scheme, host, port)
        server = uvicorn.Server(config)
        _notify("READY=1")
        server.run(sockets=[listener])
        _notify("STOPPING=1")
    finally:
        listener.close()


def _bound(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except OSError as error:
        raise ConfigurationError(f"main.addr: cannot listen on {host}:{port}: {error.strerror}") from None


def _tls(main: Main) -> Any:
    if not main.https_cert_file:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    try:
        context.load_cert_chain(main.https_cert_file, main.https_key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"main.https-cert-file, main.https-key-file: cannot be used: {error.strerror or error}"
        ) from None
    return context


def drop_privileges(user: str, group: str) -> None:
    """Become `user` and `group` for good, supplementary groups given up. Where the process is not root it
    must already be that user. ConfigurationError otherwise."""
    if not user and not group:
        return
    import grp
    import pwd

    try:
        account = pwd.getpwnam(user) if user else None
        group_id = grp.getgrnam(group).gr_gid if group else account.pw_gid if account else os.getgid()
    except KeyError as error:
        raise ConfigurationError(f"main.user, main.group: {error.args[0]}") from None
    if os.geteuid() != 0:
        if account is not None and os.geteuid() != account.pw_uid:
            raise ConfigurationError(
                f"main.user: this process is neither root nor {user}, so it cannot become {user}"
            )
        return
    os.setgroups([])
    os.setgid(group_id)
    if account is not None:
        os.setuid(account.pw_uid)
        if os.getuid() == 0 and account.pw_uid != 0:
            raise ConfigurationError(f"main.user: the process could not become {user}")


def _notify(state: str) -> None:
    """Tell systemd, where it wants to know."""
    from clustercockpit.settings import notify_socket

    address = notify_socket()
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            log.warning("systemd could not be told %s: %s", state, error.strerror)
