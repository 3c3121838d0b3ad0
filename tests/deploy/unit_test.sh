#!/usr/bin/env bash
# The unit: systemd reads it without a complaint, and its sandbox is as tight as the README says. See deploy/systemd/README.md.
set -euo pipefail

: "${NODECOMM_BUILD:?the build directory}"
unit=$NODECOMM_BUILD/deploy/systemd/nodecommd.service
readonly exposure_max=20 # tenths; systemd calls everything below 3.0 OK
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

if ! command -v systemd-analyze >/dev/null; then
  echo "skipped: no systemd-analyze here (package systemd)"
  exit 77
fi

# The program that was built stands in for the one that would be installed; the manual comes with the package.
sed -e "s|=/[^ ]*/sbin/nodecommd |=$NODECOMM_BUILD/bin/nodecommd |" -e '/^Documentation=/d' "$unit" >"$work/nodecommd.service"
grep -q "^ExecStart=$NODECOMM_BUILD/bin/nodecommd --config /" "$work/nodecommd.service" || fail "ExecStart is another"
complaints=$(systemd-analyze verify "$work/nodecommd.service" 2>&1) || fail "verify: $complaints"
[[ -z $complaints ]] || fail "verify: $complaints"

exposure=$(systemd-analyze security --offline=true --no-pager "$work/nodecommd.service" |
  sed -n 's/.*Overall exposure level for .*: \([0-9]*\)\.\([0-9]\).*/\1\2/p')
[[ -n $exposure ]] || fail "no exposure level in what systemd-analyze says"
((10#$exposure < exposure_max)) || fail "exposure is $exposure tenths, not below $exposure_max"

# What operators rely on, whatever the score: each line once.
expect_line() { (($(grep -cxF -- "$1" "$unit") == 1)) || fail "the unit lacks '$1'"; }
expect_line Type=notify
expect_line WatchdogSec=60
expect_line User=nodecomm
expect_line "After=nvidia-persistenced.service nvidia-fabricmanager.service"
expect_line RuntimeDirectory=nodecomm
expect_line RuntimeDirectoryPreserve=yes
expect_line BindReadOnlyPaths=-%t/nodecomm:%t/nodecomm.read-only
if grep -qE '^(Requires|BindsTo|Requisite)=' "$unit"; then fail "the unit requires another, which some hosts do not have"; fi
fd_store=$(sed -n 's/^FileDescriptorStoreMax=//p' "$unit")
((fd_store >= 3)) || fail "the descriptor store has no room for the three sockets"

# The user: made from the file alone, in a root of its own.
if command -v systemd-sysusers >/dev/null; then
  sysroot=$work/sysroot
  mkdir -p "$sysroot/etc"
  systemd-sysusers --root="$sysroot" - <"$(dirname "$0")/../../deploy/systemd/sysusers.conf"
  grep -q '^nodecomm:' "$sysroot/etc/passwd" || fail "sysusers makes no user nodecomm"
  grep -q '^video:.*:nodecomm$' "$sysroot/etc/group" || fail "nodecomm is not in the group video"
fi
echo "ok: exposure $exposure tenths"
