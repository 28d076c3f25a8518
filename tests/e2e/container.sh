#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# container.sh DIRECTORY SHM COMMAND...: in new mount, PID, network and IPC namespaces, makes what a container has, and
# becomes the command: a /dev of its own with nothing in it but the usual nodes (no /dev/kvm), /dev/shm of the size SHM
# or none at all, /proc/sys and /sys for reading, no capability and no way to get one, no terminal, and standard input
# closed. DIRECTORY is an empty one.
set -eu
new=$1
shm=$2
shift 2

mount -t tmpfs -o mode=755,size=1m tmpfs "$new"
for name in null zero full random urandom tty; do
    : >"$new/$name"
    mount --bind "/dev/$name" "$new/$name"
done
ln -s /proc/self/fd "$new/fd"
for number in 0:stdin 1:stdout 2:stderr; do
    ln -s "/proc/self/fd/${number%:*}" "$new/${number#*:}"
done
mkdir "$new/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$new/pts"
ln -s pts/ptmx "$new/ptmx"
if [ "$shm" != none ]; then
    mkdir "$new/shm"
    mount -t tmpfs -o "mode=1777,size=$shm" tmpfs "$new/shm"
fi
mount --rbind "$new" /dev

mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --rbind /sys /sys
mount -o remount,bind,ro /sys

exec setsid setpriv --bounding-set -all --inh-caps -all --no-new-privs "$@" <&-
