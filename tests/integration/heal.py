#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rot in the logs of two real nodes, mended from the other one while everything runs: found by scrub at the origin, by
a reader at the copy, and by the copy's recovery, which opens the log with the write marked. What can't be proved yet is
not served, and afterwards every entry is there again at both, byte for byte, also for the programs that read the files.

    heal.py LIFE_WRITER LIFE_READER"""
import os
import secrets
import signal
import sys

from cluster import Failed, Scratch, wait_until
from flow import say
from lives import Lives
from log_image import BLOCK_BYTES, flip, helio_log, writes_of
from regions import Region, Wan, write

STREAM = "entries"
MEMORY_MB = 20


class Test:
    def __init__(self, scratch, programs):
        self.wan = Wan(scratch, rtt_ms=4, loss_percent=0.5)
        key = write(os.path.join(scratch.path, "link.key"), secrets.token_hex(32) + "\n", 0o600)

        def commands(own, other, number):
            return (f"port add wan0 memif socket {self.wan.socket(own)} id 0 mac 02:00:00:00:00:0{own} "
                    f"address 10.0.0.{3 - number}/24\n"
                    f"peer add {other} node {number} region {number} address 10.0.0.{number} "
                    f"mac 02:00:00:00:00:0{other} port wan0 key {key} rate 800m\n"
                    f"stream add {STREAM} id 1 kind key-value region 1\nconsumer add reads-{STREAM} stream {STREAM}\n")

        self.a = Region(scratch, "a", 1, commands("a", "b", 2) + f"stream replicate {STREAM} b\n", log_size="128m")
        self.b = Region(scratch, "b", 2, commands("b", "a", 1), log_size="128m")
        for node, scrub in ((self.a, "200"), (self.b, "0")):
            text = open(node.config, encoding="utf-8").read()
            write(node.config, text.replace(f"path {node.log}", f"path {node.log} memory {MEMORY_MB}m scrub {scrub}"))
        self.wan.start()
        self.a.start()
        self.b.start()
        self.lives = Lives(scratch, programs, STREAM, self.a, [self.a, self.b])

    @staticmethod
    def log(node):
        logs = (node.show() or {"log": []})["log"]
        return logs[0] if logs else {}

    def drops(self, node):
        return {drop["name"]: drop["count"] for drop in (node.show() or {"drops": []})["drops"]
                if drop["where"] == "repair"}

    def more(self, entries):
        goal = self.lives.writer.position() + entries
        for node in (self.a, self.b):
            wait_until(lambda node=node: self.lives.readers[node.name].position() >= goal, 60,
                       f"{entries} entries more are read in {node.name}")

    def pause(self):
        """The writer would fill the logs in seconds, and is faster than the link: what rots must still be there, and
        be at the other node too, for nobody else has it. Everything but the writer runs on."""
        os.kill(self.lives.writer.process.child.pid, signal.SIGSTOP)
        wait_until(self.is_everywhere, 60, "b has all that a has, and both readers too")

    def is_everywhere(self):
        ends = {(node.stream(STREAM) or {}).get("lsn_durable") for node in (self.a, self.b)}
        return ends == {reader.position() for reader in self.lives.readers.values()} and len(ends) == 1

    def go_on(self):
        os.kill(self.lives.writer.process.child.pid, signal.SIGCONT)
        self.more(100)

    def rot(self, node):
        """A byte in the batches of a write of a sealed segment, so old that its like is in no memory."""
        found = writes_of(helio_log(0, "dump", node.log))
        # Of one batch, so that what rots is of its frames: who lost a header does not know what to ask for.
        sealed = [one for one in found if one.segment < found[-1].segment and one.offset > 0 and one.payload > 8192
                  and one.batches == 1]
        if not sealed:
            raise Failed(f"no segment of {node.log} is sealed: {found[-1]}")
        chosen = sealed[len(sealed) // 4]
        flip(node.log, chosen.begin + BLOCK_BYTES + chosen.payload // 2)
        return chosen.sequence

    def mended(self, node, other, sequence, repairs=1):
        """Named when it was found and when it was mended, and counted."""
        try:
            wait_until(lambda: self.is_mended(node, repairs), 30, f"{node.name} mends write {sequence}")
        except Failed as late:
            raise Failed(f"{late}: {self.log(node)}, {self.drops(node)}, {self.drops(other)}") from late
        node.controlplane.wait_line(f"warning repaired .*write {sequence} is as it was written again", 20)
        self.lives.audit(node, self.lives.readers[node.name].position()).expect(0, 60)

    def is_mended(self, node, repairs):
        log = self.log(node)
        return (log.get("repairs"), log.get("corrupt_left"), log.get("state")) == (repairs, 0, "ready") and \
            log["corrupt_writes"] > 0

    def found_by_scrub(self):
        self.pause()
        sequence = self.rot(self.a)
        self.mended(self.a, self.b, sequence)
        self.a.controlplane.wait_line("critical scrub_corrupt ", 20)
        self.go_on()
        say(f"a: write {sequence} rotted; scrub found it, and b had it")

    def audit_once(self, node):
        """A reader of all that the node's log has. True: it, or another reader, met rot."""
        reader = self.lives.audit(node, self.lives.readers[node.name].position())
        reader.child.wait(60)
        reader.reader.join(5)
        if reader.child.returncode != 0 and not reader.find("read of .*: corrupt: "):
            raise Failed("the reader was told something else: " + " | ".join(reader.lines[-3:]))
        return self.log(node)["corrupt_writes"] > 0

    def found_by_a_reader(self):
        self.pause()
        sequence = self.rot(self.b)
        # What another one read within the last second may stay in memory; what is behind all of them does not.
        wait_until(lambda: self.audit_once(self.b), 30, f"a reader of all that b has meets write {sequence}")
        self.mended(self.b, self.a, sequence)
        self.go_on()
        say(f"b: write {sequence} rotted; a reader found it, and a had it")

    def found_by_recovery(self):
        """The link is down until the mark has been seen: nothing is served of it, and all else is."""
        self.pause()
        if self.b.dataplane.terminate(20) != 0:
            raise Failed("b's dataplane did not end with 0")
        sequence = self.rot(self.b)
        self.wan.cut()
        self.b.start_dataplane()
        self.b.controlplane.wait_line(f"critical log_marked .*write {sequence} was durable and is corrupt", 30)
        wait_until(lambda: self.log(self.b).get("corrupt_left") == 1, 20, "b has one corrupt write")
        reader = self.lives.audit(self.b, self.lives.readers["b"].position())
        reader.child.wait(60)
        reader.reader.join(5)
        if not reader.find("read of .*: corrupt: "):
            raise Failed(f"a reader passed write {sequence} of b: " + " | ".join(reader.lines[-3:]))
        self.wan.restore()
        self.mended(self.b, self.a, sequence, repairs=2)
        self.go_on()
        say(f"b: write {sequence} rotted; b's log opened with it marked, and a had it")

    def whole(self):
        """Every entry is there, for readers and in the files."""
        self.lives.stop(30)
        entries, lives = self.lives.finish(60)
        if lives != 1:
            raise Failed(f"one life, not {lives}")
        for node in (self.a, self.b):
            for process in (node.controlplane, node.dataplane):
                if process.terminate(20) != 0:
                    raise Failed(f"{process.name} did not end with 0")
            if "fine; a start opens it" not in helio_log(0, "verify", node.log):
                raise Failed(f"{node.log} is not fine")
        say(f"{entries} entries are whole at both")

    def run(self):
        wait_until(lambda: self.is_filled(self.a) and self.is_filled(self.b), 60, "the logs have more than memory")
        self.found_by_scrub()
        self.found_by_a_reader()
        self.found_by_recovery()
        self.whole()

    def is_filled(self, node):
        """More than any reader finds in memory, and far from what the log holds."""
        return self.log(node).get("written_bytes", 0) > 2 * MEMORY_MB << 20


if __name__ == "__main__":
    with Scratch("helio-heal-") as scratch_directory:
        Test(scratch_directory, [os.path.abspath(path) for path in sys.argv[1:3]]).run()
