#!/usr/bin/env bash
# All-reduce between processes on a simulated host: right in every bit, and refused where it cannot be.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

start_simulated hgx-h100-x4
for ranks in 1 2 3 4; do
  perf -n "$ranks" -b 1K -e 1M -f 4 -d f32,f16,bf16 --mode eager --check --gpus 4 --json "$work/$ranks.json"
  expect_json "$work/$ranks.json" \
    "len(d['results']) == 18 and all(r['ranks'] == $ranks and r['wrong'] == 0 for r in d['results'])"
done
expect_json "$work/4.json" \
  'all(r["latency_us"] > 0 and r["busbw_gbps"] > r["algbw_gbps"] > 0 for r in d["results"])'
expect_json "$work/4.json" '[r["bytes"] for r in d["results"] if r["type"] == "bf16"] ==
  [1024, 4096, 16384, 65536, 262144, 1048576]'
expect_json "$work/4.json" \
  'd["host"]["platform"] == "simulated" and d["results"][0]["mode"] == "eager"'
expect_json "$work/4.json" '{r["algorithm"] for r in d["results"]} <= {"one_shot", "two_shot"}'

# Sizes that are no power of two, messages larger than a plane, in place, one algorithm for all.
perf -n 4 -b 6 -e 4M -f 7 -d bf16 --check --gpus 4
perf -n 2 -b 8M -e 8M -d f16 --check --gpus 4 --plane-bytes 2M --iters 1 --warmup 0
perf -n 3 -b 1K -e 64K -f 8 --check --gpus 4 --in-place
for algorithm in one_shot two_shot; do
  perf -n 4 -b 2K -e 512K -f 16 -d bf16 --check --gpus 4 --algorithm "$algorithm" --json "$work/one.json"
  expect_json "$work/one.json" "all(r['algorithm'] == '$algorithm' for r in d['results'])"
done
perf -n 4 --random 300 --seed 7 --gpus 4 --json "$work/random.json"
expect_json "$work/random.json" 'd["random"]["calls"] >= 300 and d["random"]["wrong"] == 0'

# Two groups on the same GPUs at the same time.
perf -n 2 -b 1K -e 256K -f 4 --check --gpus 4 >/dev/null &
other=$!
perf -n 2 -b 1K -e 256K -f 4 -d bf16 --check --gpus 4 >/dev/null || fail "beside another group"
wait "$other" || fail "the other group"

# Results that are lost are no success, nor are they found out to be at a long run's end.
full() { "$@" >/dev/full; }
closed() { "$@" >&-; }
expect_failure 1 "results are lost: standard output: No space left" full perf -n 2 -b 1K -e 1K --gpus 4
expect_failure 1 "results are lost: standard output" closed perf -n 2 -b 1K -e 1K --gpus 4
expect_failure 1 "writing /nonexistent/x: No such file" perf -n 2 -b 1K -e 1K --gpus 4 --json /nonexistent/x
expect_failure 1 "standard output: No space left" full ctl --version
expect_failure 1 "standard output: No space left" full "$NODECOMM_BIN/nodecomm-perf" --help
expect_failure 1 "standard output: No space left" full "$NODECOMM_BIN/nodecommd" --check-config

expect_failure 1 "use --mode eager" perf -n 2 -b 1K -e 1K --mode graph --gpus 4
expect_failure 1 "4 GPUs" perf -n 5 -b 1K -e 1K --gpus 8
expect_failure 1 "GPU" perf -n 2 -b 1K -e 1K --gpus 1
# gRPC would end the process where it cannot open what it needs.
(ulimit -n 10 && expect_failure 1 "NODECOMM_RESOURCE_EXHAUSTED: this process may open too few files" perf -n 1 -b 1K -e 1K) ||
  fail "a worker with too few descriptors"
# gRPC would wait for ever for threads that it cannot make. No limit on their number is for root.
if [[ $(id -u) == 0 ]]; then
  chmod 711 "$work"
  expect_failure 1 "pids.max" setpriv --reuid 55552 --clear-groups --inh-caps=-all prlimit --nproc=4 timeout 20 \
    "$NODECOMM_BIN/nodecomm-perf" -n 1 -b 1K -e 1K --runtime-dir "$runtime"
fi
# One rank is refused, and the other does not wait for it: neither its own deadline nor 10 s.
stop_daemon
echo 'limits { sessions_per_uid_max: 1 }' >"$work/one"
start_simulated hgx-h100-x4 --config "$work/one"
expect_failure 1 "sessions_per_uid_max" timeout 8 "$NODECOMM_BIN/nodecomm-perf" -n 2 -b 1K -e 1K --gpus 4 --runtime-dir "$runtime"
expect_failure 2 "--ranks" perf -n 9
expect_failure 2 "int8" perf -d int8
stop_daemon
