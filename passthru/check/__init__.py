# SPDX-License-Identifier: GPL-2.0-or-later
"""One module a check: what is judged in the guest, and how. ``registry`` knows them all and imports them when used."""
