"""The folders inside PRIORHUB_HOME. Functions, so that tests and two hubs in one process can move it."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from hub.env import kept_secret


def home() -> Path:
    """The hub's home, made when missing."""
    folder = Path(settings.PRIORHUB_HOME)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def scratch() -> Path:
    """Work in progress of jobs, one folder an attempt. On the same disk as the blobs, so finished work is renamed."""
    return _made(home() / "tmp")


def imports() -> Path:
    """Files on their way from other hubs, by owner and hash; a job that goes on finds them again."""
    return _made(home() / "imports")


def prior_cache() -> Path:
    """Published priors unpacked by commit, shared by all jobs."""
    return _made(home() / "cache" / "priors")


def feature_cache() -> Path:
    """Frozen features by node hash and data hash (composer/cache.py)."""
    return _made(home() / "cache" / "features")


def assembled_folder() -> Path:
    """Whole files made from chunks (hub/xet/assembled.py). On the disk of `scratch`, so jobs can link them."""
    return _made(home() / "cache" / "blobs")


def upload_folder() -> Path:
    """Files on their way into a bucket. A store on a disk has a folder of its own for them."""
    return _made(home() / "cache" / "uploads")


def broker_folder() -> Path:
    """Messages of the disk:// broker."""
    return _made(home() / "broker")


def hub_id() -> str:
    """A random name that stays with this home; clients use it to tell two hubs at one address apart."""
    return kept_secret(home() / "hub_id")[:16]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
