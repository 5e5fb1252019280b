"""What is told of a file's and a revision's safety, also in the words of the Hugging Face protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from django.db.models import Q

from hub.repos import trees
from hub.repos.models import Commit
from hub.safety.holds import standing
from hub.safety.models import Finding, Hold, ScanDue


def findings(hashes: Collection[str]) -> dict[str, list[Finding]]:
    """What checks and scans noticed about these bytes, by hash; most have nothing."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in Finding.objects.filter(sha256__in=hashes).order_by("pk"):
        found[finding.sha256].append(finding)
    return found


def file_status(commit: Commit, hashes: Collection[str]) -> dict[str, dict[str, Any]]:
    """`securityFileStatus` by hash: safe, queued, suspicious (a pickle, say) or unsafe (held). Three queries."""
    noticed = findings(hashes)
    held = Hold.objects.standing().filter(
        Q(repository=commit.repository_id) | Q(repository=None), sha256__in=list(hashes)
    )
    reasons = {hold.sha256: hold.reason for hold in held}
    waiting = ScanDue.objects.filter(commit=commit).exists()
    answer = {}
    for sha256 in hashes:
        if sha256 in reasons:
            status = "unsafe"
        elif noticed.get(sha256):
            status = "suspicious"
        else:
            status = "queued" if waiting else "safe"
        pickle = next((each for each in noticed.get(sha256, []) if each.rule == Finding.Rule.PICKLE), None)
        answer[sha256] = {
            "status": status,
            "message": reasons.get(sha256) or "; ".join(each.detail for each in noticed.get(sha256, [])),
            "avScan": {"status": "unscanned"},
            "pickleImportScan": {"status": "suspicious", "message": pickle.detail} if pickle else {"status": "safe"},
        }
    return answer


def repository_status(commit: Commit) -> dict[str, Any]:
    """`securityRepoStatus` of a revision: whether its scans are over, and which files have issues."""
    files = trees.read(commit.tree_id)
    by_hash = file_status(commit, {entry.sha256 for entry in files.values()})
    whole = standing(commit)
    issues = [
        {"path": path, "level": "unsafe" if whole else by_hash[entry.sha256]["status"]}
        for path, entry in files.items()
        if whole or by_hash[entry.sha256]["status"] in {"suspicious", "unsafe"}
    ]
    return {"scansDone": not ScanDue.objects.filter(commit=commit).exists(), "filesWithIssues": issues}
