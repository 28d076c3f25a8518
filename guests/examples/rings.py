# SPDX-License-Identifier: GPL-2.0-or-later
"""A check of one's own: rings the doorbell, waits for each interrupt by way of UIO, and reads the counter."""

from pydantic import Field

from passthru.check.context import Context
from passthru.check.finding import Finding, judged
from passthru.check.options import DeviceCheckOptions

SCRIPT = """
cd /sys/bus/pci/devices/{address} && read -r bar rest <resource
[ -e uio ] || echo $(cat vendor device) | sed s/0x//g >/sys/bus/pci/drivers/uio_pci_generic/new_id
exec 3</dev/uio0  # UIO disables INTx in the command register as it tells of an interrupt
for ring in $(seq {rings}); do
    setpci -s {address} COMMAND=0:400; devmem $((bar + 4)) 32 1
    timeout 5 dd bs=4 count=1 <&3 2>/dev/null | wc -c; devmem $((bar + 8)) 32 1
done; devmem $bar 32
"""


class Options(DeviceCheckOptions):
    rings: int = Field(default=3, ge=1)
    """How often the doorbell rings."""


async def judge(context: Context, options: Options) -> Finding:
    device = context.the_device
    done = await context.run(SCRIPT.format(address=device.address, rings=options.rings), needs=["devmem", "setpci"])
    *interrupts, counter = done.stdout.decode().split() or [""]
    wanted = f"0x{options.rings * int(str(device.options['step'])):08X}"
    wrong = [f"ring {ring} raised no interrupt" for ring, size in enumerate(interrupts, 1) if size != "4"]
    wrong += [f"the counter is {counter}, not {wanted}"] if counter != wanted else []
    wrong += [f"status {done.status}: {done.stderr.decode()}"] if done.status else []
    return judged(wrong, passed=f"{options.rings} rings, as many interrupts, counter {counter}", failed="the doorbell")
