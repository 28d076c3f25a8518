# SPDX-License-Identifier: GPL-2.0-or-later
"""VFIO by the kernel's own files: containers and groups, iommufd and device files, and KVM as their other user."""
