#!/usr/bin/env bash
# Troubles that come while a daemon runs are named where an operator looks: in status, in the doctor and once in the log.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

log=$work/nodecommd.log
# await_in TEXT COMMAND...: what the command prints has the text (a fixed string) within 30 s, whatever its exit code.
await_in() {
  local i text=$1
  shift
  for ((i = 0; i < 600; ++i)); do
    if { "$@" 2>&1 || true; } | grep -F -- "$text" >/dev/null; then return 0; fi
    sleep 0.05
  done
  fail "'$*' does not say '$text' but: $("$@" 2>&1 || true)"
}

mkdir "$work/metrics"
sed 's/^  uuid: /  nvlink_errors: 3 uuid: /' "$topologies/hgx-h100-x4.textproto" >"$work/host.textproto"
printf 'metrics { textfile: "%s/metrics/n.prom" textfile_interval_ms: 1000 }\n' "$work" >"$work/config"
start_daemon --simulate "$work/host.textproto" --config "$work/config"
ctl doctor >/dev/null || fail "the doctor finds: $(ctl doctor)"

# The file of metrics.
rm -r "$work/metrics"
await_in "metrics      the metrics cannot be written (metrics.textfile)" ctl status
await_in "warning  the metrics cannot be written" ctl doctor
mkdir "$work/metrics"
await_in "info the metrics can be written again" cat "$log"
if ctl status | grep metrics; then fail "status tells of metrics that are written"; fi

# Settings that wait for a restart.
echo 'limits { sessions_max: 2048 }' >>"$work/config"
kill -HUP "$daemon"
await_in "# Waits for a restart: limits.sessions_max, 2048 in the file." ctl config show
await_in "limits.sessions_max: changed in the file, and waits for a restart" ctl doctor
ctl config show --json >"$work/waiting.json"
expect_json "$work/waiting.json" 'd["waiting"] == [{"field": "limits.sessions_max", "in_force": "1024", "in_file": "2048"}]'

# A link whose peer access goes, and errors of NVLinks. Whoever asks for the topology has the host read anew.
python3 - "$work/host.textproto" <<'PYTHON'
import sys
text = open(sys.argv[1]).read()
text = text.replace("PEER_ACCESS_SUPPORTED", 'PEER_ACCESS_NOT_SUPPORTED peer_access_reason: "CNS"', 1)
text = text.replace("nvlink_errors: 3", "nvlink_errors: 7", 1)
open(sys.argv[1], "w").write(text)
PYTHON
ctl topo >/dev/null
await_in "pair without peer access any more" ctl status
await_in "NVLinks      4 errors on GPU-51000000-0000-4000-8000-000000000000" ctl status
await_in "there is none any more: CNS" ctl doctor
await_in "GPU0: its NVLinks have counted 4 errors" ctl doctor
await_in "peer access is gone, as the driver says, to GPU-51000000-0000-4000-8000-000000000001 (CNS)" cat "$log"

