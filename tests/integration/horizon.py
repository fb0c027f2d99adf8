#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A peer stays away for longer than it may hold its origin's log: the log goes on without it, by name. When it is back
it is told where the log begins, and begins anew there by one order, though producers went on: it has all from there
on, and who reads it from before is told of the gap, also after a kill -9. An orphan whose place is
forgotten is resubmitted only when somebody says that its entries did not come back, or an
earlier try saw which did."""
import json
import os
import secrets
import sys

from cluster import Failed, Process, Scratch, wait_until
from flow import say
from regions import Region, Wan, write

BEFORE = 500
AWAY = 450000  # entries; a hundred are a write of 8 KiB
MEANWHILE = 60000  # between the offer and the order: four times what the peer may hold


class Test:
    def __init__(self, scratch, reader, writer, orphan_of):
        self.scratch, self.reader, self.writer, self.orphan_of = scratch, reader, writer, orphan_of
        self.wan = Wan(scratch, rtt_ms=2, loss_percent=0)
        key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)

        def commands(own, other, number):
            return (f"port add wan0 memif socket {self.wan.socket(own)} id 0 mac 02:00:00:00:00:0{own} "
                    f"address 10.0.0.{3 - number}/24\n"
                    f"peer add {other} node {number} region {number} address 10.0.0.{number} "
                    f"mac 02:00:00:00:00:0{other} port wan0 key {key} rate 400m credit 8m\n"
                    "stream add s id 5 kind key-value region 1\n")

        self.a = Region(scratch, "a", 1, commands("a", "b", 2) + "stream replicate s b\n", "64m")
        self.b = Region(scratch, "b", 2, commands("b", "a", 1), "64m")

    def stream(self, node):
        return node.stream("s") or {}

    def write(self, count):
        Process(self.scratch, "writer", [self.writer, self.a.run, "s", str(count)]).expect(0, 60)

    def read(self, code, first, end, says=""):
        reader = Process(self.scratch, "reader", [self.reader, self.b.run, "s", str(end), "from", str(first)])
        reader.expect(code, 60)
        if says and not reader.find(says):
            raise Failed(f"a reader from {first} does not say {says}: {reader.lines}")

    def refused(self, node, *words):
        answer = node.ctl(*words)
        if answer["code"] != 1:
            raise Failed(f"{words} answers {answer}")

    def done(self, node, *words):
        answer = node.ctl(*words)
        if answer["code"] != 0:
            raise Failed(f"{words} answers {answer}")
        return answer["data"]["message"]

    def away(self):
        self.wan.cut()
        say(self.done(self.a, "set", "peer", "b", "drop-behind-bytes", "1m", "--dry-run"))
        self.done(self.a, "set", "peer", "b", "drop-behind-bytes", "1m")
        self.write(AWAY)
        self.a.controlplane.wait_line("holder_let_go log 0: peer b", 20)
        wait_until(lambda: self.stream(self.a).get("lsn_oldest", 0) > BEFORE + 1, 20,
                   "a's log has forgotten the beginning")
        holder = self.a.ctl("show", "retention")["data"]["retention"][0]
        if holder["name"] != "b" or holder["state"] != "let go" or holder["drop_behind_bytes"] != 1 << 20:
            raise Failed(f"show retention: {holder}")

    def horizon(self):
        """Where b may begin: of what a's log has now."""
        oldest = self.stream(self.a)["lsn_oldest"]

        def look():
            told = self.stream(self.b).get("lsn_horizon", 0)
            return told if told >= oldest else 0

        return wait_until(look, 20, f"b knows that a's log begins at {oldest} or later")

    def behind(self):
        self.refused(self.b, "stream", "adopt", "s")
        self.wan.restore()
        self.a.controlplane.wait_line("stream_gap s", 30)
        self.b.controlplane.wait_line("stream_behind s", 30)
        horizon = self.horizon()
        if self.stream(self.b)["lsn_durable"] != BEFORE + 1 or horizon <= BEFORE + 1:
            raise Failed(f"b skipped something: {self.stream(self.b)}")
        self.refused(self.b, "stream", "adopt", "s", "peer", "c")
        self.refused(self.a, "stream", "adopt", "s")
        say(self.done(self.b, "stream", "adopt", "s", "peer", "a", "--dry-run"))

    def orphan(self):
        """Of the first ten entries, made while they are there; its name, and the note of a resubmit that saw them."""
        maker = Process(self.scratch, "orphan-of", [self.orphan_of, self.a.run, "s", "1", "11", "11"])
        maker.expect(0, 60)
        name = maker.lines[-1]
        say(self.done(self.a, "orphan", "resubmit", name))
        path = self.note_path(name)
        with open(path, encoding="utf-8") as file:
            note = json.load(file)
        os.remove(path)
        return name, note

    def note_path(self, name):
        return os.path.join(self.a.run, "orphan", name + ".resubmit")

    def orphan_place_forgotten(self, name, note):
        answer = self.a.ctl("orphan", "resubmit", name)
        if answer["code"] != 1 or "no longer has what is at 1," not in answer["error"]:
            raise Failed(f"an orphan whose place is forgotten: {answer}")
        end = self.stream(self.a)["lsn_end"]
        with open(self.note_path(name), "w", encoding="utf-8") as file:
            json.dump({**note, "done": False}, file)  # as if some had been left out
        answer = self.a.ctl("orphan", "resubmit", name)
        data = answer["data"]
        if answer["code"] != 0 or (data["found"], data["returned"], self.stream(self.a)["lsn_end"]) != (10, 10, end):
            raise Failed(f"what came back was noted before its place was forgotten: {answer}")
        os.remove(self.note_path(name))
        say(self.done(self.a, "orphan", "resubmit", name, "--not-returned"))
        wait_until(lambda: self.stream(self.a)["lsn_durable"] == end + 10, 20, "ten entries are appended")

    def run(self):
        self.wan.start()
        self.a.start()
        self.b.start()
        self.a.wait_up("b", 30)
        self.write(BEFORE)
        wait_until(lambda: self.stream(self.b).get("lsn_durable") == BEFORE + 1, 30, "b has the beginning")
        self.read(0, 1, BEFORE + 1)
        orphan, note = self.orphan()
        self.away()
        self.behind()
        self.write(MEANWHILE)
        horizon = self.horizon()
        say(self.done(self.b, "stream", "adopt", "s", "peer", "a"))  # once, with the limit as it was
        end = BEFORE + AWAY + MEANWHILE + 1
        wait_until(lambda: self.stream(self.b).get("lsn_durable") == end, 40,
                   f"b has all that a has: {self.stream(self.b)}, {self.stream(self.a)}")
        begins = self.stream(self.b)["lsn_oldest"]
        if begins != horizon:
            raise Failed(f"b begins at {begins}, not at {horizon}, which it was told")
        for again in (False, True):
            if again:
                self.b.kill_dataplane()
                self.b.start_dataplane()
                self.b.wait_ready(30)
                self.b.wait_up("a", 30)
            wait_until(lambda: self.stream(self.b).get("lsn_oldest") == begins, 20, f"b begins at {begins}")
            self.read(1, 200, end, "gap at")
            self.read(0, begins, end)
        self.write(100)
        wait_until(lambda: self.stream(self.b).get("lsn_durable") == end + 100, 30, "b goes on")
        self.orphan_place_forgotten(orphan, note)


def main():
    with Scratch("helio-horizon-") as scratch:
        Test(scratch, *(os.path.abspath(path) for path in sys.argv[1:])).run()
        say("ok")


if __name__ == "__main__":
    main()
