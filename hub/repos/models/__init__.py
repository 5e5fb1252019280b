"""The rows of repositories: what is published, and what people say about it."""

from hub.repos.models.discussions import Discussion, DiscussionEvent
from hub.repos.models.likes import Like
from hub.repos.models.repositories import (
    Blob,
    BlobUpload,
    Commit,
    Namespace,
    Ref,
    Repository,
    RepositoryBlob,
    Tree,
    TreeEntry,
)
from hub.repos.models.reservations import Reservation
from hub.repos.models.retired_names import RetiredName

__all__ = [
    "Blob",
    "BlobUpload",
    "Commit",
    "Discussion",
    "DiscussionEvent",
    "Like",
    "Namespace",
    "Ref",
    "Repository",
    "RepositoryBlob",
    "Reservation",
    "RetiredName",
    "Tree",
    "TreeEntry",
]