# A GPU that is lost, then a fabric that is down; both come back. Whoever asks for the topology has the host read anew.
cp "$work/host.textproto" "$work/whole.textproto"
python3 - "$work/host.textproto" <<'PYTHON'
import re, sys
text = open(sys.argv[1]).read()
gone = "GPU-51000000-0000-4000-8000-000000000003"
blocks = re.findall(r"^\w+ \{.*?^\}\n|^(?!\w+ \{)[^\n]*\n", text, re.S | re.M)
open(sys.argv[1], "w").write("".join(b for b in blocks if gone not in b))
PYTHON
gpu3=GPU-51000000-0000-4000-8000-000000000003
await_in "nodecomm_ready 1" cat "$work/metrics/n.prom"
ctl topo >/dev/null
await_in "warning not ready any more: GPU $gpu3 is lost: the driver no longer lists it" cat "$log"
await_in "nodecomm_ready 0" cat "$work/metrics/n.prom"
await_in "not ready    GPU $gpu3 is lost" ctl status
await_in "it is not ready: GPU $gpu3 is lost" ctl doctor
sed 's/FABRIC_STATE_COMPLETED/FABRIC_STATE_NOT_STARTED/' "$work/whole.textproto" >"$work/host.textproto"
ctl topo >/dev/null
await_in "info GPU back: the driver lists it again gpu=$gpu3" cat "$log"
await_in "warning the NVLink fabric is down: new groups get no fast path there" cat "$log"
await_in "warning not ready any more: the NVLink fabric of 4 of 4 GPUs is down" cat "$log"
await_in "not ready    the NVLink fabric of 4 of 4 GPUs is down" ctl status
cp "$work/whole.textproto" "$work/host.textproto"
ctl topo >/dev/null
await_in "info the NVLink fabric is there gpu=$gpu3" cat "$log"
await_in "info ready again: nothing of the host is missing" cat "$log"
await_in "nodecomm_ready 1" cat "$work/metrics/n.prom"
if ctl status | grep "not ready"; then fail "status says that it is not ready"; fi
(($(grep -c "not ready any more" "$log") == 2)) || fail "said more than once: $(grep "not ready any more" "$log")"

# A link whose access goes for no reason that the driver gives.
sed '0,/PEER_ACCESS_SUPPORTED/s//PEER_ACCESS_NOT_SUPPORTED/' "$work/whole.textproto" >"$work/host.textproto"
ctl topo >/dev/null
await_in "peer access is gone, as the driver says, to GPU-51000000-0000-4000-8000-000000000002: new groups" cat "$log"
cp "$work/whole.textproto" "$work/host.textproto"
ctl topo >/dev/null

# Links that fail one by one take no access away, and time.
tac "$work/whole.textproto" | sed '0,/nvlink_count: 18/s//nvlink_count: 9/' | tac >"$work/host.textproto"
ctl topo >/dev/null
await_in "warning 9 NVLinks are up, 18 were, to GPU-51000000-0000-4000-8000-000000000002: calls there are slower" cat "$log"
await_in "GPU3 -> GPU2: 9 of 18 NVLinks are up" ctl doctor
cp "$work/whole.textproto" "$work/host.textproto"
ctl topo >/dev/null
await_in "info 18 NVLinks are up, 9 were, to" cat "$log"

# A GPU that is put into MIG mode, and one of which the driver says why it is lost.
sed '0,/MIG_MODE_DISABLED/s//MIG_MODE_ENABLED/' "$work/whole.textproto" >"$work/host.textproto"
ctl topo >/dev/null
await_in "warning it is in MIG mode now, which has no peer access" cat "$log"
sed "s/.* uuid: \"$gpu3\"/& condition: GPU_CONDITION_LOST condition_reason: \"it did not come back\"/" "$work/whole.textproto" >"$work/host.textproto"
ctl topo >/dev/null
await_in "info it is in MIG mode no more" cat "$log"
await_in "error GPU lost: it did not come back" cat "$log"
cp "$work/whole.textproto" "$work/host.textproto"
ctl topo >/dev/null
await_in "nodecomm_ready 1" cat "$work/metrics/n.prom"

# A host that cannot be read: the failure is the daemon's, which says so once.
echo 'garbage {' >"$work/host.textproto"
for command in "topo" "drain --gpu 0" "topo"; do
  # shellcheck disable=SC2086 # words
  expect_failure 1 "mend that file" ctl $command
done
await_in "warning the host cannot be read: $work/host.textproto:1:9: " cat "$log"
await_in "not ready    the host cannot be read: $work/host.textproto" ctl status
ctl doctor >"$work/doctor.txt" && fail "the doctor finds nothing: $(cat "$work/doctor.txt")"
for line in "socket +ok +nodecommd answers" "gpus +PROBLEM .*: the host cannot be read: " "pools +ok" "groups +ok" "limits +ok"; do
  grep -qE "^$line" "$work/doctor.txt" || fail "the doctor does not say '$line': $(cat "$work/doctor.txt")"
