#!/usr/bin/env bash
# gpu_deaths.sh BIN WORKER: deaths of workers on this host's GPUs, small and large ones, with single calls and with
# graphs, and in a group of eight, several to a GPU if need be.
# NODECOMM_DEATHS is the number of each.
set -euo pipefail
bin=$1
worker=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rounds=${NODECOMM_DEATHS:-10}
gpus=$(nvidia-smi -L | grep -c '^GPU ')
ranks=$((gpus > 2 ? gpus : 2))
# Ranks that share a GPU take turns on it, for milliseconds each.
bound=$((gpus >= ranks ? 50 : 500))
# The driver takes 6 to 10 ms for each on 4 x H100, one after the other for all processes.
unmap=15

deaths() {
  python3 "$here/deaths.py" --bin "$bin" --worker "$worker" --gpus "$gpus" --ranks "$ranks" --rounds "$rounds" \
    --bound-ms "$bound" --unmap-ms "$unmap" "$@"
}
deaths
deaths --graph
if ((gpus < 8)); then deaths --ranks 8 --bound-ms 500; fi
deaths --host-mib 10240 --device-mib "${NODECOMM_DEATHS_DEVICE_MIB:-$((gpus >= ranks ? 40960 : 30720))}"
