"""How storage behind URLs is reached."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from lstmgan_dist.settings import Settings


class Storage(Settings):
    """How s3:// and gs:// URLs are reached. Secrets have no place here: they stay in the environment or a profile."""

    endpoint: str | None = Field(
        default=None,
        description="URL of an S3-compatible server; none: AWS_ENDPOINT_URL, and without that AWS itself.",
    )
    region: str | None = Field(
        default=None, description="Region of the bucket; none: AWS_REGION or AWS_DEFAULT_REGION."
    )
    profile: str | None = Field(
        default=None, description="Name of a credentials profile of every machine; none: AWS_PROFILE or AWS's order."
    )
    anonymous: bool = Field(default=False, description="Send no credentials, for what is public.")
    timeout: float = Field(default=15.0, gt=0, description="Seconds without an answer after which a request failed.")
    patience: float = Field(
        default=60.0, ge=0, description="Seconds for which a request that failed is tried again; then the run stops."
    )

    @field_validator("endpoint")
    @classmethod
    def _holds_no_secret(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/@?#\s]+/?", value):
            # The value is not repeated, for it may hold a password.
            raise ValueError("write it as http://host:port or https://host; credentials belong in the environment")
        return value
