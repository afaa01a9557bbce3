"""Files in a bucket of an S3-compatible server (kernel.files)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kernel.files import KINDS, NAME, PRIVATE, PUBLIC, StoreUnavailable


class Bucket:
    """A bucket of an S3-compatible server."""

    def __init__(self, *, bucket: str, prefix: str, endpoint: str, key: str, secret: str, region: str) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint or None,
            aws_access_key_id=key or None,
            aws_secret_access_key=secret or None,
            region_name=region,
            config=Config(
                connect_timeout=5,
                read_timeout=20,
                retries={"max_attempts": 2},
                s3={"addressing_style": "path" if endpoint else "auto"},
                # Not every S3-compatible server knows the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, name: str, content: bytes) -> None:
        kind = KINDS[name.rpartition(".")[2]]
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=content, ContentType=kind)
        except (BotoCoreError, ClientError) as failed:
            raise _unavailable() from failed

    def get(self, name: str) -> bytes | None:
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
            content: bytes = found["Body"].read()
            return content
        except self._client.exceptions.NoSuchKey:
            return None
        except (BotoCoreError, ClientError) as failed:
            raise _unavailable() from failed

    def drop(self, name: str) -> None:
        try:
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))
        except (BotoCoreError, ClientError) as failed:
            raise _unavailable() from failed

    def names(self, *, public: bool, before: datetime) -> Iterator[str]:
        listed = self._client.get_paginator("list_objects_v2")
        try:
            for part in listed.paginate(Bucket=self._bucket, Prefix=self._prefix + (PUBLIC if public else PRIVATE)):
                for found in part.get("Contents", ()):
                    name = str(found["Key"]).removeprefix(self._prefix)
                    if NAME.fullmatch(name) and found["LastModified"] < before:
                        yield name
        except (BotoCoreError, ClientError) as failed:
            raise _unavailable() from failed

    def _key(self, name: str) -> str:
        assert NAME.fullmatch(name), "a name that we did not make"
        return f"{self._prefix}{name}"


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("文件服务暂时不可用，请稍后再试。")