done
await_in "nodecomm_ready 0" cat "$work/metrics/n.prom"
(($(grep -c "warning the host cannot be read" "$log") == 1)) || fail "said more than once: $(grep "cannot be read" "$log")"
cp "$work/whole.textproto" "$work/host.textproto"
ctl topo >/dev/null
await_in "info the host can be read again" cat "$log"
await_in "nodecomm_ready 1" cat "$work/metrics/n.prom"

# A runtime directory that nobody may write in, whatever its mode, owner and room are.
if ((EUID == 0)) && chattr +i "$runtime/sessions" 2>/dev/null; then
  trap 'cleanup || true; chattr -i "$runtime/sessions" 2>/dev/null; rm -rf "$work"' EXIT
  await_in "not ready    no worker can open a session: writing in $runtime/sessions: Operation not permitted" ctl status
  expect_failure 6 "chattr -ia $runtime/sessions" ctl doctor
  await_in "warning not ready any more: no worker can open a session" cat "$log"
  await_in "nodecomm_runtime_dir_writable 0" cat "$work/metrics/n.prom"
  await_in "nodecomm_ready 0" cat "$work/metrics/n.prom"
  chattr -i "$runtime/sessions"
  await_in "nodecomm_runtime_dir_writable 1" cat "$work/metrics/n.prom"
  await_in "nodecomm_ready 1" cat "$work/metrics/n.prom"
  if ctl status | grep "not ready"; then fail "a daemon that can write again is not ready: $(ctl status)"; fi
else
  echo "skipped: no directory can be made immutable here"
fi

# A group without the fast path, for that reason.
for rank in 0 1; do start_worker g $rank 2; done
await_in "  No fast path: rank 0" ctl groups
ctl groups --json >"$work/groups.json"
expect_json "$work/groups.json" 'd["groups"][0]["fast_path"]["reason"] == "FAST_PATH_REASON_PEER_ACCESS"'
stop_workers
stop_daemon

# A daemon that has no descriptor left, and is not to be killed for that.
start_simulated hgx-h100-x4
# Sanitizers look at memory through a pipe, and call an object broken for want of one.
if grep -qF __ubsan_ "$NODECOMM_BIN/nodecommd"; then
  echo "skipped: a daemon with sanitizers needs descriptors itself"
else
  limit=$(prlimit --nofile --output SOFT --noheadings --pid "$daemon" | xargs)
  prlimit --nofile=8: --pid "$daemon" # it has more
  expect_failure 6 "files open, and so takes no connection" ctl doctor
  expect_failure 6 "raise LimitNOFILE=" ctl doctor
  await_in "warning not ready any more: fewer than 5 of 8 file descriptors are left" cat "$log"
  prlimit --nofile="$limit:" --pid "$daemon"
  await_in "nodecommd answers" ctl doctor
  # With a few it still says no, and why.
  for ((few = 0; ; ++few)); do [[ -L /proc/$daemon/fd/$few ]] || break; done
  prlimit --nofile="$((few + 1)):" --pid "$daemon"
  expect_failure 1 "Too many open files: raise LimitNOFILE (now " perf -n 2 -b 1K -e 1K --gpus 4
  await_in "connection on session.sock refused (limit): the daemon cannot " cat "$log"
  prlimit --nofile="$limit:" --pid "$daemon"
fi

