"""Calls that clients make beside the protocol, answered cheaply; and parts of it that this hub does not have."""

from __future__ import annotations

from django.http import HttpResponse, JsonResponse

from hub.wire.calls import Call
from hub.wire.errors import NotServed, RepoNotFound

_NOT_HERE = {
    "buckets": "buckets",
    "collections": "collections",
    "daily_papers": "papers",
    "papers": "papers",
    "inference-endpoints": "inference endpoints",
    "jobs": "Hugging Face's jobs; its own are at /api/v1/jobs",
    "scheduled-jobs": "scheduled jobs",
    "sandboxes": "sandboxes",
    "kernels": "kernel repositories",
    "posts": "posts",
    "agentic-provider": "agent providers",
}
_OF_SPACES = frozenset(
    ["secrets", "variables", "runtime", "hardware", "sleeptime", "pause", "dev-mode", "restart", "logs", "volumes"]
)


def agent_harnesses(call: Call) -> HttpResponse:
    """Which programs drive the client; it asks before it sends its user agent."""
    return JsonResponse({"standardEnvVars": [], "harnesses": {}})


def telemetry(call: Call, rest: str = "") -> HttpResponse:
    """Clients tell what they do; nothing is kept of it."""
    return JsonResponse({})


def not_served(call: Call, rest: str = "") -> HttpResponse:
    """501, with what it is that this hub does not have."""
    first, _, below = rest.partition("/")
    if first == "spaces" and _OF_SPACES & set(below.split("/")):
        what = "running spaces: it stores them as repositories"
    elif first == "settings":
        what = "webhooks and settings over this protocol; the account page has those there are"
    else:
        what = _NOT_HERE.get(first, f"/api/{rest[:200]}")
    raise NotServed(f"This hub does not serve {what}.")


def one_segment(call: Call, name: str, type: str = "", rev: str = "", path: str = "") -> HttpResponse:
    """`gpt2` and the like: names without a namespace, of which this hub has none."""
    raise RepoNotFound
