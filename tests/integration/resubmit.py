#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Entries that say whose they are, over a fail-over. Some are committed under the first writer, some of those at the
third member only, and some are on the first writer's disk alone when it dies. At the next writer each client sends all
its entries again: what was committed is where it was, the rest is appended once. Then the first writer comes back, and
what it alone had lies in an orphan, though it is killed again and again while it cuts that off; resubmitted it adds
what nobody sent again, and adds nothing the next time, be it at the same node or at another one. All readers have each
entry once.

At last orphans whose entries came back by a later fail-over, all and some: what is where it was is not appended again,
nor while a writer that was started again does not know yet that it is committed. And one whose entries had no client,
where the log has forgotten clients: nobody can tell, so they wait for somebody who can.

    resubmit.py ONCE_CLIENT KILL_SHIM ORPHAN_OF"""
import json
import os
import re
import shutil
import signal
import sys
from collections import Counter

import failover
from cluster import Failed, Process, Scratch, wait_until
from flow import say
from log_image import helio_log
from regions import program

# Where in a cut to die, once the log is ready, and what is there then: the orphan file under its name, and the record
# of the cut in the log. The third flush, behind the run directory's and the file's, is of the directory that has the
# name, the fourth of the note that the record is there.
CUT_POINTS = [("rename:1:before", False, False),
              ("rename:1:after", True, False),
              ("fsync:3:after", True, False),
              ("fsync:4:before", True, True)]
STREAM = "orders"
# Clients: one sends all its entries again, one sends its last ones again, one never comes back, one goes on with later
# entries, and two numbered nothing.
ALL, LAST, GONE, LATER, PLAIN = "11", "22", "33", "44", "0"
MANY = range(1000, 1300)  # clients: more than a log remembers


def entries(process):
    """Where it said that each entry is: {(client, sequence): LSN, or why not}. Failed when it says one twice."""
    found = re.findall(r"^entry (\d+) (\d+) (?:at|refused) (\S+)$", "\n".join(process.lines), re.M)
    twice = [key for key, count in Counter((client, int(number)) for client, number, _ in found).items() if count > 1]
    if twice:
        raise Failed(f"{process.name}: more than once: {twice[:5]}")
    return {(client, int(number)): int(where) if where.isdigit() else where for client, number, where in found}


def of_client(client, first, last):
    return {(client, number) for number in range(first, last + 1)}


class Test(failover.Test):
    def __init__(self, scratch, client):
        super().__init__(scratch, None, None)
        self.client = client
        self.runs = 0

    def call(self, node, *words):
        self.runs += 1
        process = Process(self.scratch, f"once-{self.runs}-{node.name}", [self.client, node.run, STREAM, *words])
        process.expect(0, 90)
        return entries(process)

    def append(self, node, where, *ranges):
        """Each range is a client's first and last entry. Where they are."""
        return self.call(node, "append", where, *(str(word) for one in ranges for word in one))

    def orphan(self, node, code, *words, flags=()):
        answer = node.ctl(*flags, "orphan", *words)
        if answer["code"] != code:
            raise Failed(f"{node.name}: orphan {' '.join(words)}: {answer}")
        return answer

    def resubmitted(self, node, name, wanted, flags=()):
        """What `orphan resubmit` counts: entries that are in the stream now, were before, and are left out."""
        data = self.orphan(node, 0, "resubmit", name, flags=flags)["data"]
        if (data["entries"], data["found"], data["left_out"]) != wanted:
            raise Failed(f"{node.name}: resubmit counts {data}, wanted {wanted}")

    def fail_over(self, node):
        self.take_over(node)
        wait_until(lambda: self.group(node).get("step") == "done" and self.group(node).get("state") == "open", 40,
                   f"{node.name} writes: {self.group(node)}")

    # ---- what is shown ------------------------------------------------------------------------------------------

    def before(self):
        """Committed by all, then by a and c alone, then on the disk of a alone."""
        self.committed = self.append(self.a, "committed", (ALL, 1, 40), (PLAIN, 1, 5), (LAST, 1, 40))
        self.net.cut("a", "b")
        self.committed.update(self.append(self.a, "committed", (ALL, 41, 60), (GONE, 1, 20), (LATER, 1, 10)))
        self.net.cut("a", "c")
        self.alone = self.append(self.a, "durable", (ALL, 61, 100), (LAST, 41, 60), (GONE, 21, 40), (PLAIN, 6, 15),
                                 (LATER, 11, 20))
        end = max(self.committed.values()) + 1
        wait_until(lambda: self.row(self.c).get("lsn_committed") == end, 20, f"c has all that is committed, to {end}")
        row = self.row(self.a)
        if row["lsn_committed"] != end or min(self.alone.values()) != end or self.row(self.b)["lsn_durable"] >= end:
            raise Failed(f"committed to {end}: {row}, {self.row(self.b)}")
        self.a.kill_dataplane()
        self.a.kill_controlplane()
        say(f"{len(self.committed)} entries are committed, 50 of them not at b; {len(self.alone)} are on a alone, "
            "which is killed")

    def sent_again(self):
        """At b, which has some of it by a fill from c."""
        self.fail_over(self.b)
        told = self.append(self.b, "committed", (ALL, 1, 100), (LAST, 35, 60), (LATER, 21, 30))
        for key, lsn in told.items():
            if key in self.committed and self.committed[key] != lsn:
                raise Failed(f"{key} was committed at {self.committed[key]}, the next writer says {lsn}")
        fresh = sorted(lsn for key, lsn in told.items() if key not in self.committed)
        begin = max(self.committed.values()) + 1
        if fresh != list(range(begin, begin + 70)):
            raise Failed(f"40, 20 and 10 entries are new, from {begin} on: {fresh}")
        if self.append(self.b, "committed", (ALL, 1, 100), (LAST, 1, 60), (LATER, 21, 30)) != told | {
                key: lsn for key, lsn in self.committed.items() if key[0] == LAST}:
            raise Failed("a second retry is told something else")
        self.there = self.committed | told
        say("b writes: what was committed is told its LSN, 70 entries are new, and a second retry says the same")

    def killed_in_cut(self, shim):
        """The one that comes back is killed at each step of the cut, and the next start goes on with it."""
        directory = os.path.join(self.a.run, "orphan")
        for mark, is_named, is_cut in CUT_POINTS:
            self.a.start_dataplane(env={"LD_PRELOAD": shim, "HELIO_KILL": mark, "HELIO_KILL_SAYS": "log_ready"})
            code = self.a.dataplane.wait(40)
            names = os.listdir(directory)
            found = (any(name.endswith(".orphan") for name in names),
                     re.search(r"^ +stream 1 is cut", helio_log(0, "dump", self.a.log), re.M) is not None)
            if code != -signal.SIGKILL or found != (is_named, is_cut):
                raise Failed(f"killed at {mark}: it ended with {code}; named, cut: {found}; {names}")
        say(f"killed at {len(CUT_POINTS)} points of the cut")

    def cut_off(self, shim):
        """The orphan at a; the name of its file."""
        for other in ("b", "c"):
            self.net.restore("a", other)
        self.a.start_controlplane()
        self.killed_in_cut(shim)
        self.a.start_dataplane()
        rows = wait_until(lambda: [row for row in self.orphan(self.a, 0, "list")["data"]["orphans"]
                                   if row["state"] == "whole"], 40, "a is cut, and the log has recorded it")
        if len(rows) != 1 or rows[0]["stream"] != STREAM or rows[0]["resubmitted"] != "no" or (
                rows[0]["lsn_first"], rows[0]["lsn_end"]) != (min(self.alone.values()), max(self.alone.values()) + 1):
            raise Failed(f"a's entries {min(self.alone.values())} to {max(self.alone.values())} were cut: {rows}")
        name = rows[0]["name"]
        shown = self.orphan(self.a, 0, "show", name)["data"]["orphan"]
        if sum(batch["entries"] for batch in shown["batch_list"]) != len(self.alone):
            raise Failed(f"{len(self.alone)} entries were cut: {shown}")
        end = max(self.there.values()) + 1
        wait_until(lambda: self.row(self.a).get("lsn_committed") == end, 40, f"a is a copy, to {end}")
        say(f"a is back as a copy; what it alone had is in {name}, {len(self.alone)} entries")
        return name

    def at_writer(self, name):
        """a is a copy, so the orphan goes to b: exported, and with the mark that the cut is in the log of a."""
        answer = self.orphan(self.a, 1, "resubmit", name)
        if "not_leader" not in answer["error"]:
            raise Failed(f"a copy does not say why it can't resubmit: {answer}")
        directory = self.scratch.directory(os.path.join("b", "orphan"))
        moved = os.path.join(directory, name)
        self.orphan(self.a, 0, "export", name, moved)
        self.orphan(self.a, 1, "export", name, moved)  # it is there, and stays
        self.orphan(self.b, 1, "resubmit", name)  # not known to be cut
        shutil.copy(os.path.join(self.a.run, "orphan", name + ".cut"), directory)
        self.orphan(self.b, 0, "resubmit", name, flags=["--dry-run"])
        # of GONE 20 and PLAIN 10 are new, of ALL 40 and LAST 20 are there, LATER went on with later ones
        self.resubmitted(self.b, name, (90, 60, 10))
        if "resubmitted to stream" not in self.orphan(self.b, 1, "resubmit", name)["error"]:
            raise Failed("it is resubmitted twice")
        os.remove(moved + ".resubmit")  # as if nobody had noted it
        self.resubmitted(self.b, name, (90, 90, 10))
        say("resubmitted at b: 30 new, 60 were there, 10 left out of a client that went on; again: 0 new")

    def at_origin(self, name):
        """a writes again, and has its orphan still."""
        self.fail_over(self.a)
        self.resubmitted(self.a, name, (90, 90, 10))
        self.orphan(self.a, 1, "discard", name)
        for node in (self.a, self.b):
            self.orphan(node, 0, "discard", name, "--yes")
            if self.orphan(node, 0, "list")["data"]["orphans"] or os.listdir(os.path.join(node.run, "orphan")):
                raise Failed(f"{node.name}: {os.listdir(os.path.join(node.run, 'orphan'))}")
        say("failed over to a, its own orphan adds nothing; discarded at both")

    def read(self):
        wanted = (set(self.there) | of_client(GONE, 21, 40) | of_client(PLAIN, 6, 15))
        end = len(wanted) + 1
        for name, node in self.nodes.items():
            wait_until(lambda node=node: self.row(node).get("lsn_committed") == end, 30,
                       f"{name} has all {len(wanted)} entries: {self.row(node)}")
            found = self.call(node, "read", str(end))
            moved = [key for key, lsn in self.there.items() if found.get(key) != lsn]
            if set(found) != wanted or moved:
                raise Failed(f"{name}: missing {wanted - set(found)}, too many {set(found) - wanted}, "
                             f"elsewhere {moved}")
        say(f"all nodes have the same {len(wanted)} entries, each once")

    def orphan_made(self, orphan_of, first, end, same_end):
        """At a, of entries of the stream, those from same_end on with another stamp. Its name."""
        self.runs += 1
        maker = Process(self.scratch, f"orphan-of-{self.runs}",
                        [orphan_of, self.a.run, STREAM, str(first), str(end), str(same_end)])
        maker.expect(0, 60)
        return maker.lines[-1]

    def committed_at(self, wanted):
        wait_until(lambda: self.row(self.a)["lsn_committed"] >= wanted, 30, "what did not come back is appended")
        if self.row(self.a)["lsn_committed"] != wanted:
            raise Failed(f"{wanted} is the end of what is appended: {self.row(self.a)}")

    def came_back(self, orphan_of):
        """Of entries without a client nothing else would say that they are there."""
        plain = sorted(lsn for (client, _), lsn in self.committed.items() if client == PLAIN)
        first, end = plain[0], plain[-1] + 1
        before = self.row(self.a)["lsn_committed"]
        for same in (len(plain), 3):
            name = self.orphan_made(orphan_of, first, end, first + same)
            data = self.orphan(self.a, 0, "resubmit", name)["data"]
            if (data["entries"], data["found"], data["returned"]) != (len(plain), same, same):
                raise Failed(f"{same} of {len(plain)} entries came back: {data}")
            self.orphan(self.a, 0, "discard", name, "--yes")
        self.committed_at(before + len(plain) - 3)
        say(f"of orphans whose entries came back, all {len(plain)} or 3 of them, only the others are appended")

    def not_settled(self, orphan_of):
        """The writer starts again alone: until it hears the others it knows of nothing that is committed."""
        lsns = sorted(self.append(self.a, "committed", (PLAIN, 16, 20)).values())
        name = self.orphan_made(orphan_of, lsns[0], lsns[-1] + 1, lsns[-1] + 1)
        self.a.kill_dataplane()
        for other in ("b", "c"):
            self.net.cut("a", other)
        self.a.start_dataplane()
        wait_until(lambda: self.row(self.a).get("lsn_durable") == lsns[-1] + 1, 30, "a has opened its log")
        resubmit = Process(self.scratch, "resubmit-early",
                           [program("helioctl"), "--run", self.a.run, "--json", "orphan", "resubmit", name])
        wait_until(lambda: [row for row in self.a.show()["clients"] if row["name"] == "helioctl-orphan"
                            and row["streams"] > 0], 15, "resubmit reads the stream")
        if self.row(self.a)["lsn_committed"] > lsns[0]:
            raise Failed(f"a alone knows what is committed: {self.row(self.a)}")
        for other in ("b", "c"):
            self.net.restore("a", other)
        resubmit.expect(0, 60)
        data = json.loads("\n".join(resubmit.lines))["data"]
        if (data["entries"], data["found"], data["returned"]) != (5, 5, 5):
            raise Failed(f"5 entries were there, and not known to be committed: {data}")
        self.committed_at(lsns[-1] + 1)
        self.orphan(self.a, 0, "discard", name, "--yes")
        say("a resubmit at a writer that just started waits until it is known what is committed")

    def forgotten(self, orphan_of):
        """Neither whether an entry without a client is a retry."""
        lsns = sorted(self.append(self.a, "committed", (PLAIN, 21, 25)).values())
        name = self.orphan_made(orphan_of, lsns[0], lsns[-1] + 1, lsns[0])
        told = self.append(self.a, "committed", *((str(client), 1, 1) for client in MANY)).values()
        if "session_evicted" not in told:  # the last of them are as unknown as what was forgotten
            raise Failed(f"a log remembers {len(MANY)} clients")
        end = max(lsn for lsn in told if isinstance(lsn, int)) + 1
        data = self.orphan(self.a, 0, "resubmit", name)["data"]
        if (data["entries"], data["left_out"]) != (0, 5) or "forgotten (5)" not in data["message"]:
            raise Failed(f"the log has forgotten clients: {data}")
        self.committed_at(end)
        if self.orphan(self.a, 0, "list")["data"]["orphans"][0]["resubmitted"] != "partly":
            raise Failed(f"all of it is left out: {self.orphan(self.a, 0, 'list')}")
        self.orphan(self.a, 0, "resubmit", name, "--not-resubmitted")
        self.committed_at(end + 5)
        again = self.orphan(self.a, 1, "resubmit", name, "--not-resubmitted")
        if "resubmitted to stream" not in again["error"]:
            raise Failed("it is resubmitted twice")
        say(f"after {len(MANY)} clients what had none is left out by name, until somebody says that it is new")

    def run(self, shim, orphan_of):
        self.net.start_with(self.nodes.values())
        self.before()
        self.sent_again()
        name = self.cut_off(shim)
        self.at_writer(name)
        self.at_origin(name)
        self.read()
        self.came_back(orphan_of)
        self.not_settled(orphan_of)
        self.forgotten(orphan_of)


if __name__ == "__main__":
    with Scratch() as scratch_directory:
        client_path, shim_path, maker_path = (os.path.abspath(path) for path in sys.argv[1:4])
        Test(scratch_directory, client_path).run(shim_path, maker_path)
