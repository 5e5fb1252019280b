"""Addresses of the Hugging Face protocol. They come before the pages, whose names they never take."""

from __future__ import annotations

from hub.wire import (
    contents,
    elsewhere,
    gates,
    identity,
    infos,
    lfs,
    lfs_files,
    people,
    refs,
    repositories,
    threads,
    writing,
    xet,
)
from hub.wire.calls import at

_EVERY = ("GET", "POST", "PUT", "PATCH", "DELETE")
_API = "api/<repotype:type>/<segment:ns>/<segment:name>"
_THREAD = f"{_API}/discussions/<int:number>"
_FILES = "<segment:ns>/<segment:name>/resolve/<revision:rev>/<rest:path>"
_LFS = "<segment:ns>/<segment:name>.git/info/lfs"

urlpatterns = [
    at("api/whoami-v2", "whoami", GET=identity.whoami),
    at("api/settings/repositories", "own", GET=infos.own),
    at("api/organizations/<segment:name>/settings/repositories", "of-organisation", GET=infos.of_organisation),
    at("api/repos/create", "create", POST=repositories.create),
    at("api/repos/delete", "delete", DELETE=repositories.delete),
    at("api/repos/move", "move", POST=repositories.move),
    at("api/validate-yaml", "validate-yaml", POST=infos.validate_yaml),
    at("api/<repotype:type>", "index", GET=infos.index),
    # one repository
    at(_API, "info", GET=infos.info),
    at(f"{_API}/revision/<rest:rev>", "info-at", GET=infos.info),
    at(f"{_API}/auth-check", "auth-check", GET=identity.auth_check),
    at(f"{_API}/auth-check/write", "auth-check-write", GET=identity.auth_check_write),
    at(f"{_API}/settings", "settings", PUT=repositories.settings),
    at(f"{_API}/duplicate", "duplicate", POST=repositories.duplicate),
    # what it holds
    at(f"{_API}/tree/<revision:rev>", "tree", GET=contents.tree),
    at(f"{_API}/tree/<revision:rev>/<rest:path>", "tree-below", GET=contents.tree),
    at(f"{_API}/paths-info/<rest:rev>", "paths-info", POST=contents.paths_info),
    at(f"{_API}/refs", "refs", GET=refs.refs),
    at(f"{_API}/branch/<rest:branch>", "branch", POST=refs.create_branch, DELETE=refs.delete_branch),
    at(f"{_API}/tag/<rest:rev>", "tag", POST=refs.create_tag, DELETE=refs.delete_tag),
    at(f"{_API}/commits/<rest:rev>", "commits", GET=refs.commits),
    at(f"{_API}/super-squash/<rest:branch>", "super-squash", POST=refs.super_squash),
    at(f"{_API}/lfs-files", "lfs-files", GET=lfs_files.index),
    at(f"{_API}/lfs-files/batch", "lfs-files-delete", POST=lfs_files.delete),
    at(f"{_API}/lfs-files/duplicate", "lfs-files-duplicate", POST=lfs_files.duplicate),
    # writing
    at(f"{_API}/preupload/<rest:rev>", "preupload", POST=writing.preupload),
    at(f"{_API}/commit/<rest:rev>", "commit", POST=writing.commit),
    at(f"{_API}/xet-read-token/<rest:rev>", "xet-read-token", GET=xet.read_token),
    at(f"{_API}/xet-write-token/<rest:rev>", "xet-write-token", GET=xet.write_token),
    at("api/lfs/upload/<str:note>", "lfs-put", PUT=lfs.put),
    at("api/lfs/complete/<str:note>", "lfs-complete", POST=lfs.complete),
    at("api/lfs/arrived/<str:note>", "lfs-arrived", POST=lfs.arrived),
    at("api/lfs/objects/<str:note>", "lfs-get", GET=lfs.get),
    at(f"<repotype:type>/{_LFS}/objects/batch", "lfs-batch-typed", POST=lfs.batch),
    at(f"{_LFS}/objects/batch", "lfs-batch", POST=lfs.batch),
    at(f"<repotype:type>/{_LFS}/verify", "lfs-verify-typed", POST=lfs.verify),
    at(f"{_LFS}/verify", "lfs-verify", POST=lfs.verify),
    # people
    at(f"{_API}/discussions", "threads", GET=threads.index, POST=threads.create),
    at(_THREAD, "thread", GET=threads.show),
    at(f"{_THREAD}/comment", "thread-comment", POST=threads.comment),
    at(f"{_THREAD}/title", "thread-title", POST=threads.title),
    at(f"{_THREAD}/status", "thread-status", POST=threads.status),
    at(f"{_THREAD}/merge", "thread-merge", POST=threads.merge),
    at(f"{_THREAD}/comment/<segment:event>/edit", "thread-edit", POST=threads.edit),
    at(f"{_THREAD}/comment/<segment:event>/hide", "thread-hide", POST=threads.hide),
    at(f"{_API}/like", "like", POST=people.like, DELETE=people.unlike),
    at(f"{_API}/likers", "likers", GET=people.likers),
    at(f"{_API}/user-access-request/handle", "access-handle", POST=gates.handle),
    at(f"{_API}/user-access-request/grant", "access-grant", POST=gates.grant),
    at(f"{_API}/user-access-request/<segment:status>", "access-requests", GET=gates.index),
    at("api/users/<segment:user>/overview", "user", GET=people.overview),
    at("api/users/<segment:user>/likes", "user-likes", GET=people.liked),
    at("api/organizations/<segment:organisation_name>/overview", "organisation", GET=people.organisation_overview),
    at("api/organizations/<segment:organisation_name>/members", "organisation-members", GET=people.members),
    # reading
    at(f"<repotype:type>/{_FILES}", "resolve-typed", GET=contents.resolve),
    at(_FILES, "resolve", GET=contents.resolve),
    # everything else
    at("api/agent-harnesses", "agent-harnesses", GET=elsewhere.agent_harnesses),
    at("api/telemetry/<rest:rest>", "telemetry", GET=elsewhere.telemetry, POST=elsewhere.telemetry),
    at("api/<repotype:type>/<segment:name>", "one-segment", GET=elsewhere.one_segment),
    at("<segment:name>/resolve/<revision:rev>/<rest:path>", "resolve-one-segment", GET=elsewhere.one_segment),
    at("api/<rest:rest>", "not-served", **dict.fromkeys(_EVERY, elsewhere.not_served)),
]
