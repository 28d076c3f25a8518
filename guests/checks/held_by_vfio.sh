#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The device, and whatever is in its IOMMU group or container, is bound to VFIO's driver for its bus, and to no other.
set -u
want=vfio-$PASSTHRU_BUS
wrong=0
driver_of() { basename "$(readlink "$1/driver" 2>/dev/null || echo none)"; }
number=0
for device in /sys/kernel/iommu_groups/"$PASSTHRU_IOMMU_GROUP"/devices/*; do
    number=$((number + 1))
    name=$(basename "$device")
    found=$(driver_of "$device")
    if [ "$found" = "$want" ]; then
        echo "ok $number - $name is held by $want"
    else
        echo "not ok $number - $name is held by $found, and not by $want"
        wrong=1
    fi
done
number=$((number + 1))
if [ -e "$PASSTHRU_SYSFS" ] && [ -c "$PASSTHRU_VFIO_GROUP" ]; then
    echo "ok $number - $PASSTHRU_VFIO_GROUP is there"
else
    echo "not ok $number - $PASSTHRU_SYSFS or $PASSTHRU_VFIO_GROUP is not there"
    wrong=1
fi
echo "1..$number"
exit $wrong
