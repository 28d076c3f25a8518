# SPDX-License-Identifier: GPL-2.0-or-later
"""A DPAA2 container of the host, given to an unmodified guest: the process between vfio-fsl-mc and its QEMU.

QEMU has no device for such a container. This stands beside QEMU on the host, holds ``dprc.N`` and its objects by VFIO,
and is what the guest's fsl-mc bus finds where its device tree says that a Management Complex is:

    MC portals     windows in the guest's RAM (`passthru.emulation.shared_ram`) that are served as a model's are: what
                   the guest's driver sends goes through region 0 of the container (`passing`). The portals of
                   all dpmcps lead there too, as do those of dpmcps that are added later.
    isolation      the guest's RAM is mapped for the container at the guest's physical addresses, so that those are
                   what its drivers tell the objects. The guest sees ICID 0.
    interrupts     are set up in VFIO, never by the guest: what it says is kept here, and when an eventfd is signalled,
                   the message that the guest wanted is written to its ITS through QEMU's qtest socket (`interrupts`).
    regions        of a dpio are copied between VFIO's mapping and a window in the guest's RAM with the handshake of
                   `windows` (`queues`). That can be done for registers that are memory: the model's of a Management
                   Complex, and not those of real QBMan portals.

Whatever else the guest sends is for the MC to judge: what is in a container that it gives away, nobody changes with the
container's portals. Objects that the host adds meanwhile are seen by the guest. Those have no device of VFIO's, as the
host's kernel looks at a container only when vfio-fsl-mc takes it: no interrupts, and no registers of a dpio.

It is made for rigs: windows that are RAM to us and device memory to the guest want a machine that is emulated, or one
with coherent memory types. On DPAA2's own machines a QEMU that has vfio-fsl-mc is what to use.
"""
