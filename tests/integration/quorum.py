#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A region of three nodes, two of which commit, and a fourth node in another region. One member dies: commits go on.
Two are dead: nothing new is acknowledged, read, or arrives in the other region. One comes back: all goes on."""
import os
import secrets
import sys

from cluster import Failed, Process, Scratch, wait_until
from flow import say
from regions import Region, program, write

STREAM = "orders"
NODES = {"a": 1, "b": 2, "c": 3, "d": 4}
MEMBERS = ("a", "b", "c")
BURST = 1000


class Net:
    """helio-wan with a port for each node; another region is 20 ms away."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.run = scratch.directory("wan")
        lines = [f"port add {name} memif socket {self.socket(name)} id 0 mac 02:00:00:00:00:0{name}\n"
                 for name in NODES]
        for one in NODES:
            for other in NODES:
                if one != other:
                    far = "d" in (one, other)
                    lines.append(f"link set {one} {other} delay {10 if far else 0}ms rate 1g queue 4m\n")
        self.config = write(os.path.join(self.run, "wan.conf"), "".join(lines))

    def socket(self, name):
        return os.path.join(self.run, f"memif-{name}.sock")

    def start(self):
        Process(self.scratch, "wan", [program("helio-wan"), "--run", self.run, "--config", self.config])
        wait_until(lambda: all(os.path.exists(self.socket(name)) for name in NODES), 20, "helio-wan listens")


def region_of(name):
    return 1 if name in MEMBERS else 2


def commands(net, key, own):
    lines = ["quorum set n 3 w 2\n"] if own in MEMBERS else []
    lines.append(f"port add wan0 memif socket {net.socket(own)} id 0 mac 02:00:00:00:00:0{own} "
                 f"address 10.0.0.{NODES[own]}/24\n")
    lines += [f"peer add {name} node {number} region {region_of(name)} address 10.0.0.{number} "
              f"mac 02:00:00:00:00:0{name} port wan0 key {key} rate 200m credit 8m\n"
              for name, number in NODES.items() if name != own]
    lines.append(f"stream add {STREAM} id 1 kind key-value region 1 node 1\n")
    if own == "a":
        lines.append(f"stream replicate {STREAM} b c d\n")
    return "".join(lines)


class Test:
    def __init__(self, scratch, reader, writer):
        self.scratch = scratch
        self.reader = reader
        self.writer = writer
        self.net = Net(scratch)
        key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)
        self.nodes = {name: Region(scratch, name, number, commands(self.net, key, name), log_size="256m",
                                   region=region_of(name)) for name, number in NODES.items()}
        self.a = self.nodes["a"]
        self.end = 1

    def row(self, name):
        return self.nodes[name].stream(STREAM) or {}

    def produce(self):
        """Appends a burst at a; returns when it is on the disk of a."""
        self.end += BURST
        Process(self.scratch, f"writer-{self.end}", [self.writer, self.a.run, STREAM, BURST]).expect(0, 60)

    def committed_at(self, *names):
        for name in names:
            wait_until(lambda: self.row(name).get("lsn_committed") == self.end, 30,
                       f"{name} has {STREAM} committed to {self.end}, not {self.row(name)}")

    def quorum_is(self, state, text):
        wait_until(lambda: (self.row("a").get("state"), self.row("a").get("quorum")) == (state, text), 30,
                   f"a shows {state}, {text}, not {self.row('a')}")

    def reads(self, name, end):
        return Process(self.scratch, f"reader-{name}-{end}", [self.reader, self.nodes[name].run, STREAM, end])

    def event(self, name):
        return next((event for event in (self.a.show() or {"events": []})["events"] if event["name"] == name), None)

    # ---- what is shown ------------------------------------------------------------------------------------------

    def all_there(self):
        self.produce()
        self.committed_at(*NODES)
        self.quorum_is("open", "3/3 w2")
        for name in NODES:
            self.reads(name, self.end).expect(0, 60)
        say("three of three: committed, read and arrived everywhere")

    def one_dead(self):
        self.nodes["c"].kill_dataplane()
        self.produce()
        self.committed_at("a", "b", "d")
        self.quorum_is("open", "2/3 w2, lacks c")
        say("one of three is dead: commits go on")

    def two_dead(self):
        committed = self.end
        self.nodes["b"].kill_dataplane()
        self.quorum_is("no-quorum", "1/3 w2, lacks b c")
        self.produce()
        waiting = [self.reads("a", self.end), self.reads("d", self.end)]
        wait_until(lambda: self.event("stream_quorum_lost"), 30, "a says that the quorum is lost")
        if self.row("a")["lsn_durable"] != self.end or self.row("a")["lsn_committed"] != committed:
            raise Failed(f"without a quorum: {self.row('a')}, committed was {committed}")
        if self.row("d")["lsn_durable"] != committed:
            raise Failed(f"the other region has {self.row('d')}, committed is {committed}")
        if not all(reader.alive() for reader in waiting):
            raise Failed("a reader was given what is not committed")
        say("two of three are dead: nothing new is committed, read, or in the other region")
        self.nodes["b"].start_dataplane()
        self.committed_at("a", "b", "d")
        for reader in waiting:
            reader.expect(0, 60)
        wait_until(lambda: self.event("stream_quorum_back"), 30, "a says that the quorum is back")
        self.nodes["c"].start_dataplane()
        self.committed_at(*NODES)
        self.quorum_is("open", "3/3 w2")
        say("they are back: all goes on")

    def origin_restarts(self):
        self.a.kill_dataplane()
        self.a.start_dataplane()
        self.committed_at(*NODES)
        self.produce()
        self.committed_at(*NODES)
        say("the origin was killed: it counted anew")

    def refusals(self):
        wanted = {("quorum", "set", "n", "5", "w", "3"): "needs 5 nodes of region 1, here are 3: this one, b, c",
                  ("quorum", "set", "n", "3", "w", "1"): "w from n / 2 + 1 to n",
                  ("peer", "remove", "b"): "peer b is one of the 3 nodes of the region's quorum"}
        for words, text in wanted.items():
            answer = self.a.ctl(*words)
            if answer["code"] != 1 or text not in answer.get("error", ""):
                raise Failed(f"{' '.join(words)}: {answer}")
        answer = self.a.ctl("--dry-run", "quorum", "set", "n", "3", "w", "3")
        if answer["code"] != 0 or "quorum set n 3 w 2" not in self.a.show()["config"]:
            raise Failed(f"a dry run: {answer}, {self.a.show()['config']}")
        answer = self.a.ctl("quorum", "set", "n", "3", "w", "3")
        if answer["code"] != 0:
            raise Failed(f"quorum set: {answer}")
        self.produce()
        self.committed_at(*NODES)
        self.quorum_is("open", "3/3 w3")
        say("what can't be is refused; w was changed while it ran")

    def run(self):
        self.net.start()
        for node in self.nodes.values():
            node.start()
        for name in ("b", "c", "d"):
            self.a.wait_up(name, 40)
        self.all_there()
        self.one_dead()
        self.two_dead()
        self.origin_restarts()
        self.refusals()


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        Test(scratch_directory, *(os.path.abspath(path) for path in sys.argv[1:3])).run()
