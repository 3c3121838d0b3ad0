#!/usr/bin/env bash
# Run by systemd inside the root that clean_root.sh made, with the packages installed: the unit as an operator meets it. The host is
# simulated; all else is as it is installed. Ends with the line "ok".
set -euo pipefail

step() { printf '== %s\n' "$*"; }
fail() {
  echo "FAILED: $*"
  systemctl status --no-pager --full nodecommd || true
  journalctl --no-pager -u nodecommd -n 60 || true
  exit 1
}
show() { systemctl show -P "$1" nodecommd 2>/dev/null; }

# await WHAT COMMAND...: 30 s at most.
await() {
  local what=$1 i
  shift
  for ((i = 0; i < 300; ++i)); do
    if "$@"; then return 0; fi
    sleep 0.1
  done
  fail "$what: not within 30 s"
}
status_has() { [[ $(show StatusText) == *"$1"* ]]; }
logged() { [[ $(journalctl --no-pager -u nodecommd) == *"$1"* ]]; }
answers() { nodecommctl status >/dev/null 2>&1; }
is_active() { [[ $(show ActiveState) == active ]]; }

step "it starts with the host, is not ready without the fabric, and says so"
await "the status line" status_has "fabric of 8 of 8 GPUs"
[[ $(show ActiveState) == activating ]] || fail "it is $(show ActiveState)"
await "an answer" answers

step "it becomes ready with the fabric"
sed -e s/FABRIC_STATE_IN_PROGRESS/FABRIC_STATE_COMPLETED/ -e s/FABRIC_STATE_NOT_STARTED/FABRIC_STATE_COMPLETED/ \
  /nodecomm/host.textproto >/nodecomm/host.new
mv /nodecomm/host.new /nodecomm/host.textproto
await "ready" is_active
[[ $(show StatusText) == "Serving workers on 8 of 8 GPUs." ]] || fail "it says: $(show StatusText)"
[[ $(show NFileDescriptorStore) == 3 ]] || fail "systemd keeps $(show NFileDescriptorStore) sockets"
pid=$(show MainPID)
[[ $(stat -c %U "/proc/$pid") == nodecomm ]] || fail "it runs as $(stat -c %U "/proc/$pid")"
grep -q '^CapBnd:.0*$' "/proc/$pid/status" || fail "it has capabilities"
grep -q '^Seccomp:.2$' "/proc/$pid/status" || fail "its system calls are not filtered"
if logged 'can write the control page'; then fail "it has no read-only mount of its directory"; fi

step "workers in C and C++, of a user without any right, get the sum"
cd /nodecomm/built
sums=$({
  for worker in "worker_c 0" "worker_cpp 1" "worker 2"; do
    # shellcheck disable=SC2086 # program and rank
    runuser -u nobody -- ./$worker 3 &
  done
  wait
} 2>&1 | sort | xargs)
[[ $sums == "6 6 6" ]] || fail "the workers say: $sums"
if runuser -u nobody -- nodecommctl status >/dev/null 2>&1; then fail "nobody is an administrator"; fi

step "a reload is taken; one of a wrong file fails and changes nothing"
config=/etc/nodecomm/nodecommd.textproto
cp "$config" /nodecomm/config.before
sed -i 's/^  #groups_max: 256$/  groups_max: 7/' "$config"
systemctl reload nodecommd || fail "the reload fails"
logged 'limits.groups_max is now 7, was 256' || fail "the reload was not logged"
echo 'no_such_setting: 1' >>"$config"
if systemctl reload nodecommd 2>/dev/null; then fail "a wrong file is no failure"; fi
is_active || fail "a wrong file ended it"
cp /nodecomm/config.before "$config"
systemctl reload nodecommd || fail "the file of before is not taken"

step "an upgrade replaces it under a running group"
nodecomm-perf -n 2 --gpus 8 --random 1000000 >/nodecomm/perf 2>&1 &
perf=$!
has_group() { [[ $(nodecommctl status 2>/dev/null) == *"1 ready"* ]]; }
await "a group" has_group
DEBIAN_FRONTEND=noninteractive apt-get install -y /nodecomm/next/*.deb >/nodecomm/apt 2>&1 || fail "apt: $(cat /nodecomm/apt)"
# The id first: between the two questions the old one may end.
is_another() { [[ $(show MainPID) != "$pid" ]] && is_active; }
await "another daemon" is_another
await "the group in the new daemon" has_group
[[ $(show NRestarts) == 1 ]] || fail "it was started anew $(show NRestarts) times"
await "its workers" sh -c 'nodecommctl status | grep -q "^sessions *2$"'
kill -0 "$perf" 2>/dev/null || fail "the group's workers have ended: $(cat /nodecomm/perf)"
kill -TERM "$perf"
wait "$perf" 2>/dev/null || true
if grep -q NODECOMM_ /nodecomm/perf; then fail "the group did not survive: $(cat /nodecomm/perf)"; fi

step "where policy-rc.d forbids it, an upgrade leaves the daemon alone"
pid=$(show MainPID)
reinstall() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall /nodecomm/next/nodecomm_*.deb >/nodecomm/apt 2>&1 ||
    fail "apt: $(cat /nodecomm/apt)"
}
printf '#!/bin/sh\necho "$@" >>/nodecomm/asked\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
reinstall
grep -qx "nodecommd.service start" /nodecomm/asked || fail "policy-rc.d was not asked"
# What replaces it kills it before apt ends; systemd may take a moment to see that.
sleep 2
[[ $(show MainPID) == "$pid" ]] || fail "it was replaced: $(cat /nodecomm/apt)"
rm /usr/sbin/policy-rc.d
reinstall
await "another daemon" is_another

step "a daemon that hangs is noticed and replaced"
mkdir -p /run/systemd/system/nodecommd.service.d
printf '[Service]\nWatchdogSec=2\n' >/run/systemd/system/nodecommd.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart nodecommd
await "ready" is_active
pid=$(show MainPID)
kill -STOP "$pid"
await "another daemon" is_another
logged 'Watchdog timeout' || fail "the watchdog did not see it"

step "a stop in order leaves no socket, and the directory that containers mount"
systemctl stop nodecommd
[[ $(show Result) == success ]] || fail "it ended with $(show Result)"
[[ -d /run/nodecomm/workers && ! -e /run/nodecomm/workers/session.sock ]] || fail "left: $(ls -R /run/nodecomm)"

step "a removal stops it"
systemctl start nodecommd
DEBIAN_FRONTEND=noninteractive apt-get purge -y nodecomm >/nodecomm/apt 2>&1 || fail "apt: $(cat /nodecomm/apt)"
if grep -qsx nodecommd /proc/[0-9]*/comm || [[ -e /run/nodecomm ]]; then fail "it is still there"; fi
echo ok
