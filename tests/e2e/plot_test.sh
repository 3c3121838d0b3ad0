#!/usr/bin/env bash
# nodecomm-perf --plot: a picture of a run on a simulated host and of an earlier run's results, well-formed and complete.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

# expect_svg FILE LINES POINTS: XML with so many of both, and nothing loaded from elsewhere.
expect_svg() {
  python3 - "$@" <<'PYTHON' || fail "the picture $1"
import sys
import xml.etree.ElementTree as xml
file, lines, points = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
svg = "{http://www.w3.org/2000/svg}"
root = xml.parse(file).getroot()
found = len(list(root.iter(svg + "polyline"))), len(list(root.iter(svg + "circle")))
texts = ["".join(e.itertext()) for e in root.iter(svg + "text")]
if root.tag != svg + "svg" or found != (lines, points):
    sys.exit(f"{root.tag} with {found} lines and points, not {(lines, points)}")
if not any(t.startswith("All-reduce latency, ") for t in texts) or "latency (\u00b5s, log scale)" not in texts:
    sys.exit(f"texts: {texts}")
if any("href" in name for e in root.iter() for name in e.attrib):
    sys.exit("it refers to something")
PYTHON
}

start_simulated hgx-h100-x4
perf -n 2 --gpus 4 -b 1K -e 64K -d f32,bf16 --plot "$work/run.svg" --json "$work/run.json" >/dev/null
expect_svg "$work/run.svg" 2 14
perf -n 2 --gpus 4 --sweep -b 1K -e 2K --vs nccl --plot "$work/sweep.svg" --json "$work/sweep.json" >/dev/null
expect_svg "$work/sweep.svg" 3 9
grep -q "the times say nothing about GPUs" "$work/sweep.svg" || fail "the picture does not say that times mean nothing"
perf -n 2 --gpus 4 -b 1K -e 1K --plot "$work/point.svg" >/dev/null
expect_svg "$work/point.svg" 1 1
expect_failure 1 "/nonexistent/a.svg" perf -n 2 --gpus 4 -b 1K -e 1K --plot /nonexistent/a.svg
stop_daemon

# Without a daemon: the same picture from the file.
for run in run sweep; do
  perf --from "$work/$run.json" --plot "$work/again.svg"
  cmp "$work/$run.svg" "$work/again.svg" || fail "$run.json gives another picture than the run"
done
# So that the README shows what was measured.
for results in "$(dirname "$0")"/../../client/perf/measured/*.json; do
  perf --from "$results" --plot "$work/again.svg"
  cmp "${results%.json}.svg" "$work/again.svg" || fail "$results gives another picture: draw it anew"
done
echo '{"results": []}' >"$work/empty.json"
expect_failure 1 "empty.json: no results" perf --from "$work/empty.json" --plot "$work/again.svg"
expect_failure 1 "not JSON" perf --from "$0" --plot "$work/again.svg"
expect_failure 1 "No such file" perf --from "$work/none.json" --plot "$work/again.svg"
expect_failure 2 "--plot" perf --from "$work/run.json"
expect_failure 2 "--random" perf --random 5 --plot "$work/again.svg"
expect_failure 2 "--sweep" perf --from "$work/run.json" --plot "$work/again.svg" --sweep
