"""Checks addresses that are signed for S3, from AWS's description of Signature Version 4 and with nothing of botocore.

moto takes any signature; this is what a real service would refuse by.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, unquote, urlsplit

LONGEST_S = 3600


def wrong_with(
    method: str, url: str, headers: Mapping[str, str], *, secrets: Mapping[str, str], now: datetime | None = None
) -> str | None:
    """Why a request with a signed address is to be refused; None when it is in order.

    headers  as the client sends them; names in any case
    secrets  of each access key
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    sent = {name.lower(): value.strip() for name, value in headers.items()}
    if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        return "it is not signed"
    key, day, region, service, end = query["X-Amz-Credential"].split("/")
    if key not in secrets or service != "s3" or end != "aws4_request":
        return "the key is unknown"
    made = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    lasts = int(query["X-Amz-Expires"])
    if made.strftime("%Y%m%d") != day or not 0 < lasts <= LONGEST_S:
        return "it is good for too long"
    if not made - timedelta(minutes=15) <= (now or datetime.now(UTC)) <= made + timedelta(seconds=lasts):
        return "it has expired"
    names = query["X-Amz-SignedHeaders"].split(";")
    if "host" not in names or not set(names) <= set(sent):
        return f"the headers {', '.join(sorted(set(names) - set(sent)))} are missing"
    signature = query.pop("X-Amz-Signature")
    canonical = "\n".join(
        [
            method,
            quote(unquote(parts.path), safe="/-_.~"),
            "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query)),
            *(f"{name}:{sent[name]}" for name in names),
            "",
            ";".join(names),
            "UNSIGNED-PAYLOAD",
        ]
    )
    scope = f"{day}/{region}/{service}/{end}"
    told = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    secret = f"AWS4{secrets[key]}".encode()
    for step in (day, region, service, end, told):
        secret = hmac.new(secret, step.encode(), hashlib.sha256).digest()
    return None if hmac.compare_digest(secret.hex(), signature) else "the signature is of another request"
