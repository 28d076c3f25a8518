#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A bisection over QEMU's versions in Debian's suites: which is the first that fares otherwise than the oldest?
#
#     ci/bisect_qemu.sh SCENARIO [OLDEST-SUITE ... NEWEST-SUITE]
#
# git bisect wants a history: here is one, whose commits differ in the version's name and nothing else.
set -eu
scenario=$1
shift
[ $# -gt 0 ] || set -- bullseye bookworm bookworm-backports trixie-backports sid

history=$(mktemp -d)
trap 'rm -rf "$history"' EXIT
git init -q "$history"
for suite; do
    echo "debian:$suite" >"$history/qemu"
    git -C "$history" add qemu
    git -C "$history" -c user.name=passthru -c user.email=passthru@localhost commit -qm "QEMU of Debian $suite"
done
first=$(git -C "$history" rev-list --max-parents=0 HEAD)

# Which way round it is, is found by running the oldest one.
if passthru run "$scenario" --qemu "debian:$1" >&2; then old=works new=fails; else old=fails new=works; fi
git -C "$history" bisect start --term-old=$old --term-new=$new HEAD "$first" >&2
git -C "$history" bisect run sh -c "
    passthru run '$scenario' --bisect --runs '$PWD/runs' --qemu \"\$(cat qemu)\"
    status=\$?
    [ $old = works ] || case \$status in 0) status=1 ;; 1) status=0 ;; esac
    exit \$status"
