"""A daemon on a simulated host (or this one), and workers that never give up: started, killed and looked at from outside.

Not a test by itself: chaos.py and deaths.py use it. What the worker says is in chaos_worker.cc.
"""

import json
import os
import re
import signal
import subprocess
import threading
import time


class Failure(Exception):
    """What was expected did not come to be."""


def pause(process):
    """Returns when every thread has stopped."""
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        states = set()
        for task in os.listdir(f"/proc/{process.pid}/task"):
            try:
                with open(f"/proc/{process.pid}/task/{task}/stat") as stat:
                    states.add(stat.read().rpartition(")")[2].split()[0])
            except (FileNotFoundError, ProcessLookupError):
                states.add("ended")
        if states == {"T"}:
            return
    raise Failure(f"process {process.pid} does not stop")


class Worker:
    """One process of tests/chaos/chaos_worker, and every line that it has said so far."""

    def __init__(self, program, name, rank, world_size, device, runtime_dir, options=()):
        self.name = f"{name}.{rank}"
        command = [program, "--name", name, "--rank", str(rank), "--world-size", str(world_size),
                   "--device", str(device), "--runtime-dir", runtime_dir, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._lines = []  # (CLOCK_MONOTONIC in ns, text)
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            stamp, _, text = line.rstrip("\n").partition(" ")
            with self._changed:
                self._lines.append((int(stamp), text) if stamp.isdigit() else (0, line.rstrip("\n")))
                self._changed.notify_all()

    @property
    def pid(self):
        return self.process.pid

    def lines(self):
        with self._changed:
            return list(self._lines)

    def count(self, pattern):
        return sum(1 for _, text in self.lines() if re.search(pattern, text))

    def wait_for(self, pattern, times=1, timeout_s=60.0, after_ns=0):
        """The line that says so for the times-th time (after a moment), as (ns, text)."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                found = [line for line in self._lines if line[0] >= after_ns and re.search(pattern, line[1])]
                if len(found) >= times:
                    return found[times - 1]
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None and not self._reader.is_alive():
                    tail = "\n  ".join(text for _, text in self._lines[-10:])
                    raise Failure(f"{self.name} (exit {self.process.poll()}) did not say '{pattern}':\n  {tail}")
                self._changed.wait(min(left, 0.2))

    def pause(self):
        pause(self.process)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """Returns when the signal is sent, with that moment; reap() waits."""
        moment = time.monotonic_ns()
        self.process.send_signal(signal.SIGKILL)
        return moment

    def reap(self):
        self.process.wait()
        self._reader.join()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)


class Daemon:
    """nodecommd; can be killed and started again on the same directory."""

    def __init__(self, bin_dir, work_dir, topology=None, config=""):
        self.bin_dir = bin_dir
        self.runtime_dir = os.path.join(work_dir, "run")
        self._config = os.path.join(work_dir, "config")
        self._log = os.path.join(work_dir, "nodecommd.log")
        self._topology = topology
        with open(self._config, "w") as config_file:
            config_file.write(config)
        self.process = None

    def start(self):
        command = [os.path.join(self.bin_dir, "nodecommd"), "--runtime-dir", self.runtime_dir, "--config", self._config]
        if self._topology:
            command += ["--simulate", self._topology]
        with open(self._log, "a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(1200):
            if self.process.poll() is not None:
                raise Failure(f"the daemon ended with {self.process.returncode} at its start")
            if self.ctl("status", check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise Failure("the daemon does not answer")

    def wait_until_ready(self):
        for _ in range(1200):
            if not self.ask("status").get("not_ready"):
                return
            time.sleep(0.05)
        raise Failure("the daemon does not become ready")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def kill_allocator(self):
        """Whether it had one: only where there are GPUs."""
        for pid in self.children():
            try:
                with open(f"/proc/{pid}/comm") as name:
                    if name.read().startswith("nodecomm-alloca"):
                        os.kill(int(pid), signal.SIGKILL)
                        return True
            except (FileNotFoundError, ProcessLookupError):
                pass
        return False

    def pause(self):
        pause(self.process)

    def go_on(self):
        """Returns the moment."""
        moment = time.monotonic_ns()
        self.process.send_signal(signal.SIGCONT)
        return moment

    def wait_for_group(self, wanted, what, timeout_s=60):
        """Until `wanted` holds of some group."""
        deadline = time.monotonic() + timeout_s
        while not any(wanted(group) for group in self.ask("groups")["groups"]):
            if time.monotonic() > deadline:
                raise Failure(f"no group came to be {what}: {self.ask('groups')}")

    def terminate(self, timeout_s=30):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout_s)
        if code != 0:
            raise Failure(f"the daemon ended with {code} on SIGTERM")

    def ctl(self, *words, check=True):
        done = subprocess.run([os.path.join(self.bin_dir, "nodecommctl"), *words, "--runtime-dir", self.runtime_dir],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and done.returncode != 0:
            raise Failure(f"nodecommctl {' '.join(words)}: {done.stdout}")
        return done

    def ask(self, *words):
        return json.loads(self.ctl(*words, "--json").stdout)

    def log(self):
        with open(self._log) as log:
            return log.read()

    def wait_for_log(self, text, times, timeout_s=60):
        deadline = time.monotonic() + timeout_s
        while self.log().count(text) < times:
            if time.monotonic() > deadline:
                raise Failure(f"the daemon has not logged '{text}' {times} times")
            time.sleep(0.01)

    def descriptors(self):
        names = []
        for fd in os.listdir(f"/proc/{self.process.pid}/fd"):
            try:
                names.append(os.readlink(f"/proc/{self.process.pid}/fd/{fd}"))
            except FileNotFoundError:
                pass
        return names

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def children(self):
        found = []
        # Each thread has its own.
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{task}/children") as children:
                    found += children.read().split()
            except (FileNotFoundError, ProcessLookupError):
                pass
        return found

    def check_nothing_is_held(self):
        """No session, group, byte or file of any worker; waits for the last of it, bounded."""
        deadline = time.monotonic() + 40
        while True:
            left = []
            status = self.ask("status")
            if int(status["sessions"]):
                left.append(f"{status['sessions']} sessions")
            left += [f"group {group['name']}: {group['state']}" for group in self.ask("groups")["groups"]]
            left += [f"{pool['bytes_in_use']} bytes in use on {pool['gpu_uuid']}"
                     for pool in self.ask("pools")["pools"] if int(pool["bytes_in_use"])]
            for folder in ("groups", "sessions"):
                left += [f"{folder}/{name}" for name in os.listdir(os.path.join(self.runtime_dir, folder))]
            if not left:
                return
            if time.monotonic() > deadline:
                raise Failure("left behind: " + ", ".join(left))
            time.sleep(0.1)
