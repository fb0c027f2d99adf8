# SPDX-License-Identifier: Apache-2.0
"""Nodes a, b, c and d on one wide area network, and a stream that a writes and the others take. Which of them are in
the region of a, and what else their command files say, is the test's.

    class Test(FourNodes):
        def __init__(self, scratch, writer):
            super().__init__(scratch, writer, region_of, lambda own: "quorum set n 3 w 2\\n")
"""
import os
import secrets

from cluster import Process, wait_until
from regions import WAN_NAP_US, Region, program, wan_command, write

STREAM = "orders"
NODES = {"a": 1, "b": 2, "c": 3, "d": 4}
BURST = 1000


class Net:
    """helio-wan with a port for each node; another region is 20 ms away."""

    def __init__(self, scratch, region_of):
        self.scratch = scratch
        self.run = scratch.directory("wan")
        lines = [f"port add {name} memif socket {self.socket(name)} id 0 mac 02:00:00:00:00:0{name}\n"
                 for name in NODES]
        for one in NODES:
            for other in NODES:
                if one != other:
                    far = region_of(one) != region_of(other)
                    lines.append(f"link set {one} {other} delay {10 if far else 0}ms rate 1g queue 4m\n")
        self.config = write(os.path.join(self.run, "wan.conf"), "".join(lines))

    def socket(self, name):
        return os.path.join(self.run, f"memif-{name}.sock")

    def start(self):
        Process(self.scratch, "wan", [program("helio-wan"), "--run", self.run, "--config", self.config,
                                      "--nap", WAN_NAP_US])
        wait_until(lambda: all(os.path.exists(self.socket(name)) for name in NODES), 20, "helio-wan listens")

    def start_with(self, nodes):
        """And all these nodes; returns when their logs are ready."""
        self.start()
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_ready(40)

    def cut(self, one, other):
        wan_command(self.run, f"link cut {one} {other}", f"link cut {other} {one}")

    def restore(self, one, other):
        wan_command(self.run, f"link restore {one} {other}", f"link restore {other} {one}")


class FourNodes:
    """region_of(name) is a region; more(name) the lines of a node's command file that others have not; peer_words(name)
    what follows a peer's options; `senders` send the stream to all others when they write it. self.end is the end of
    the stream: all that produce() appended."""

    def __init__(self, scratch, writer, region_of, more, peer_words=lambda name: "", log_size="256m", senders="a"):
        self.scratch = scratch
        self.writer = writer
        self.net = Net(scratch, region_of)
        self.senders = senders
        self.key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)
        self.nodes = {}
        for name, number in NODES.items():
            lines = more(name) + self.lines(name, region_of, peer_words)
            self.nodes[name] = Region(scratch, name, number, lines, log_size=log_size, region=region_of(name))
        self.a = self.nodes["a"]
        self.end = 1

    def lines(self, own, region_of, peer_words):
        lines = [f"port add wan0 memif socket {self.net.socket(own)} id 0 mac 02:00:00:00:00:0{own} "
                 f"address 10.0.0.{NODES[own]}/24\n"]
        lines += [f"peer add {name} node {number} region {region_of(name)} address 10.0.0.{number} "
                  f"mac 02:00:00:00:00:0{name} port wan0 key {self.key} rate 200m credit 8m{peer_words(name)}\n"
                  for name, number in NODES.items() if name != own]
        lines.append(f"stream add {STREAM} id 1 kind key-value region 1 node 1\n")
        if own in self.senders:
            lines.append(f"stream replicate {STREAM} {' '.join(name for name in NODES if name != own)}\n")
        return "".join(lines)

    def start(self):
        """All of them, and a is joined with each."""
        self.net.start()
        for node in self.nodes.values():
            node.start()
        for name in ("b", "c", "d"):
            self.a.wait_up(name, 40)

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
