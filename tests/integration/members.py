#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A region of three nodes and a spare one, a learner. A member dies and the spare one takes its place: from then on
that one counts, and the dead one does not, also when it comes back with what it knew. Then the writer dies in the
middle of another change: the next writer needs both sets to take over, has all that was acknowledged, and goes on with
the change.

    members.py STREAM_WRITER ONCE_CLIENT KILL_SHIM"""
import os
import signal
import sys

from cluster import Failed, Process, Scratch, wait_until
from flow import say
from four_nodes import NODES, STREAM, FourNodes
from resubmit import entries

SPARE = "d"
CLIENT, OTHER = "11", "22"


class Test(FourNodes):
    def __init__(self, scratch, writer, client, shim):
        self.client, self.shim = client, shim
        metastore = f"metastore file {os.path.join(scratch.path, 'metastore')}\n"
        super().__init__(scratch, writer, lambda name: 1,
                         lambda name: metastore + ("quorum set n 3 w 2\n" if name != SPARE else ""),
                         lambda name: " learner" if name == SPARE else "", senders="abcd")

    def group(self, *words, node="a"):
        answer = self.nodes[node].ctl("group", "members", "0", *words)
        return answer, (answer.get("data") or {}).get("members", [{}])[0]

    def ordered(self, *words, node="a"):
        answer, members = self.group(*words, node=node)
        if answer["code"] != 0:
            raise Failed(f"group members 0 {' '.join(words)}: {answer}")
        return members

    def refused(self, text, *words, node="a"):
        answer, _ = self.group(*words, node=node)
        if answer["code"] != 1 or text not in answer.get("error", ""):
            raise Failed(f"group members 0 {' '.join(words)}: {answer}, expected {text}")

    def counts(self, *members, at="a", here=None):
        """The change is done, and these members' dataplanes have it on their devices."""
        def done():
            shown = self.group("show", node=at)[1]
            return shown["phase"] == "stable" and sorted(shown["members"]) == sorted(NODES[name] for name in members)
        wait_until(done, 30, f"the members are {members}, not {self.group('show', node=at)[1]}")
        generation = self.group("show", node=at)[1]["generation"]
        for name in here or members:
            wait_until(lambda: self.group("show", node=name)[1].get("generation_here") == generation, 20,
                       f"{name} counts by generation {generation}")
        return generation

    def append(self, name, first, last, client=CLIENT):
        """Where the client's entries are, which are committed."""
        process = Process(self.scratch, f"once-{name}-{last}", [self.client, self.nodes[name].run, STREAM, "append",
                                                                "committed", client, str(first), str(last)])
        process.expect(0, 60)
        return entries(process)

    def failing_over(self):
        shown = self.nodes["d"].show() or {"groups": []}
        return next((row for row in shown["groups"] if row["group"] == 0), {})

    def tail(self, name):
        """Where its history ends, and what proves all of it."""
        rows = self.nodes[name].ctl("show", "tails").get("data", {}).get("tails", [])
        return next(((row["lsn_durable"], row["chain"]) for row in rows if row["stream"] == STREAM), None)

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
        move = self.nodes["a"].ctl("stream", "move", STREAM, "worker", "0", "dry-run")
        if move["code"] != 1 or "the metastore names the logs that count" not in move.get("error", ""):
            raise Failed(f"a stream leaves a log that counts: {move}")
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

    def writer_dies_in_a_change(self):
        """b is to be replaced by c. When the metastore has both sets count, the control plane of a dies, and b has
        none: their dataplanes go on by the former set, and what is acknowledged then is with these two alone."""
        self.nodes["d"].start_dataplane()
        acknowledged = self.append("a", 1, 10)
        self.quorum_is("open", "3/3 w2")
        for name in ("a", "b"):
            self.nodes[name].kill_controlplane()
        self.a.start_controlplane({"LD_PRELOAD": self.shim, "HELIO_KILL": "say:1:before",
                                   "HELIO_KILL_SAYS": "before, and counted too"})
        wait_until(lambda: self.group("show")[1].get("phase") == "stable", 20, "the control plane of a is there")
        self.net.cut("a", "d")
        self.ordered("replace", "b", "c")
        code = self.a.controlplane.wait(30)
        if code != -signal.SIGKILL:
            raise Failed(f"the control plane of a ended with {code}")
        self.net.cut("a", "c")
        acknowledged.update(self.append("a", 11, 20))
        for name in ("a", "b"):
            self.nodes[name].kill_dataplane()
        return acknowledged

    def goes_on(self, acknowledged):
        refusal = "1 of 3 former members are up from here, 2 must answer, and not up are a, b"
        wait_until(lambda: refusal in self.nodes["d"].ctl("group", "fail-over", "0", "dry-run").get("error", ""), 20,
                   "d hears c alone, which is no former member")
        answer = self.nodes["d"].ctl("group", "fail-over", "0", "force")
        if answer["code"] != 0:
            raise Failed(f"group fail-over 0 force: {answer}")
        wait_until(lambda: "1 of 2 copies of the former members answered" in self.failing_over().get("reason", ""), 30,
                   "d waits for a second one of the former members")
        self.nodes["b"].start()
        wait_until(lambda: self.failing_over().get("step") == "done", 40, f"d writes: {self.failing_over()}")
        self.append("d", 1, 5, client=OTHER)  # takes the place of what is lost
        again = self.append("d", 1, 30)
        if {key: again[key] for key in acknowledged} != acknowledged:
            raise Failed(f"{acknowledged} was acknowledged, d says {again}")
        say("the writer died while two sets counted: one of them is not enough, and nothing acknowledged is lost")
        self.counts("a", "c", "d", at="d", here=("c", "d"))
        for name in ("c", "d"):
            self.net.restore("a", name)
        self.a.start()
        end = max(again.values()) + 1
        self.counts("a", "c", "d", at="d")
        for name in "abc":
            wait_until(lambda: self.tail(name) == self.tail("d") and self.tail(name)[0] == end, 30,
                       f"{name} has the history of d, to {end}")
        say("the next writer ended the change, and all have the same history")
        self.refused("written by node 4", "replace", "c", "b")
        self.ordered("replace", "c", "b", node="d")
        self.counts("a", "b", "d", at="d")
        say("the next writer takes orders, and the first one takes none")

    def run(self):
        self.start()
        self.produce()
        self.committed_at("a", "b", "c")
        self.before()
        self.replaced()
        self.new_one_counts()
        self.old_one_does_not()
        self.goes_on(self.writer_dies_in_a_change())


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        Test(scratch_directory, *(os.path.abspath(path) for path in sys.argv[1:4])).run()
