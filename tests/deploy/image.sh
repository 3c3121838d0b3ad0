#!/usr/bin/env bash
# The image of deploy/container/Dockerfile: built on a Debian or Ubuntu that has nothing else, and run as the manifests and
# their README say, with a simulated host: the init container, the daemon, a worker. As root; needs debootstrap, buildah, podman, crun.
# Leaves nothing: images and containers are kept in a directory of its own.
#
#   tests/deploy/image.sh DIR           with the packages in DIR
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
packages=$(cd "${1:?the directory of the packages}" && pwd)

# Mounts of its own, which end with it.
if [[ ${NODECOMM_OWN_MOUNTS:-} != yes ]]; then
  NODECOMM_OWN_MOUNTS=yes exec unshare --mount --propagation private "${BASH_SOURCE[0]}" "$packages"
fi
work=$(mktemp -d /var/tmp/nodecomm-image.XXXXXX)
fail() {
  echo "FAILED: $*" >&2
  podman_here logs daemon >&2 || true
  exit 1
}
buildah_here() { buildah --root "$work/store" --runroot "$work/state" --storage-driver vfs "$@"; }
podman_here() {
  podman --root "$work/store" --runroot "$work/state" --storage-driver vfs --cgroup-manager cgroupfs --events-backend none "$@"
}
cleanup() {
  podman_here rm --all --force >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
# shellcheck source=tests/deploy/roots.sh
source "$here/roots.sh"

# crun takes one hierarchy of cgroups, not two kinds side by side.
if [[ ! -e /sys/fs/cgroup/cgroup.controllers ]]; then
  quietly umount --recursive /sys/fs/cgroup
  quietly mount -t cgroup2 none /sys/fs/cgroup
fi
# Locks in files, since /dev/shm may be small or not writable; limits that a root without CAP_SYS_RESOURCE may set.
cat >"$work/containers.conf" <<'CONF'
[engine]
lock_type = "file"
[containers]
pids_limit = 0
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
CONF
export CONTAINERS_CONF=$work/containers.conf BUILDAH_ISOLATION=chroot

step "the image"
make_root "$work/base"
base=$(buildah_here from scratch)
quietly buildah_here add "$base" "$work/base" /
quietly buildah_here commit --rm "$base" localhost/base
rm -rf "$work/base"
quietly buildah_here build --pull-never --build-arg BASE=localhost/base -t nodecomm \
  -f "$here/../../deploy/container/Dockerfile" "$packages"

readonly runtime=$work/runtime
cp "$here/../topologies/hgx-h100-x4.textproto" "$work/host.textproto"
chmod 755 "$work"
chmod 644 "$work/host.textproto"
confined=(--network none --cgroups disabled --read-only --cap-drop ALL --security-opt no-new-privileges)

step "the init container gives the daemon the directory that the kubelet made for root"
mkdir -m 0755 "$runtime"
quietly podman_here run --rm "${confined[@]}" --user 0 --cap-add CHOWN,FOWNER -v "$runtime:/run/nodecomm" \
  --entrypoint /usr/bin/install nodecomm -d -m 0755 -o 942 -g 942 /run/nodecomm
[[ $(stat -c %u:%g:%a "$runtime") == 942:942:755 ]] || fail "the directory is $(stat -c %u:%g:%a "$runtime")"

step "the daemon serves, without a capability and with a root that it cannot write"
quietly podman_here run -d --name daemon "${confined[@]}" -v "$runtime:/run/nodecomm" -v "$runtime:/run/nodecomm.read-only:ro" \
  -v "$work/host.textproto:/host.textproto:ro" nodecomm --config /etc/nodecomm/nodecommd.textproto --simulate /host.textproto
for ((i = 0; ; ++i)); do
  if podman_here exec daemon nodecommctl status >"$work/status" 2>&1 && grep -q '12 pairs proven' "$work/status"; then break; fi
  ((i < 100)) || fail "no status after 10 s: $(cat "$work/status")"
  sleep 0.1
done
podman_here exec daemon cat /proc/1/status >"$work/process"
grep -qP '^Uid:\t942\t942\t942\t942$' "$work/process" || fail "it is $(grep ^Uid "$work/process")"
grep -qP '^CapBnd:\t0+$' "$work/process" || fail "it has $(grep ^CapBnd "$work/process")"
[[ " $(podman_here exec daemon id -nG) " == *" video "* ]] || fail "it is not in the group video"

# worker UID COMMAND...: in a container that has the workers' directory alone.
worker() {
  podman_here run --rm "${confined[@]}" --user "$1" -v "$runtime/workers:/run/nodecomm:ro" --entrypoint "$2" nodecomm "${@:3}"
}
step "workers of another container reduce"
for uid in 10001 0; do
  quietly worker "$uid" nodecomm-perf -n 2 -b 1K -e 64K -d bf16 --check
  [[ $(grep -cE '^ +[0-9]+ .* 0$' "$work/log") == 7 ]] || fail "uid $uid: $(cat "$work/log")"
done

step "root of a worker's container finds no administrators' socket"
if worker 0 nodecommctl status >"$work/log" 2>&1; then fail "it is answered: $(cat "$work/log")"; fi
grep -q 'admin/admin.sock: No such file or directory' "$work/log" || fail "it says: $(cat "$work/log")"

step "it stops in order"
quietly podman_here stop --time 60 daemon
[[ $(podman_here wait daemon) == 0 ]] || fail "it ends with $(podman_here wait daemon)"
podman_here logs daemon >"$work/daemon.log" 2>&1
grep -q 'group ready: 2 ranks' "$work/daemon.log" || fail "it logged no group"
if grep 'can write the control page' "$work/daemon.log"; then fail "its directory is not mounted read-only, too"; fi
[[ -z $(find "$runtime" -type s) ]] || fail "it leaves $(find "$runtime" -type s)"
echo ok
