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
                what it is told; with ports (names of virtio-serial ports, one for each stream and pipe) they leave by
                those instead; with tell_output what it prints is told by events
    listening   socket, wait: bool -> listening   whether somebody listens at a path or "{socket:NAME}"; with wait the
                                                  reply comes when somebody does, maybe after those to later requests
    watch       socket -> processes: int          how many were found to listen there; ``gone`` tells when they ended
    signal      child, signal                     to the child's process group
    kill        child                             its process group and everything that came of it, SIGKILL
    preflight   assignments: [assignment], memory: bytes of the guest's RAM (0: unknown), kind: "rig" | "local"
                -> blockers: [{device: name | null, what, fix, wrong: "mistake" | "unusable" | "missing", capability}],
                facts (what doctor tells)         touches nothing
    prepare     assignment -> name, bus, qemu_device: QEMU's device for it, qemu: its properties, {"host": address} |
                {"sysfsdev": path}, address, uuid, group, cdev, devices: [what changed hands], driver: the one it had,
                notes: [sentence]
                                                  all or nothing: an error leaves all as it was
    release     name -> failed: [sentence]        what was prepared by this name is as before
    recover     -> undone, failed, kept: [sentence]   the journals of killed workers of this boot
    bind        host, driver | null (VFIO's of its bus) -> address, group, driver, before, devices
                                                  by hand: stays until unbind
    unbind      host -> address, driver, undone, kept
    mdev-create parent, type, uuid | null, maybe attributes: [[name, value]] to write into its files
                -> uuid, parent, type                                      by hand: stays until mdev-remove
    mdev-remove uuid
    mdev-types  -> parents: [{parent, types: [{type, name, description, device_api, available_instances, devices}]}]
    object-add  object, container -> object, container, before   a DPAA2 object from the container above; never where a
                                                  guest holds the container
    object-remove object, container -> the same   into the container above, unplugged
    end         -> failed: [sentence]             kill the children, undo everything; the worker exits after the reply

An assignment is {"name", "bus": "pci", "host", "vf", "vfs", "container"}, {"name", "bus": "mdev", "parent", "type",
"uuid", "container"} (parent and type null: an mdev that is there already), {"name", "bus": "platform", "host",
"reset_required", "container"} or {"name", "bus": "amba" | "fsl-mc", "host", "container"}, each maybe with "unsafe":
true (interrupts without remapping); see passthru/host/devices.py.

Events: ``exited`` (child, code or signal, cpu: seconds of user and system time of the child and of those that it waited
for); ``output`` (child, data: a character a byte); ``gone`` (socket): the processes that were watched there have ended;
when the worker ends without being asked to, ``ending`` (reason) before it kills and undoes anything, and ``ended``
(failed) as its last word; ``ready`` is the first word of one that serves a port.
"""

from __future__ import annotations

PROTOCOL = 1

# Kinds of errors, each of which the controlling side turns into one class of passthru.errors.
UNUSABLE = "unusable"
MISTAKE = "mistake"
MISSING = "missing"
REQUEST = "request"
INTERNAL = "internal"


class RequestError(Exception):
    """A request that cannot be carried out; ``kind`` tells whether this machine or the request is to blame.

    ``capability`` is the short name of what is missing, for that kind.
    """

    def __init__(self, kind: str, message: str, capability: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.capability = capability
