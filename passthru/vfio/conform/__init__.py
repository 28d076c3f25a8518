# SPDX-License-Identifier: GPL-2.0-or-later
"""The conformance suite: what every VFIO bus driver and every device server must do, judged through `VfioDevice`."""
