#!/usr/bin/env bash
# Without a daemon every program says so, where it looked, and ends.
# shellcheck source=tests/e2e/daemon.sh
source "$(dirname "$0")/daemon.sh"

expect_failure 1 "no nodecommd at $runtime" perf -n 2 -b 1K -e 1K
expect_failure 1 "$runtime" ctl status
mkdir "$runtime"
expect_failure 1 "no nodecommd at $runtime" perf -n 2 -b 1K -e 1K

# The environment names the directory where no option does.
NODECOMM_RUNTIME_DIR=$work/other expect_failure 1 "$work/other" "$NODECOMM_BIN/nodecomm-perf" -n 1
NODECOMM_RUNTIME_DIR=$work/other expect_failure 1 "$work/other" "$NODECOMM_BIN/nodecommctl" topo
