#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A region of three nodes and a spare one, a learner. A member dies and the spare one takes its place: from then on
that one counts, and the dead one does not, also when it comes back with what it knew."""
import os
import sys

from cluster import Failed, Scratch, wait_until
from flow import say
from four_nodes import NODES, FourNodes

SPARE = "d"


class Test(FourNodes):
    def __init__(self, scratch, writer):
        metastore = f"metastore file {os.path.join(scratch.path, 'metastore')}\n"
        super().__init__(scratch, writer, lambda name: 1,
                         lambda name: metastore + ("quorum set n 3 w 2\n" if name != SPARE else ""),
                         lambda name: " learner" if name == SPARE else "")

    def group(self, *words, node="a"):
        answer = self.nodes[node].ctl("group", "members", "0", *words)
        return answer, (answer.get("data") or {}).get("members", [{}])[0]

    def ordered(self, *words):
        answer, members = self.group(*words)
        if answer["code"] != 0:
            raise Failed(f"group members 0 {' '.join(words)}: {answer}")
        return members

    def refused(self, text, *words, node="a"):
        answer, _ = self.group(*words, node=node)
        if answer["code"] != 1 or text not in answer.get("error", ""):
            raise Failed(f"group members 0 {' '.join(words)}: {answer}, expected {text}")

    def counts(self, *members):
        """The change is done, and these members' dataplanes have it on their devices."""
        def done():
            shown = self.group("show")[1]
            return shown["phase"] == "stable" and sorted(shown["members"]) == sorted(NODES[name] for name in members)
        wait_until(done, 30, f"the members are {members}, not {self.group('show')[1]}")
        generation = self.group("show")[1]["generation"]
        for name in members:
            wait_until(lambda: self.group("show", node=name)[1].get("generation_here") == generation, 20,
                       f"{name} counts by generation {generation}")
        return generation

    # ---- what is shown ------------------------------------------------------------------------------------------

    def before(self):
        shown = self.ordered("show")
        if shown["generation"] != 0 or shown["members"] != [1, 2, 3] or shown["w"] != 2:
            raise Failed(f"before any order: {shown}")
        would = self.group("replace", "c", "d", "dry-run")[1]
        if would.get("other") != [1, 2, 4] or self.ordered("show")["generation"] != 0:
            raise Failed(f"a dry run: {would}")
        self.refused("another node has to write it", "replace", "a", "d")
        self.refused("this node is no member", "replace", "9", "d")
        self.refused("change its members where it is written", "replace", "c", "d", node="b")

    def replaced(self):
        self.nodes["c"].kill_dataplane()
        self.nodes["c"].kill_controlplane()
        self.produce()
        self.committed_at("a", "b")
        self.ordered("replace", "c", "d")
        generation = self.counts("a", "b", "d")
        self.quorum_is("open", "3/3 w2")
        say(f"a dead member was replaced, by generation {generation}")

    def new_one_counts(self):
        self.nodes["b"].kill_dataplane()
        self.produce()
        self.committed_at("a", "d")
        self.quorum_is("open", "2/3 w2, lacks b")
        say("the new member counts: a commit without one of the old ones")

    def old_one_does_not(self):
        committed = self.end
        self.nodes["d"].kill_dataplane()
        self.nodes["c"].start_dataplane()
        self.nodes["c"].start_controlplane()
        self.a.wait_up("c", 20)
        self.produce()
        wait_until(lambda: self.row("c").get("lsn_durable") == self.end, 20, "c has everything")
        if self.row("a")["lsn_committed"] != committed:
            raise Failed(f"the node that was replaced counts: {self.row('a')}")
        self.nodes["b"].start_dataplane()
        self.committed_at("a", "b")
        say("the one that was replaced has everything and counts for nothing")

    def run(self):
        self.start()
        self.produce()
        self.committed_at("a", "b", "c")
        self.before()
        self.replaced()
        self.new_one_counts()
        self.old_one_does_not()


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        Test(scratch_directory, os.path.abspath(sys.argv[1])).run()
