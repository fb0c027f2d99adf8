# SPDX-License-Identifier: Apache-2.0
"""Two regions on one machine: a dataplane and a control plane each, helio-wan between them, helio-postgres at the ends.

    with Scratch() as scratch:
        pair = Pair(scratch, rtt_ms=80, loss_percent=0.1)
        pair.start()
        pair.a.wait_up("b", 20)
        pair.a.kill_dataplane(); pair.a.start_dataplane()
        pair.wan.cut(); pair.wan.restore()
"""
import json
import os
import secrets
import subprocess

from cluster import Failed, Process, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WAN_NAP_US = "100"  # tests share the CPUs with it: it doesn't poll
BIN = os.environ.get("HELIO_BIN", os.path.join(ROOT, "build", "bin"))


def program(name):
    path = os.path.join(BIN, name)
    if not os.path.exists(path):
        raise Failed(f"{path} is not there: run tools/build first")
    return path


def write(path, text, mode=0o644):
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as out:
        out.write(text)
    return path


def wan_command(run, *commands):
    """Given to helio-wan; what it answers to the last of them."""
    for command in commands:
        done = subprocess.run([program("helio-wan"), "--run", run, "--json", "--command", command],
                              capture_output=True, text=True, timeout=10)
        if done.returncode != 0:
            raise Failed(f"helio-wan: {command}: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


class Wan:
    """helio-wan with two ports, a and b."""

    def __init__(self, scratch, rtt_ms, loss_percent, rate="1g", queue="4m"):
        self.scratch = scratch
        self.run = scratch.directory("wan")
        self.process = None
        words = f"delay {rtt_ms / 2:g}ms loss {loss_percent:g}% rate {rate} queue {queue}"
        self.config = write(os.path.join(self.run, "wan.conf"),
                            f"port add a memif socket {self.socket('a')} id 0 mac 02:00:00:00:00:0a\n"
                            f"port add b memif socket {self.socket('b')} id 0 mac 02:00:00:00:00:0b\n"
                            f"link set a b {words}\nlink set b a {words}\n")

    def socket(self, side):
        return os.path.join(self.run, f"memif-{side}.sock")

    def start(self):
        self.process = Process(self.scratch, "wan", [program("helio-wan"), "--run", self.run, "--config", self.config,
                                                     "--nap", WAN_NAP_US])
        wait_until(lambda: os.path.exists(self.socket("a")) and os.path.exists(self.socket("b")), 20,
                   "helio-wan listens")

    def command(self, *commands):
        return wan_command(self.run, *commands)

    def cut(self):
        self.command("link cut a b", "link cut b a")

    def restore(self):
        self.command("link restore a b", "link restore b a")

    def links(self):
        return self.command("show links")["links"]


class Region:
    """One node: its processes and its helioctl."""

    def __init__(self, scratch, name, number, commands, log_size="512m", cluster=7, log=True, region=None):
        self.scratch = scratch
        self.name = name
        self.run = scratch.directory(name)
        self.log = os.path.join(self.run, "log-0")
        self.config = write(os.path.join(self.run, "node.conf"),
                            f"node set {name} id {number} region {region or number} cluster {cluster}\n"
                            f"log add 0 path {self.log}\n" + commands)
        self.dataplane = None
        self.controlplane = None
        if log:
            self.create_log(log_size, cluster)

    def create_log(self, size, cluster=7):
        done = subprocess.run([program("helio-log"), "create", self.log, "--size", size, "--cluster", str(cluster)],
                              capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise Failed(f"helio-log create: {done.stderr.strip()}")

    def start_dataplane(self, *words, env=None, path=None):
        self.dataplane = Process(self.scratch, f"{self.name}-dataplane",
                                 [path or program("helio-dataplane"), "--run", self.run, *words], env=env)

    def start_controlplane(self, env=None):
        self.controlplane = Process(self.scratch, f"{self.name}-controlplane",
                                    [program("helio-controlplane"), "--run", self.run, "--config", self.config],
                                    env=env)

    def start(self):
        self.start_dataplane()
        self.start_controlplane()

    def kill_dataplane(self):
        self.dataplane.kill9()

    def kill_controlplane(self):
        self.controlplane.kill9()

    def postgres_in(self, stream, conninfo, slot="helio"):
        return Process(self.scratch, f"{self.name}-in", [program("helio-postgres"), "in", "--run", self.run, "--stream",
                                                         stream, "--primary", conninfo, "--slot", slot])

    def postgres_out(self, stream, directory, consumer="segments"):
        return Process(self.scratch, f"{self.name}-out",
                       [program("helio-postgres"), "out", "--run", self.run, "--stream", stream, "--directory",
                        directory, "--consumer", consumer])

    def ctl(self, *words):
        """helioctl's answer as a dictionary; its "code" is the exit code."""
        done = subprocess.run([program("helioctl"), "--run", self.run, "--json", *words], capture_output=True,
                              text=True, timeout=20)
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {"text": done.stdout + done.stderr}
        answer["code"] = done.returncode
        return answer

    def show(self):
        """Everything, or None while there is no control plane or no dataplane."""
        answer = self.ctl("show", "all")
        return answer["data"] if answer["code"] == 0 else None

    def peer(self, name):
        shown = self.show() or {"peers": []}
        return next((peer for peer in shown["peers"] if peer["name"] == name), None)

    def stream(self, name):
        shown = self.show() or {"streams": []}
        return next((stream for stream in shown["streams"] if stream["name"] == name), None)

    def wait_up(self, peer, seconds):
        wait_until(lambda: (self.peer(peer) or {}).get("state") == "up", seconds, f"{self.name}: peer {peer} is up")

    def wait_ready(self, seconds):
        wait_until(lambda: any(log["state"] == "ready" for log in (self.show() or {"log": []})["log"]), seconds,
                   f"{self.name}: the log is ready")


class Pair:
    """Regions a (origin) and b with one physical stream, `orders`, and the link between them."""

    def __init__(self, scratch, rtt_ms=80, loss_percent=0.1, rate="800m", log_size="512m", log_size_b=None):
        self.wan = Wan(scratch, rtt_ms, loss_percent)
        key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)

        def commands(own, other, number):
            return (f"port add wan0 memif socket {self.wan.socket(own)} id 0 mac 02:00:00:00:00:0{own} "
                    f"address 10.0.0.{3 - number}/24\n"
                    f"peer add {other} node {number} region {number} address 10.0.0.{number} "
                    f"mac 02:00:00:00:00:0{other} port wan0 key {key} rate {rate}\n"
                    "stream add orders id 1 kind postgres-physical region 1\n")

        self.a = Region(scratch, "a", 1, commands("a", "b", 2) + "stream replicate orders b\n", log_size)
        self.b = Region(scratch, "b", 2, commands("b", "a", 1) + "consumer add segments stream orders\n",
                        log_size_b or log_size)

    def start(self):
        self.wan.start()
        self.a.start()
        self.b.start()
