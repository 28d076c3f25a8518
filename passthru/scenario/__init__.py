# SPDX-License-Identifier: GPL-2.0-or-later
"""What to run: scenarios as frozen models, and the way there from files, includes and overrides."""
