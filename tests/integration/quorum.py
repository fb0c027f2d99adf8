#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A region of three nodes, two of which commit, and a fourth node in another region. One member dies: commits go on.
Two are dead: nothing new is acknowledged, read, or arrives in the other region. One comes back: all goes on."""
import os
import sys

from cluster import Failed, Process, Scratch, wait_until
from flow import say
from four_nodes import NODES, STREAM, FourNodes

MEMBERS = ("a", "b", "c")


def region_of(name):
    return 1 if name in MEMBERS else 2


def more(name):
    return "quorum set n 3 w 2\n" if name in MEMBERS else ""


class Test(FourNodes):
    def __init__(self, scratch, reader, writer):
        super().__init__(scratch, writer, region_of, more)
        self.reader = reader

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
        self.start()
        self.all_there()
        self.one_dead()
        self.two_dead()
        self.origin_restarts()
        self.refusals()


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        Test(scratch_directory, *(os.path.abspath(path) for path in sys.argv[1:3])).run()
