#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write grants, with a producer that never stops. A dataplane that was paused for longer than its grant tells nothing
that it did not tell before, until its control plane gives it another. A control plane that is gone costs the grant
and no more: the dataplane goes on until it ends, is read-only then, and writes again when a control plane is back. A
node whose group was sealed in the metastore meanwhile gets none.

    grant.py WRITER [--bug DATAPLANE]     with a dataplane that doesn't look again, this must be found out"""
import os
import signal
import sys
import time

from cluster import Failed, Process, Scratch, wait_until
from flow import say
from regions import Region

GRANT_MS = 800
PAUSES = 20  # within which a dataplane that doesn't look again is found out


def boottime_ms():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000000


class Test:
    def __init__(self, scratch, writer, dataplane):
        metastore = f"metastore file {os.path.join(scratch.path, 'metastore')}\n"
        stream = "stream add s id 5 kind key-value region 1 node 1 group 3\n"
        self.node = Region(scratch, "a", 1, stream + metastore + f"grant {GRANT_MS}\n", "256m")
        self.other = Region(scratch, "b", 2, stream + metastore, "256m")
        self.scratch, self.dataplane = scratch, dataplane
        self.program = writer
        self.writer = None

    def group(self):
        return next((row for row in (self.node.show() or {"groups": []})["groups"] if row["group"] == 3), {})

    def grant_is(self, state, seconds=10):
        wait_until(lambda: self.group().get("grant") == state, seconds, f"the grant is {state}")

    def moves(self, begin_ms, end_ms):
        """When what is durable was told anew after standing still, between these times."""
        found = []
        for line in self.writer.lines:
            words = line.split()
            if words[0] == "moved" and begin_ms <= int(words[2]) < end_ms:
                found.append(line)
        return found

    def wait_moved(self, since_ms, what):
        return wait_until(lambda: self.moves(since_ms, 1 << 62), 10, what)

    def wait_lines(self, word, since_ms, seconds, what):
        """The time of the writer's first line with this word since then."""
        def look():
            for line in list(self.writer.lines):
                words = line.split()
                if words[0] == word and int(words[2]) >= since_ms:
                    return int(words[2])
            return None
        return wait_until(look, seconds, what)

    def pass_ms(self, ms):
        until = boottime_ms() + ms
        wait_until(lambda: boottime_ms() >= until, 10, "time passes")

    def pause(self):
        """Both processes stop for longer than the grant; then the dataplane alone goes on. What it told meanwhile."""
        for process in (self.node.controlplane, self.node.dataplane):
            process.signal(signal.SIGSTOP)
        self.pass_ms(GRANT_MS + 50)
        begin = boottime_ms()
        self.node.dataplane.signal(signal.SIGCONT)
        self.wait_lines("read_only", begin, 5, "the producer is told that it can't write")
        self.pass_ms(50)
        end = boottime_ms()
        self.node.controlplane.signal(signal.SIGCONT)
        told = self.moves(begin, end)
        if not told:  # else it stood still too shortly to say that it goes on
            self.wait_moved(end, "the producer goes on")
        return told

    def alone(self):
        """The control plane is killed: the dataplane goes on for the rest of its grant."""
        wait_until(lambda: self.group().get("grant_left_ms", 0) > GRANT_MS / 2, 10, "the grant is renewed")
        self.node.kill_controlplane()
        killed = boottime_ms()
        lapsed = self.wait_lines("read_only", killed, 5, "the grant ends")
        if not GRANT_MS // 5 <= lapsed - killed <= GRANT_MS + 3000:  # on a busy machine
            raise Failed(f"read-only {lapsed - killed} ms after the control plane died, with grants of {GRANT_MS} ms")
        self.pass_ms(200)
        self.node.start_controlplane()
        back = boottime_ms()
        self.wait_lines("writing", back, 10, "the producer writes again")
        if self.moves(lapsed + 20, back):
            raise Failed(f"told without a grant: {self.moves(lapsed + 20, back)}")
        self.grant_is("held")
        drops = {drop["name"]: drop["count"] for drop in self.node.show()["drops"]}
        events = [event["name"] for event in self.node.show()["events"]]
        if "grant_back" not in events or drops.get("append_GRANT", 0) == 0:
            raise Failed(f"events {events}, drops {drops}")

    def sealed_elsewhere(self):
        """Who was stopped with the metastore's lock in its hand has to let it go first."""
        self.node.controlplane.signal(signal.SIGSTOP)
        if self.other.ctl("group", "seal", "3", "epoch", "5")["code"] == 0:
            return True
        self.node.controlplane.signal(signal.SIGCONT)
        return False

    def deposed(self):
        """Somebody else seals the group while both are paused: no grant, and nothing is told any more."""
        wait_until(lambda: (self.other.show() or {"groups": []})["groups"], 20, "the other node knows the group")
        self.node.dataplane.signal(signal.SIGSTOP)
        wait_until(self.sealed_elsewhere, 20, "the other node seals")
        self.pass_ms(GRANT_MS + 50)
        begin = boottime_ms()
        for process in (self.node.dataplane, self.node.controlplane):
            process.signal(signal.SIGCONT)
        self.node.controlplane.wait_line("grant_not_renewed .*sealed under epoch 5 by node 2", 5)
        self.grant_is("lapsed")
        self.pass_ms(GRANT_MS // 2)
        if self.moves(begin, boottime_ms()):
            raise Failed(f"a deposed node told of {self.moves(begin, boottime_ms())}")

    def start(self):
        self.node.start_dataplane(path=self.dataplane)
        self.node.start_controlplane()
        self.writer = Process(self.scratch, "writer", [self.program, self.node.run, "s"])
        self.wait_moved(0, "the producer writes")
        self.grant_is("held")

    def run(self):
        self.other.start()
        self.start()
        told = self.pause()
        if told:
            raise Failed(f"told after a pause, without a grant: {told}")
        say("paused: nothing told")
        self.alone()
        say("without its control plane: read-only, and back")
        self.deposed()
        say("deposed: no grant")

    def run_bug(self):
        self.start()
        for n in range(PAUSES):
            if self.pause():
                say(f"found out by pause {n + 1}")
                return
        raise Failed(f"{PAUSES} pauses, and a dataplane that doesn't look again was not found out")


def main():
    bug = sys.argv[3] if sys.argv[2:3] == ["--bug"] else None
    with Scratch("helio-grant-") as scratch:
        test = Test(scratch, os.path.abspath(sys.argv[1]), bug and os.path.abspath(bug))
        (test.run_bug if bug else test.run)()
        say("ok")


main()
