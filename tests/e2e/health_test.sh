#!/usr/bin/env bash
# gRPC's own health and reflection services on both sockets, as stock clients use them: what serves and what does not, while
# the daemon starts, works and stops; calls by reflection alone; streams are bounded; a client that watches delays no stop.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"
# shellcheck source=tests/e2e/grpcio.sh
source "$(dirname "$0")/grpcio.sh"

need_grpcio
client() { timeout 60 "$venv/bin/python" "$here/health_client.py" "$@"; }
# expect_output TEXT COMMAND...
expect_output() {
  local expected=$1 output
  shift
  output=$("$@")
  [[ $output == "$expected" ]] || fail "'$*' says '$output', not '$expected'"
}
# await_health STATE: of nodecomm.v1.Control.
await_health() {
  local i
  for ((i = 0; i < 100; ++i)); do
    if [[ $(client check "$control" nodecomm.v1.Control) == "$1" ]]; then return 0; fi
  done
  fail "the workers' service is not $1"
}

control=$runtime/control.sock
admin=$runtime/admin/admin.sock
cp "$topologies/hgx-h100-x4.textproto" "$work/host.textproto"
start_daemon --simulate "$work/host.textproto" --log-level debug
await_health SERVING
expect_output SERVING client check "$control" ""
expect_output SERVICE_UNKNOWN client check "$control" nodecomm.v1.Admin
expect_output SERVING client check "$admin" ""
expect_output SERVING client check "$admin" nodecomm.v1.Admin
expect_output SERVICE_UNKNOWN client check "$admin" nodecomm.v1.Control

own=$'grpc.health.v1.Health\ngrpc.reflection.v1alpha.ServerReflection\n'
expect_output "${own}nodecomm.v1.Control" client services "$control"
expect_output "${own}nodecomm.v1.Admin" client services "$admin"
client call "$control" nodecomm.v1.Control/GetHost >"$work/host.json"
expect_json "$work/host.json" 'len(d["host"]["gpus"]) == 4 and d["simulated"]'
client call "$admin" nodecomm.v1.Admin/GetStatus >"$work/status.json"
expect_json "$work/status.json" 'd["gpus"] == 4'
client call "$control" grpc.health.v1.Health/Check >"$work/health.json"
expect_json "$work/health.json" 'd["status"] == "SERVING"'

# Nobody finds a daemon whose socket somebody removed.
mv "$runtime/session.sock" "$work/away"
await_health NOT_SERVING
mv "$work/away" "$runtime/session.sock"
await_health SERVING

# Nor is one of use that cannot write there, since it opens no session. Root gets past a mode, and not past an attribute.
if ((EUID == 0)); then
  closed() { chattr "$1i" "$runtime/sessions" 2>/dev/null; }
else
  closed() { chmod "u$([[ $1 == + ]] && echo - || echo +)w" "$runtime/sessions"; }
fi
if closed +; then
  trap 'closed - || true; cleanup' EXIT
  await_health NOT_SERVING
  closed -
  await_health SERVING
  trap cleanup EXIT
else
  echo "skipped: no directory can be made immutable here"
fi

# Nor one without a GPU that is of use: the fabric is down on all. Whoever asks for the topology has the host read anew.
sed -i 's/FABRIC_STATE_COMPLETED/FABRIC_STATE_NOT_STARTED/' "$work/host.textproto"
ctl topo >/dev/null
await_health NOT_SERVING
# One that is back is enough.
sed -i '0,/FABRIC_STATE_NOT_STARTED/s//FABRIC_STATE_COMPLETED/' "$work/host.textproto"
ctl topo >/dev/null
await_health SERVING

# Each stream of reflection holds a thread of the daemon: few are served at once, of one user on the workers' socket two, and the
# service goes on.
served=$(client hold "$control" 64)
((served == 2)) || fail "$served of 64 streams of one user are served at once"
served=$(client hold "$admin" 64)
((served >= 1 && served <= 8)) || fail "$served of 64 streams are served at once"
threads=$(find "/proc/$daemon/task" -mindepth 1 -maxdepth 1 | wc -l)
((threads < 40)) || fail "$threads threads"
expect_output "${own}nodecomm.v1.Control" client services "$control"

# While groups finish, the daemon says that it takes no more work.
start_worker h 0 1
await h.0 ready 1
client watch "$control" nodecomm.v1.Control >"$work/watch.txt" &
watcher=$!
for ((i = 0; i < 200; ++i)); do
  [[ -s $work/watch.txt ]] && break
  sleep 0.05
done
kill -TERM "$daemon"
await_health NOT_SERVING
kill -TERM "$daemon" # the second: at once
status=0
wait "$daemon" || status=$?
daemon=
((status == 0)) || fail "the daemon ended with $status"
wait "$watcher" || fail "the watching client failed"
[[ $(head -n 2 "$work/watch.txt") == $'SERVING\nNOT_SERVING' ]] || fail "watched: $(cat "$work/watch.txt")"
kill -KILL "${workers[h.0]}"
wait "${workers[h.0]}" || true
