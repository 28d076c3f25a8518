#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The program of a check that only brings files into a rig and is never run.
exit 1
