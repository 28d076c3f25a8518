# SPDX-License-Identifier: GPL-2.0-or-later
"""The process on the host that does everything there; standard library only, so that it runs inside a rig as it is.

It is driven over one stream of framed JSON (``stream``, ``protocol``). When that stream ends, it kills its children,
undoes what it did and exits, so that a harness killed with SIGKILL and one that says goodbye are the same case.

The modules here avoid ``dataclasses``, ``typing``, ``argparse`` and ``subprocess``: the worker's start-up is part of
every run, and these four would double it.
"""