# A daemon that has no thread left: what cannot be proven is said to be so, and why.
pids=/sys/fs/cgroup/pids
[[ -d $pids ]] || pids=/sys/fs/cgroup
group=$pids/nodecomm-e2e.$$
trap 'cleanup; rmdir "$group" 2>/dev/null || true' EXIT
if mkdir "$group" 2>/dev/null && [[ -e $group/pids.max ]] && echo "$daemon" >"$group/cgroup.procs" 2>/dev/null; then
  echo 1 >"$group/pids.max" # less than it has: one that ends makes no room for another
  expect_failure 1 "nothing is proven anew, and what was proven stays: starting a thread" ctl p2p check --force
  ctl drain --gpu 3 >/dev/null
  expect_failure 4 "Not all pairs of GPUs are proven" ctl undrain --gpu 3
  await_in "not ready    a thread to prove peer access of pairs of GPUs is missing" ctl status
  await_in "for 6 pairs of GPUs: starting a thread" ctl doctor
  echo max >"$group/pids.max"
  await_in "12 pairs proven" ctl status
  if ctl status | grep "not ready"; then fail "a daemon with threads is not ready: $(ctl status)"; fi
  echo "$daemon" >"$pids/cgroup.procs"
else
  echo "skipped: no control group whose processes can be counted"
fi
rmdir "$group" 2>/dev/null || true

# All connections for administrators taken: the daemon lives, and says who has them.
python3 - "$runtime/admin/admin.sock" >"$work/held" <<'PYTHON' &
import signal, socket, sys
signal.alarm(60)  # should this script fail meanwhile
taken = [socket.socket(socket.AF_UNIX) for _ in range(64)]
for connection in taken:
    connection.connect(sys.argv[1])
print("held", flush=True)
signal.pause()
PYTHON
holder=$!
await_in "held" cat "$work/held"
taken="uid $EUID has 64 connections already, the most allowed (not a setting); process $holder has 64 of them"
for _ in 1 2 3; do expect_failure 1 "$taken" ctl status; done
expect_failure 6 "it lives and serves workers, but could not be asked" ctl doctor
expect_failure 6 "$taken" ctl doctor
if { ctl doctor || true; } | grep -F -e "kill" -e "systemctl restart"; then fail "the doctor would end a daemon that lives"; fi
kill "$holder"
await_in "nodecommd answers" ctl doctor

# A directory that others may write to.
chmod 0777 "$runtime/admin"
expect_failure 6 "others than the owner may write to $runtime/admin (mode 0777)" ctl doctor
chmod 0700 "$runtime/admin"

# Who may not ask is told so, also if somebody has opened the administrators' socket for all.
if ((EUID == 0)); then
  chmod 0755 "$work" "$runtime/admin"
  chmod 0666 "$runtime/admin/admin.sock"
  setpriv --reuid=65534 --regid=65534 --clear-groups "$NODECOMM_BIN/nodecommctl" doctor --runtime-dir "$runtime" >"$work/doctor" &&
    fail "the doctor of another user finds nothing: $(cat "$work/doctor")"
  grep -F "not allowed: run it as root" "$work/doctor" >/dev/null || fail "another user is told: $(cat "$work/doctor")"
  if grep -F "kill" "$work/doctor"; then fail "another user is told to kill the daemon"; fi
  setpriv --reuid=65534 --regid=65534 --clear-groups "$NODECOMM_BIN/nodecommctl" status --runtime-dir "$runtime" >"$work/told" 2>&1 &&
    fail "another user is answered: $(cat "$work/told")"
  grep -F "it answers root and its own user, and this is uid 65534; run this as root" "$work/told" >/dev/null ||
    fail "another user is told: $(cat "$work/told")"
fi
stop_daemon

# GPUs in MIG mode have no peer access, and have lost none.
start_simulated hgx-a100-x4-mig
await_in "in MIG mode, which has no peer access" ctl doctor
if ctl doctor | grep "any more"; then fail "the doctor takes MIG for a link that failed"; fi
if ctl status | grep "any more"; then fail "status takes MIG for a link that failed"; fi
stop_daemon

# A board without peer access, as it was made: nothing that somebody could mend.
start_simulated rtx-4090-x2
ctl doctor >"$work/doctor" || fail "the doctor takes a board without peer access for a broken one: $(cat "$work/doctor")"
grep -F "the driver gives 2 pairs of GPUs no peer access, by design" "$work/doctor" >/dev/null || fail "not named: $(cat "$work/doctor")"
stop_daemon
