#!/bin/busybox sh
# The init of a guest that has a DPAA2 container: it says what it finds, a line each.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

has() { echo "HAS $(cd /sys/bus/fsl-mc/devices && echo *)"; }

# The windows are where the kernel's command line says.
for word in $(cat /proc/cmdline); do
    case $word in portals=*|queues=*|spare=*) eval "$word" ;; esac
done

# send CODE TOKEN PARAMETER: by the portal of dpmcp.2, which the kernel does not use.
portal=$((portals + 0x10000))
send() {
    devmem $((portal + 8)) 64 "$3"
    devmem $portal 64 "$(printf '0x%x' $((($1 << 52) | (1 << 48) | ($2 << 32) | (1 << 16))))"
    while header=$(devmem $portal 64); [ $(((header >> 16) & 0xff)) = 1 ]; do :; done
    status=$(((header >> 16) & 0xff))
    token=$(((header >> 32) & 0xffff))
}

# copy SOURCE: 32 bytes to spare + 4096, by the registers of dpio.0.
engine=$((queues + 0x10000))
copy() {
    devmem $((engine + 0x08)) 64 "$1"
    devmem $((engine + 0x10)) 64 $((spare + 4096))
    devmem $((engine + 0x18)) 64 32
    devmem $((engine + 0x20)) 32 1
    while [ "$(devmem $((engine + 0x20)) 32)" != 0x00000000 ]; do :; done
    result=$(devmem $((engine + 0x24)) 32)
}

has
echo "DRIVER $(basename "$(readlink /sys/bus/fsl-mc/devices/dprc.2/driver)")"
send 0x805 0 2
echo "OPENED $status WITH $token"
send 0x904 "$token" 0
echo "CREATED $status"
devmem $((spare + 24)) 64 0x1122334455667788
devmem $((spare + 4096 + 24)) 64 0
copy $spare
echo "COPIED $result $(devmem $((spare + 4096 + 24)) 64)"
copy 0x8000000000
echo "FAULTED $result $(devmem $((engine + 0x28)) 64)"

while :; do
    now=$(has)
    [ "$now" = "$before" ] || echo "$now INTERRUPTS $(awk '/dprc/ { print $2 }' /proc/interrupts)"
    before=$now
    usleep 50000
done
