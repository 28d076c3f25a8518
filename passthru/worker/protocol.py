# SPDX-License-Identifier: GPL-2.0-or-later
"""What the worker and its controlling side say to each other; both import it.

    request  {"id": 7, "do": "start", ...}        answered by exactly one of the next two, in order
    reply    {"id": 7, "ok": {...}}               with "fds": n when n descriptors come with it
    error    {"id": 7, "error": {"kind": "unusable", "message": "one sentence"}}
    event    {"event": "exited", ...}             told by the worker when it happens

Requests (``do``), their arguments and what the reply holds:

    hello       -> protocol, pid, python, kernel, scratch
    deadline    seconds: float | null             the worker ends everything by itself when they have passed
    start       name, argv, env, streams, listens, output, maybe pipes, directory, makes (see ChildSpec)
                -> child (its number), pid, argv; descriptors: the streams, then two for each pipe: what the child says,
                what it is told
    listening   socket, wait: bool -> listening   whether somebody listens at a path or "{socket:NAME}"; with wait the
                                                  reply comes when somebody does, maybe after those to later requests
    watch       socket -> processes: int          how many were found to listen there; ``gone`` tells when they ended
    signal      child, signal                     to the child's process group
    kill        child                             its process group and everything that came of it, SIGKILL
    end         -> failed: [sentence]             kill the children, undo everything; the worker exits after the reply

Events: ``exited`` (child, code or signal, cpu: seconds of user and system time of the child and of those that it waited
for); ``gone`` (socket): the processes that were watched there have ended; when the worker ends without being asked to,
``ending`` (reason) before it kills and undoes anything, and ``ended`` (failed) as its last word.
"""

from __future__ import annotations

PROTOCOL = 1

# Kinds of errors, each of which the controlling side turns into one class of passthru.errors.
UNUSABLE = "unusable"
REQUEST = "request"
INTERNAL = "internal"


class RequestError(Exception):
    """A request that cannot be carried out; ``kind`` tells whether this machine or the request is to blame."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
