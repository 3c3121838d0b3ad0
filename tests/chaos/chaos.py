#!/usr/bin/env python3
"""Kills, stops, restarts, aborts and drains at random while eight workers in three groups reduce, and then looks for what
is left: sums must have been right, every group must come back, and the daemon must hold nothing.

A seed repeats the choices, though not their timing.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time

from host import Daemon, Failure, Worker

GROUPS = {"a": [0, 1, 2], "b": [3, 4, 5], "c": [6, 7]}  # GPUs of the ranks
CONFIG = """
group { drain_timeout_ms: 200 rendezvous_timeout_ms: 20000 }
limits { connections_per_uid_per_second: 100000 calls_per_uid_per_second: 100000 }
"""
# What a daemon may have more of after hours than at its start: threads of gRPC's pool, and one that waits for deaths.
THREADS_MORE_MAX = 10


class Chaos:
    def __init__(self, options, work_dir):
        self.options = options
        self.random = random.Random(options.seed)
        self.daemon = Daemon(options.bin, work_dir, options.topology, CONFIG)
        self.workers = {}
        self.stopped = {}  # workers that were stopped, and when they are to go on
        self.done = {}

    def start_worker(self, name, rank):
        options = ["--simulated", "--call-timeout-ms", "3000"]
        gpus = GROUPS[name]
        self.workers[name, rank] = Worker(self.options.worker, name, rank, len(gpus), gpus[rank],
                                          self.daemon.runtime_dir, options)

    # --- what may happen

    def kill_worker(self):
        key = self.random.choice(sorted(self.workers))
        worker = self.workers[key]
        worker.kill()
        worker.reap()
        self.stopped.pop(key, None)
        self.check_ending(worker, -signal.SIGKILL)
        self.start_worker(*key)

    def stop_worker(self):
        key = self.random.choice(sorted(self.workers))
        self.workers[key].process.send_signal(signal.SIGSTOP)
        self.stopped[key] = time.monotonic() + self.random.uniform(0.05, 1.0)

    def kill_daemon(self):
        self.daemon.kill()
        time.sleep(self.random.choice([0, 0, 0.2]))
        self.daemon.start()

    def restart_daemon(self):
        self.daemon.terminate()
        self.daemon.start()

    def drain_gpu(self):
        gpu = str(self.random.randrange(8))
        self.daemon.ctl("drain", "--gpu", gpu, "--abort", "--timeout", "1", check=False)
        time.sleep(self.random.uniform(0, 0.2))
        self.daemon.ctl("undrain", "--gpu", gpu, check=False)

    def abort_group(self):
        groups = self.daemon.ask("groups")["groups"]
        if groups:
            self.daemon.ctl("abort", self.random.choice(groups)["generation"], check=False)

    # --- the course

    def check_ending(self, worker, expected):
        code = worker.process.returncode
        if code != expected:
            tail = "\n  ".join(text for _, text in worker.lines()[-5:])
            raise Failure(f"{worker.name} ended with {code}, not {expected}:\n  {tail}")

    def check_all_live(self):
        for worker in self.workers.values():
            if worker.process.poll() is not None:
                self.check_ending(worker, "none")

    def continue_stopped(self, all_of_them=False):
        for key, when in list(self.stopped.items()):
            if all_of_them or time.monotonic() >= when:
                self.workers[key].process.send_signal(signal.SIGCONT)
                del self.stopped[key]

    def check_all_come_back(self):
        """Each group is, or becomes, ready and reduces."""
        before = {key: worker.count(r"^calls ") for key, worker in self.workers.items()}
        for key, worker in self.workers.items():
            worker.wait_for(r"^calls ", times=before[key] + 1, timeout_s=90)

    def run(self):
        self.daemon.start()
        self.daemon.wait_until_ready()
        threads = self.daemon.threads()
        descriptors = len(self.daemon.descriptors())
        for name, gpus in GROUPS.items():
            for rank in range(len(gpus)):
                self.start_worker(name, rank)
        self.check_all_come_back()
        actions = {self.kill_worker: 6, self.stop_worker: 3, self.kill_daemon: 3, self.restart_daemon: 1,
                   self.drain_gpu: 1, self.abort_group: 2}
        end = time.monotonic() + self.options.seconds
        while time.monotonic() < end:
            action = self.random.choices(list(actions), list(actions.values()))[0]
            action()
            self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
            time.sleep(self.random.uniform(0, 0.4))
            self.continue_stopped()
            self.check_all_live()
        self.continue_stopped(all_of_them=True)
        for gpu in range(8):
            self.daemon.ctl("undrain", "--gpu", str(gpu))
        self.check_all_come_back()
        for worker in self.workers.values():
            worker.stop()
        for worker in self.workers.values():
            worker.reap()
            self.check_ending(worker, 0)
        self.daemon.check_nothing_is_held()
        self.check_baseline(threads, descriptors)
        self.daemon.terminate()
        print(f"seed {self.options.seed}: " + ", ".join(f"{count} x {name}" for name, count in sorted(self.done.items())))

    def check_baseline(self, threads, descriptors):
        if self.daemon.children():
            raise Failure(f"children were left: {self.daemon.children()}")
        if self.daemon.threads() > threads + THREADS_MORE_MAX:
            raise Failure(f"{self.daemon.threads()} threads, {threads} at the start")
        deadline = time.monotonic() + 20
        while len(self.daemon.descriptors()) > descriptors:
            if time.monotonic() > deadline:
                raise Failure(f"{descriptors} descriptors at the start, now: {sorted(self.daemon.descriptors())}")
            time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="directory of the programs")
    parser.add_argument("--worker", required=True, help="tests/chaos/chaos_worker, built")
    parser.add_argument("--topology", required=True, help="a host of eight GPUs to simulate")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("NODECOMM_CHAOS_SECONDS", "120")))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nodecomm-chaos.", dir="/tmp") as work_dir:
        chaos = Chaos(options, work_dir)
        try:
            chaos.run()
        except Exception as failure:
            print("the daemon's log ends:", *chaos.daemon.log().splitlines()[-40:], sep="\n  ")
            print(f"FAILED with seed {options.seed} after {chaos.done}: {failure}", file=sys.stderr)
            if not isinstance(failure, Failure):
                raise
            return 1
        finally:
            for worker in chaos.workers.values():
                worker.process.kill()
            if chaos.daemon.process:
                chaos.daemon.process.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
