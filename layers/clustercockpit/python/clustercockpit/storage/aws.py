"""Clients of AWS services, made at first use. Only `storage` knows boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clustercockpit.settings import Settings


def s3_client(
    settings: Settings,
    *,
    endpoint: str = "",
    region: str = "",
    access_key: str = "",
    secret_key: str = "",
    path_style: bool = False,
) -> Any:
    """A client of an S3 server that the configuration names, with keys of its own where it has some."""
    import boto3
    from botocore.config import Config

    foreign = bool(endpoint)
    make: Any = boto3.client
    return make(
        "s3",
        region_name=region or settings.aws_region,
        endpoint_url=endpoint or None,
        aws_access_key_id=access_key or None,
        aws_secret_access_key=secret_key or None,
        config=Config(
            connect_timeout=3,
            read_timeout=20,
            retries={"mode": "standard", "total_max_attempts": 3},
            s3={"addressing_style": "path" if path_style or foreign else "auto"},
            request_checksum_calculation="when_required" if foreign else "when_supported",
            response_checksum_validation="when_required" if foreign else "when_supported",
            max_pool_connections=32,
        ),
    )


def client(settings: Settings, service: str) -> Any:
    """A boto3 client with time limits that fit a request. Credentials come from boto3's own chain.

    A given endpoint (an emulator, or another S3 server) is addressed by path and gets no checksums it may not
    know. boto3 clients may be shared between threads.
    """
    import boto3
    from botocore.config import Config

    local = bool(settings.aws_endpoint_url)
    make: Any = boto3.client  # its overloads know only literal service names
    return make(
        service,
        region_name=settings.aws_region,
        endpoint_url=settings.aws_endpoint_url or None,
        config=Config(
            connect_timeout=3,
            read_timeout=20,
            retries={"mode": "standard", "total_max_attempts": 3},
            s3={"addressing_style": "path"} if local else None,
            request_checksum_calculation="when_required" if local else "when_supported",
            response_checksum_validation="when_required" if local else "when_supported",
            max_pool_connections=32,
        ),
    )
