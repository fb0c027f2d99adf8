# SPDX-License-Identifier: Apache-2.0
"""Streams of entries that say which life of their writer made them (life_entry.h): who writes and reads them, how far
they are, and whether all of them have the same."""
from cluster import Failed, Process, wait_until


class Follower:
    """A life_writer or life_reader. position(): how far it is, by the last of its lines."""

    def __init__(self, process, word):
        self.process = process
        self.word = word + " "

    def position(self):
        if not self.process.alive() and self.process.child.returncode != 0:
            self.fail()
        for line in reversed(self.process.lines):
            if line.startswith(self.word):
                return int(line[len(self.word):])
        return 0

    def fail(self):
        self.process.reader.join(5)
        raise Failed(f"{self.process.name}: " + " | ".join(self.process.lines[-3:]))

    def lives(self):
        """[(life, its first LSN)] without those that no entry is of."""
        kept = []
        for line in self.process.lines:
            words = line.split()
            if words[0] == "life":
                while kept and kept[-1][1] >= int(words[3]):
                    kept.pop()
                kept.append((int(words[1]), int(words[3])))
        return kept


class Lives:
    """One stream: its writer at its origin, a reader at each of `nodes` that is its consumer `reads-STREAM`."""

    def __init__(self, scratch, programs, stream, origin, nodes):
        self.scratch = scratch
        self.reader_program = programs[1]
        self.stream = stream
        self.origin = origin
        self.nodes = nodes
        self.writer = Follower(Process(scratch, f"writer-{stream}", [programs[0], origin.run, stream]), "acknowledged")
        self.readers = {node.name: Follower(Process(scratch, f"reader-{stream}-{node.name}", [
            programs[1], node.run, stream, f"reads-{stream}"]), "read") for node in nodes}

    def audit(self, node, end):
        """Starts to read what the node's log keeps anew, up to `end`; a Process."""
        return Process(self.scratch, f"audit-{self.stream}-{node.name}",
                       [self.reader_program, node.run, self.stream, "-", end])

    def stop(self, seconds):
        """The writer ends; all it wrote is acknowledged."""
        if self.writer.process.terminate(seconds) != 0:
            self.writer.fail()

    def finish(self, seconds):
        """After stop(): everything arrives, of the same lives everywhere. Returns how many entries and lives."""
        end = int(self.writer.process.find(r"^end (\d+)$").group(1))
        lives = [life for life in self.writer.lives() if life[1] < end]
        for node in self.nodes:
            reader = self.readers[node.name]
            wait_until(lambda: reader.position() >= end, seconds, f"all of {self.stream} is read in {node.name}")
            if reader.lives() != lives:
                raise Failed(f"{self.stream} was written in the lives {lives}, {node.name} has {reader.lives()}")
            self.audit(node, end).expect(0, max(60, seconds))
            if reader.process.terminate() != 0:
                reader.fail()
        return end - 1, len(lives)
