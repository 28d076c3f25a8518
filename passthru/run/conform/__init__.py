# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the conformance suite (`passthru.vfio.conform`) where the device is, and telling what it finds.

request    what is to be judged, from what the user names
plan       a rig without a guest, where the device is in one; a stub of the user's, to be brought there
target     how the suite reaches the device
go         the suite as a child of the host's worker, once: its report, line by line
judging    a device judged to the end, by as many goes as deaths on the way make necessary
one_run    the whole: host, devices, suite, outcome
"""
