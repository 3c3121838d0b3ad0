"""Plays systemd's part for fd_store_test.sh: takes the descriptors that the daemon stores, and gives them to the next."""

import array
import os
import socket
import subprocess
import sys

bin_dir, work, topology = sys.argv[1:]
runtime = os.path.join(work, "run")
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(os.path.join(work, "notify"))
notify.settimeout(20)


def start(kept):
    """The daemon, with `kept` (name to descriptor) as systemd hands them over: from 3 on, named, for this process."""
    names = list(kept)
    shell = " ; ".join([f"exec {20 + i}<&{kept[name]}" for i, name in enumerate(names)] +
                       [f"exec {3 + i}<&{20 + i} {20 + i}<&-" for i in range(len(names))] +
                       ["export LISTEN_PID=$$", 'exec "$@"'])
    environment = dict(os.environ, NOTIFY_SOCKET=os.path.join(work, "notify"), LISTEN_FDS=str(len(names)),
                       LISTEN_FDNAMES=":".join(names))
    command = [os.path.join(bin_dir, "nodecommd"), "--runtime-dir", runtime, "--simulate", topology]
    with open(os.path.join(work, "nodecommd.log"), "a") as log:
        return subprocess.Popen(["bash", "-c", shell, "bash", *command], env=environment,
                                pass_fds=list(kept.values()), stdout=log, stderr=log)


def read_until(wanted):
    """Messages until one says `wanted`; the stored descriptors by name."""
    stored = {}
    while True:
        message, ancillary, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(4 * 16))
        fields = dict(line.split("=", 1) for line in message.decode().splitlines() if "=" in line)
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS and fields.get("FDSTORE") == "1":
                stored[fields["FDNAME"]] = array.array("i", data)[0]
        if fields.get(wanted) == "1":
            return stored, fields


def inode(name):
    return os.stat(os.path.join(runtime, name)).st_ino


daemon = start({})
kept, _ = read_until("READY")
assert sorted(kept) == ["nodecomm-admin", "nodecomm-control", "nodecomm-session"], kept
before = {name: inode(name) for name in ("session.sock", "control.sock", "admin/admin.sock")}
daemon.kill()
daemon.wait()

# Nobody is there, and yet a worker that comes now need not fail.
perf = subprocess.Popen([os.path.join(bin_dir, "nodecomm-perf"), "--runtime-dir", runtime, "-n", "2", "-b", "1K", "-e", "1K",
                         "--check", "--gpus", "4"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
try:
    output, _ = perf.communicate(timeout=1)
    sys.exit(f"the worker did not wait: {output}")
except subprocess.TimeoutExpired:
    pass
daemon = start(kept)
output, _ = perf.communicate(timeout=30)
assert perf.returncode == 0, output
again, _ = read_until("READY")
assert sorted(again) == sorted(kept)
assert before == {name: inode(name) for name in before}, "the sockets were made anew"

# An end in order: it says so, and leaves nothing behind that would let workers wait.
daemon.terminate()
read_until("STOPPING")
_, fields = read_until("FDSTOREREMOVE")
assert fields["FDNAME"] in kept
assert daemon.wait(30) == 0
assert not os.path.exists(os.path.join(runtime, "session.sock"))
print("ok")
