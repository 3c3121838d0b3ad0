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


store = {}  # what systemd keeps: descriptors by name, several of one name if they are different sockets


def start():
    """The daemon, with what is kept as systemd hands it over: from 3 on, named, for this process."""
    kept = [(name, fd) for name, fds in store.items() for fd in fds]
    shell = " ; ".join([f"exec {20 + i}<&{fd}" for i, (_, fd) in enumerate(kept)] +
                       [f"exec {3 + i}<&{20 + i} {20 + i}<&-" for i in range(len(kept))] +
                       ["export LISTEN_PID=$$", 'exec "$@"'])
    environment = dict(os.environ, NOTIFY_SOCKET=os.path.join(work, "notify"), LISTEN_FDS=str(len(kept)),
                       LISTEN_FDNAMES=":".join(name for name, _ in kept))
    command = [os.path.join(bin_dir, "nodecommd"), "--runtime-dir", runtime, "--simulate", topology]
    with open(os.path.join(work, "nodecommd.log"), "a") as log:
        return subprocess.Popen(["bash", "-c", shell, "bash", *command], env=environment,
                                pass_fds=[fd for _, fd in kept], stdout=log, stderr=log)


def keep(name, fd):
    known = store.setdefault(name, [])
    if any(os.path.sameopenfile(fd, other) for other in known):
        os.close(fd)
    else:
        known.append(fd)


def read_until(wanted):
    """Takes messages until one says `wanted`, and stores and forgets as they ask; that one's fields."""
    while True:
        message, ancillary, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(4 * 16))
        fields = dict(line.split("=", 1) for line in message.decode().splitlines() if "=" in line)
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS and fields.get("FDSTORE") == "1":
                keep(fields["FDNAME"], array.array("i", data)[0])
        if fields.get("FDSTOREREMOVE") == "1":
            for fd in store.pop(fields["FDNAME"], []):
                os.close(fd)
        if fields.get(wanted) == "1":
            return fields


def expect_one_of_each():
    counts = {name: len(fds) for name, fds in store.items()}
    assert counts == {"nodecomm-admin": 1, "nodecomm-control": 1, "nodecomm-session": 1}, counts


def inode(name):
    return os.stat(os.path.join(runtime, name)).st_ino


daemon = start()
read_until("READY")
expect_one_of_each()
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
daemon = start()
output, _ = perf.communicate(timeout=30)
assert perf.returncode == 0, output
read_until("READY")
expect_one_of_each()
assert before == {name: inode(name) for name in before}, "the sockets were made anew"

# Sockets that are made anew, since somebody removed the files, take the places of the old ones.
daemon.kill()
daemon.wait()
os.unlink(os.path.join(runtime, "session.sock"))
daemon = start()
read_until("READY")
expect_one_of_each()
assert before["session.sock"] != inode("session.sock"), "the socket was not made anew"

# An end in order: it says so, and leaves nothing behind that would let workers wait.
daemon.terminate()
read_until("STOPPING")
read_until("FDSTOREREMOVE")
assert daemon.wait(30) == 0
assert not os.path.exists(os.path.join(runtime, "session.sock"))
print("ok")
