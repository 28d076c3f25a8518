# SPDX-License-Identifier: GPL-2.0-or-later
"""The plug for memory models: their registers are RAM that a QEMU's guest shares with this process.

The guest's RAM is a file (``memory-backend-file,share=on``) of which a part is reserved in the device tree: there are
the windows of the devices and an SMMUv2 that is nothing but RAM, whose registers and page tables Linux writes and we
walk. Interrupts go in through QEMU's qtest socket, as levels of the GIC's lines and as writes to the ITS. Nothing
traps, so we look at the doorbells over and over, quickly while something happens and slowly else.
"""
