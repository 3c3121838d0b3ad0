"""Plays systemd's part for service_manager_test.sh: reads what the daemon says on the notification socket."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time

bin_dir, work, topologies = sys.argv[1:]
runtime = os.path.join(work, "run")
host = os.path.join(work, "host.textproto")
config = os.path.join(work, "nodecommd.textproto")
log = os.path.join(work, "nodecommd.log")
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(os.path.join(work, "notify"))


def write(path, text):
    """By rename, since the daemon may read at any time."""
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def message(limit_s=30):
    notify.settimeout(limit_s)
    return dict(line.split("=", 1) for line in notify.recv(4096).decode().splitlines() if "=" in line)


def messages_until(matches, seconds=30):
    """All messages up to the first that `matches`."""
    seen = []
    deadline = time.monotonic() + seconds
    while True:
        seen.append(message(max(0.01, deadline - time.monotonic())))
        if matches(seen[-1]):
            return seen


def logged(text, seconds=10):
    """Soon: the log is written beside what it tells of."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with open(log) as file:
            if text in file.read():
                return True
        time.sleep(0.02)
    return False


def start(topology, socket_path=os.path.join(work, "notify"), watchdog="1500000"):
    environment = dict(os.environ, NOTIFY_SOCKET=socket_path, WATCHDOG_USEC=watchdog)
    command = [os.path.join(bin_dir, "nodecommd"), "--runtime-dir", runtime, "--config", config, "--simulate", topology]
    with open(log, "a") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    atexit.register(process.kill)  # also if a check fails; nothing happens to one that has ended
    return process


def status():
    command = [os.path.join(bin_dir, "nodecommctl"), "status", "--json", "--runtime-dir", runtime]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


with open(os.path.join(topologies, "hgx-h100-x8-fabric-starting.textproto")) as file:
    fabric_starting = file.read()
fabric_ready = fabric_starting.replace("FABRIC_STATE_IN_PROGRESS", "FABRIC_STATE_COMPLETED").replace(
    "FABRIC_STATE_NOT_STARTED", "FABRIC_STATE_COMPLETED")
assert fabric_ready != fabric_starting
write(host, fabric_starting)
write(config, "pool { planes_ready: 1 plane_bytes: 2097152 }\n")
daemon = start(host)

# A fabric that is not there: said, not called ready, and served all the same.
seen = messages_until(lambda m: "fabric of 8 of 8 GPUs" in m.get("STATUS", ""))
assert "nvidia-fabricmanager" in seen[-1]["STATUS"], seen[-1]
assert not any("READY" in m for m in seen), seen
assert any("Reading" in m.get("STATUS", "") for m in seen), seen
assert status()["gpus"] == 8
assert not logged("ready: nothing is waited for", seconds=0.1)
# A reload meanwhile does not make it ready.
daemon.send_signal(signal.SIGHUP)
seen = messages_until(lambda m: m.get("WATCHDOG") == "1") + messages_until(lambda m: m.get("WATCHDOG") == "1")
assert not any("READY" in m for m in seen), seen
assert logged("reload: done, 0 settings taken, 0 wait for a restart")

write(host, fabric_ready)
seen = messages_until(lambda m: m.get("READY") == "1")
assert seen[-1]["STATUS"] == "Serving workers on 8 of 8 GPUs.", seen[-1]
assert logged("the NVLink fabric is ready")
assert logged("ready: nothing is waited for")

# Alive, three times as often as it must be.
begin = time.monotonic()
for _ in range(4):
    messages_until(lambda m: m.get("WATCHDOG") == "1", seconds=1.5)
assert time.monotonic() - begin > 0.5, "far too often"

# A reload: what is taken and what is not.
write(config, 'pool { planes_ready: 2 plane_bytes: 2097152 }\nlimits { groups_max: 7 }\nlog_level: "debug"\n')
daemon.send_signal(signal.SIGHUP)
seen = messages_until(lambda m: m.get("RELOADING") == "1")
assert int(seen[-1]["MONOTONIC_USEC"]) > 0
messages_until(lambda m: m.get("READY") == "1")
assert logged("reload: limits.groups_max is now 7, was 256")
assert logged('reload: log_level is now "debug", was "info"')
assert logged("reload: pool.planes_ready stays 1; 2 takes a restart")
assert logged("reload: done, 2 settings taken, 1 waits for a restart")

# A file that is wrong changes nothing, and is not forgotten; the next good one mends it.
write(config, "limits { groups_max: 0 }\n")
daemon.send_signal(signal.SIGHUP)
seen = messages_until(lambda m: m.get("READY") == "1")
assert "last reload failed" in seen[-1]["STATUS"], seen[-1]
assert "field limits.groups_max" in status()["reload_problem"]
assert logged("reload: nothing is changed: ") and logged("field limits.groups_max: 0 is outside")
write(config, "pool { planes_ready: 1 plane_bytes: 2097152 }\n")
daemon.send_signal(signal.SIGHUP)
seen = messages_until(lambda m: m.get("READY") == "1")
assert seen[-1]["STATUS"] == "Serving workers on 8 of 8 GPUs.", seen[-1]
assert logged("reload: limits.groups_max is now 256, was 7")
assert not status()["reload_problem"]

# An end in order asks for the time that it may take.
write(config, "group { drain_timeout_ms: 90000 }\n")
daemon.send_signal(signal.SIGHUP)
messages_until(lambda m: m.get("READY") == "1")
daemon.terminate()
seen = messages_until(lambda m: m.get("STOPPING") == "1")
assert int(seen[-1]["EXTEND_TIMEOUT_USEC"]) >= 90_000_000, seen[-1]
assert daemon.wait(30) == 0

# Ready is said at once where nothing is missing.
daemon = start(os.path.join(topologies, "hgx-h100-x4.textproto"))
seen = messages_until(lambda m: m.get("READY") == "1")
assert seen[-1]["STATUS"] == "Serving workers on 4 of 4 GPUs.", seen[-1]

# A socket that somebody removes is said, and that it is back.
os.rename(os.path.join(runtime, "session.sock"), os.path.join(work, "away"))
seen = messages_until(lambda m: m.get("STATUS", "").startswith("Not ready"))
assert "session.sock was removed; restart the daemon" in seen[-1]["STATUS"], seen[-1]
os.rename(os.path.join(work, "away"), os.path.join(runtime, "session.sock"))
messages_until(lambda m: m.get("STATUS") == "Serving workers on 4 of 4 GPUs.")
# A socket that is gone while the daemon runs is said once.
unheard = "warning the service manager cannot be told how the daemon is"
os.unlink(os.path.join(work, "notify"))
assert logged(f"{unheard}: No such file or directory (NOTIFY_SOCKET is {work}/notify)")
daemon.terminate()
assert daemon.wait(30) == 0
with open(log) as file:
    assert file.read().count(unheard) == 1

# So are values that are none.
for socket_path, watchdog in (("nonsense", "soon"), (os.path.join(work, "none"), "0")):
    os.truncate(log, 0)
    daemon = start(os.path.join(topologies, "hgx-h100-x4.textproto"), socket_path, watchdog)
    assert logged("ready: nothing is waited for", seconds=30)
    daemon.terminate()
    assert daemon.wait(30) == 0
    with open(log) as file:
        text = file.read()
    assert text.count(unheard) == 1 and f"(NOTIFY_SOCKET is {socket_path})" in text, text
    assert text.count("warning WATCHDOG_USEC or WATCHDOG_PID cannot be used: Invalid argument") == 1, text
print("ok")
