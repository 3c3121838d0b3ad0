#!/usr/bin/env bash
# Metrics of a running daemon, by HTTP and as a file: off by default, promtool content, and what happens is counted. Then
# the alerts and the dashboard: promtool accepts them, and they use no name that the daemon does not serve.
# Skipped (77) without promtool (Debian's package prometheus).
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"
# shellcheck source=tests/e2e/workers.sh
source "$(dirname "$0")/workers.sh"

if ! command -v promtool >/dev/null; then
  echo "SKIPPED: there is no promtool"
  exit 77
fi
monitoring=$here/../../deploy/monitoring

listening() { python3 -c 'import socket, sys; sys.exit(socket.socket().connect_ex(("127.0.0.1", int(sys.argv[1]))) != 0)' "$1"; }
fetch() { python3 -c 'import sys, urllib.request as u; print(u.urlopen("http://127.0.0.1:%s/metrics" % sys.argv[1], timeout=20).read().decode(), end="")' "$port"; }
# expect_series PATTERN: a line of the metrics (a regular expression), within 30 s.
expect_series() {
  local i
  for ((i = 0; i < 200; ++i)); do
    if grep -qE -- "^$1\$" <<<"$(fetch)"; then return 0; fi
    sleep 0.05
  done
  fail "no series $1: $(fetch | grep -F "${1%%[\\ ]*}")"
}

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
start_simulated hgx-h100-x4
if listening "$port"; then fail "something listens on $port already"; fi
python3 - "$daemon" <<'PYTHON' || fail "a daemon without metrics listens on TCP"
import glob, os, sys
inodes = {os.readlink(p)[8:-1] for p in glob.glob(f"/proc/{sys.argv[1]}/fd/*") if os.readlink(p).startswith("socket:")}
tcp = [line.split()[9] for f in ("tcp", "tcp6") for line in open(f"/proc/net/{f}").readlines()[1:]]
sys.exit(bool(inodes & set(tcp)))
PYTHON
stop_daemon

textfile=$work/nodecomm.prom
printf 'metrics { port: %s textfile: "%s" textfile_interval_ms: 1000 }\n' "$port" "$textfile" >"$work/metrics.textproto"
start_simulated hgx-h100-x4 --config "$work/metrics.textproto"
expect_series 'nodecomm_ready 1'

# A group of two is formed; then one of them is killed.
start_worker m 0 2
start_worker m 1 2
expect_series 'nodecomm_groups\{state="ready"\} 1'
expect_series 'nodecomm_sessions 2'
expect_series 'nodecomm_rendezvous_duration_seconds_count\{outcome="ready"\} 1'
expect_series 'nodecomm_pool_bytes\{gpu_uuid="GPU-[^"]*",state="in_use"\} [1-9].*'
expect_series 'nodecomm_rpcs_total\{code="OK",method="JoinGroup",service="nodecomm.v1.Control"\} 2'
kill -KILL "${workers[m.1]}"
expect_series 'nodecomm_group_terminations_total\{phase="ready",reason="member_ended"\} 1'
expect_series 'nodecomm_session_terminations_total\{reason="(closed|process_ended)"\} [1-9].*'
wait "${workers[m.1]}" || true
kill -KILL "${workers[m.0]}"
wait "${workers[m.0]}" || true

fetch >"$work/metrics.txt"
promtool check metrics <"$work/metrics.txt" >"$work/promtool.log" 2>&1 || fail "promtool: $(cat "$work/promtool.log")"
[[ ! -s $work/promtool.log ]] || fail "promtool: $(cat "$work/promtool.log")"
grep -q '^nodecomm_build_info' "$textfile" || fail "the file has no metrics"
promtool check metrics <"$textfile" >/dev/null || fail "promtool does not like the file"
# Nobody's names, users or processes; tokens least of all.
if grep -E '[{,](uid|pid|session|token|group)=|"m"' "$work/metrics.txt"; then fail "metrics tell of users"; fi
stop_daemon
[[ ! -e $textfile ]] || fail "the file outlives the daemon"

promtool check rules "$monitoring/alerts.yml" >"$work/promtool.log" 2>&1 || fail "$(cat "$work/promtool.log")"
promtool test rules "$monitoring/alerts_test.yml" >"$work/promtool.log" 2>&1 || fail "$(cat "$work/promtool.log")"
# The dashboard's expressions as rules, so that promtool reads them.
python3 - "$monitoring" "$work/metrics.txt" "$work/dashboard-rules.yml" <<'PYTHON' || fail "alerts or dashboard"
import json, re, sys
directory, metrics, rules = sys.argv[1:]
# Xids come with the first one, errors of NVLinks where the host counts them.
served = set(re.findall(r"^# TYPE (\S+)", open(metrics).read(), re.M)) | {"nodecomm_gpu_xid_errors_total", "nodecomm_gpu_nvlink_errors_total"}
dashboard = json.load(open(directory + "/dashboard.json"))
expressions = [t["expr"] for p in dashboard["panels"] for t in p["targets"]]
variables = [v["query"] for v in dashboard["templating"]["list"]]
alerts = open(directory + "/alerts.yml").read()
used = re.findall(r"\bnodecomm_\w+", " ".join(expressions + variables + re.findall(r"expr: (.*)", alerts)))
unknown = {n for n in used if re.sub("_bucket$", "", n) not in served}
ids = [p["id"] for p in dashboard["panels"]]
if unknown or len(set(ids)) != len(ids) or len(used) < 30:
    sys.exit(f"unknown: {unknown}")
with open(rules, "w") as out:
    out.write("groups:\n- name: d\n  rules:\n")
    for i, e in enumerate(expressions):
        out.write(f"  - {{record: 'd:p{i}', expr: {json.dumps(e.replace('$instance', '.*'))}}}\n")
PYTHON
promtool check rules "$work/dashboard-rules.yml" >"$work/promtool.log" 2>&1 || fail "$(cat "$work/promtool.log")"
