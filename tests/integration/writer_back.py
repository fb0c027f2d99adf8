#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A region of three nodes, two of which commit. The writer is killed and comes back with a log that has less than it
had. Its newest write is torn, and nobody else has any of that: it waits until both others have said so, and writes on.
The newest write is torn, and others have it: it takes no producer, and a fail-over goes on with all of it. Then its log
is made anew while another node writes: cut off from that, it takes no producer, and says why; it is filled afterwards.

    writer_back.py ONCE_CLIENT"""
import os
import sys

import resubmit
from cluster import Failed, Process, Scratch, wait_until
from flow import say
from log_image import tear_end
from regions import write
from resubmit import STREAM

CLIENT, OTHER = "11", "22"


class Test(resubmit.Test):
    def __init__(self, scratch, client):
        super().__init__(scratch, client)
        self.members = (self.a, self.b, self.c)
        self.there = {}
        self.last = 0

    def more(self, node, where, count=20):
        """The client's next entries at the node, in one call."""
        first, self.last = self.last + 1, self.last + count
        return self.append(node, where, (CLIENT, first, self.last))

    def event(self, node, name):
        """What it says of that name, of the stream that has the entries."""
        shown = node.show() or {"events": []}
        return next((event["text"] for event in shown["events"] if event["name"] == name and
                     (not name.startswith("stream_") or f"stream {STREAM}" in event["text"])), None)

    def says(self, node, name):
        return wait_until(lambda: self.event(node, name), 20, f"{node.name} says {name}")

    def behind(self, node):
        answer = node.ctl("show", "tails")
        rows = answer.get("data", {}).get("tails", [])
        return next((row["behind"] for row in rows if row["stream"] == STREAM), None)

    def all_have(self, end):
        for node in self.members:
            wait_until(lambda one=node: self.row(one).get("lsn_committed") == end, 30,
                       f"{node.name} has it committed to {end}: {self.row(node)}")

    def kill(self, *nodes):
        for node in nodes:
            node.kill_dataplane()
            node.kill_controlplane()

    def refused(self, node, why, seconds):
        """A producer at the node is told why, and nothing is appended."""
        before = self.row(node)["lsn_durable"]
        self.runs += 1
        process = Process(self.scratch, f"once-{self.runs}-{node.name}",
                          [self.client, node.run, STREAM, "append", "committed", OTHER, "1", "1"],
                          env={"ONCE_SECONDS": str(seconds)})
        process.expect(1, 20)
        if not process.find(why) or process.find("^entry") or self.row(node)["lsn_durable"] != before:
            raise Failed(f"{node.name} is to refuse with {why}: {process.lines}, {self.row(node)}, it was {before}")

    def are_named(self):
        wait_until(lambda: os.path.exists(os.path.join(self.scratch.path, "metastore")), 30, "a metastore is written")
        wait_until(lambda: set(self.copies()) == {"1", "2", "3"}, 30, "each member's log is named in the metastore")

    def end_torn(self, node):
        """Killed, and the newest write of its log, which has entries, is torn."""
        self.kill(node)
        newest = tear_end(node.log)
        say(f"write {newest.sequence} of {node.name}, of {newest.batches} batches, is torn")

    # ---- what is shown ------------------------------------------------------------------------------------------

    def torn_alone(self):
        """Nobody else has what was torn, and nobody was told of it. One of the others can't be asked at first."""
        self.there.update(self.more(self.a, "committed"))
        end = self.last + 1
        self.all_have(end)
        self.are_named()  # else nobody could be sure of what the others have
        for other in ("b", "c"):
            self.net.cut("a", other)
        self.more(self.a, "durable")
        self.kill(self.c)
        self.end_torn(self.a)
        for other in ("b", "c"):
            self.net.restore("a", other)
        self.a.start()
        self.says(self.a, "stream_tail_unknown")
        wait_until(lambda: self.row(self.a).get("quorum") == "2/3 w2, lacks c", 20,
                   f"a shows who is away: {self.row(self.a)}")
        wait_until(lambda: self.behind(self.a) == "unknown" and end <= self.row(self.a)["lsn_durable"] <= self.last, 20,
                   f"a shows its end as lost, before {self.last + 1}: {self.behind(self.a)}, {self.row(self.a)}")
        self.refused(self.a, "wait|timeout", 1)
        say("a's end is torn, b has no more and c is away: a takes no entry, and shows whom it lacks")
        self.c.start()
        self.says(self.a, "stream_tail_known")
        again = self.append(self.a, "committed", (CLIENT, 1, self.last))
        if {key: again[key] for key in self.there} != self.there or sorted(again.values()) != list(
                range(1, self.last + 1)):
            raise Failed(f"{self.there} was acknowledged, a says {again}")
        self.there = again
        self.all_have(self.last + 1)
        say("c is back and has no more: a writes on, and what was torn is appended when it is tried again")

    def torn_elsewhere(self):
        """What is torn was acknowledged: c has it."""
        self.net.cut("a", "b")
        self.there.update(self.more(self.a, "committed"))
        end = self.last + 1
        wait_until(lambda: self.row(self.c).get("lsn_committed") == end, 20, f"c has it committed to {end}")
        self.end_torn(self.a)
        self.a.start()
        self.says(self.a, "stream_tail_lost")
        wait_until(lambda: self.behind(self.a) == "lost" and self.row(self.a)["lsn_durable"] < end, 20,
                   f"a shows that it lost what is before {end}: {self.behind(self.a)}, {self.row(self.a)}")
        self.refused(self.a, "the log lost what another member has", 20)
        say("a's end is torn and c has more: a takes no entry, and says that it lost some")
        self.fail_over(self.b)
        other = self.append(self.b, "committed", (OTHER, 1, 5))  # takes the place of what is lost
        again = self.append(self.b, "committed", (CLIENT, 1, self.last))
        if again != self.there:
            raise Failed(f"{self.there} was acknowledged, b says {again}")
        self.there.update(other)
        self.net.restore("a", "b")
        self.there.update(self.more(self.b, "committed"))
        self.all_have(len(self.there) + 1)
        say("b takes over, and everything that was acknowledged is where it was, also at a")

    def log_made_anew(self):
        """a is the writer of the command file, b that of the metastore, and a does not hear of b."""
        self.are_named()
        before = self.copies()
        for other in ("b", "c"):
            self.net.cut("a", other)
        self.kill(self.a)
        os.remove(self.a.log)
        self.a.create_log("128m")
        with open(self.a.config, encoding="utf-8") as file:
            config = file.read()
        write(self.a.config, config.replace(os.path.join(self.scratch.path, "metastore"), self.scratch.path))
        self.a.start()  # its metastore is a directory
        self.is_unnamed()
        self.says(self.a, "group_unnamed")
        self.a.kill_controlplane()
        write(self.a.config, config)
        self.a.start_controlplane()
        self.is_unnamed()
        say("a's log is made anew and hears of nobody: it takes no entry under epoch 1, and says why")
        self.there.update(self.more(self.b, "committed"))
        for other in ("b", "c"):
            self.net.restore("a", other)
        self.all_have(len(self.there) + 1)
        wait_until(lambda: self.copies().get("1") not in (None, before["1"]), 30,
                   f"the new log counts: {self.copies()}")
        say("a is filled by b, and its new log counts")

    def is_unnamed(self):
        wait_until(lambda: self.group(self.a).get("state") == "unnamed", 20, "a shows its group as unnamed")
        self.refused(self.a, "this log has nothing of group 3, and the metastore", 1)

    def all_equal(self):
        for node in self.members:
            if self.call(node, "read", str(len(self.there) + 1)) != self.there:
                raise Failed(f"{node.name} has other entries than were acknowledged")
        say(f"all members have the same {len(self.there)} entries, each once")

    def run(self):
        self.net.start_with(self.members)
        self.torn_alone()
        self.torn_elsewhere()
        self.log_made_anew()
        self.all_equal()


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        Test(scratch_directory, os.path.abspath(sys.argv[1])).run()
