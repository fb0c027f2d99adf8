#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A log that is far too small for a long cut: it fills, the primary is pushed back through helio-postgres and not
dropped, the dataplane's memory stays flat; it gets longer while it is full, and the primary goes on; after the cut
everything arrives."""
import json
import pathlib
import re
import subprocess

from cluster import Failed, Scratch, wait_until
from flow import STREAM, Flow, say
from regions import Pair, program

RSS_GROWTH_BYTES_MAX = 16 << 20
MORE_BYTES = 4 << 20  # of WAL, that a longer log takes


class Test:
    def __init__(self, scratch):
        self.pair = Pair(scratch, rtt_ms=20, loss_percent=0.1, log_size="64m", log_size_b="64m")
        self.flow = Flow(scratch, self.pair.a, self.pair.b, settings={"wal_sender_timeout": "3s",
                                                                      "max_wal_size": "1GB"})

    def rss_bytes(self):
        with open(f"/proc/{self.pair.a.dataplane.pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) << 10

    def seconds_of_primary(self, seconds):
        """Time as the primary sees it: for what has to last."""
        since = float(self.flow.primary.query("SELECT extract(epoch FROM clock_timestamp())"))
        wait_until(lambda: float(self.flow.primary.query("SELECT extract(epoch FROM clock_timestamp())")) >
                   since + seconds, seconds + 30, f"{seconds} s pass")

    def fill(self):
        """Until nothing is taken any more; WAL goes on being written on the primary."""
        self.flow.load_start(clients=4)
        self.flow.wal_grows(2 << 20)
        rss = self.rss_bytes()
        seen = len(self.flow.writer.lines)
        self.pair.wan.cut()

        def held_back():
            self.flow.wal_write(8 << 20)
            return self.flow.writer.find("held_back", seen)

        wait_until(held_back, 120, "helio-postgres is held back")
        self.pair.a.controlplane.wait_line("log_pressure ", 20)
        log = wait_until(lambda: next((log for log in (self.pair.a.show() or {"log": []})["log"]
                                       if log["pressure"] == "segments are held back"), None), 20,
                         "show log says who is to blame")
        self.flow.writer.wait_line("held_back: .*the log is full, appends wait: a peer", 20, seen)
        say(f"log full: {log['segments_free']} of {log['segment_count']} segments free")
        return rss

    def hold(self, rss):
        """Longer than the walsender's patience; nothing may break, neither side may lose its connection."""
        backend = self.flow.primary.psql("SELECT pid FROM pg_stat_replication")
        durable = self.flow.durable()
        seen = len(self.flow.writer.lines)
        self.seconds_of_primary(7)
        if self.flow.primary.psql("SELECT pid FROM pg_stat_replication") != backend or \
                self.flow.writer.find("primary_gone", seen):
            raise Failed("back-pressure cost the walsender's connection")
        if self.flow.durable() > durable + (1 << 20):
            raise Failed("a full log took more")
        grown = self.rss_bytes() - rss
        if grown > RSS_GROWTH_BYTES_MAX:
            raise Failed(f"the dataplane grew by {grown} bytes while its peer was away")
        say(f"held back for 7 s at {durable:X}; memory of the dataplane {grown >> 10:+} KB")

    def kill_while_full(self):
        """A full log recovers as any other, and takes no more than before."""
        durable = self.flow.durable()
        self.pair.a.kill_dataplane()
        self.pair.a.start_dataplane()
        self.pair.a.wait_ready(30)
        wait_until(lambda: (self.pair.a.stream(STREAM) or {}).get("clients"), 30, "helio-postgres is back")
        if self.flow.durable() < durable:
            raise Failed("a full log lost something when it was killed")

    def log(self):
        return (self.pair.a.show() or {"log": [{}]})["log"][0]

    def ask_to_grow(self, size, *words):
        answer = self.pair.a.ctl("log", "grow", "0", size, *words)
        if answer["code"] != 0:
            raise Failed(f"log grow 0 {size}: {answer}")

    def refuse_to_grow(self, why, *words):
        before = pathlib.Path(self.pair.a.log).stat().st_size, self.log().get("segment_count")
        answer = self.pair.a.ctl("log", "grow", *words)
        if answer["code"] == 0 or not re.search(why, answer.get("error") or answer.get("text") or ""):
            raise Failed(f"log grow {words} should be refused with '{why}': {answer}")
        if "dry-run" not in words and before[1] != self.log().get("segment_count"):
            raise Failed(f"log grow {words} was refused and changed the log")

    def helio_log(self, *words):
        return subprocess.run([program("helio-log"), *words], capture_output=True, text=True, timeout=60)

    def grow(self, size, segments):
        seen = len(self.pair.a.controlplane.lines)
        self.ask_to_grow(size)
        self.pair.a.controlplane.wait_line("log_grown ", 60, seen)
        wait_until(lambda: self.log().get("segment_count") == segments, 5, f"show log says {segments} segments")

    def grow_and_go_on(self, size, segments):
        """The primary has written more than fits: it goes on as far as the log goes."""
        before = self.flow.durable()
        self.grow(size, segments)
        wait_until(lambda: self.flow.durable() > before + MORE_BYTES, 60, f"the primary goes on with {size}")

    def grow_while_full(self):
        """The log gets longer and the primary goes on, though the peer is still away; a dataplane that dies on the way
        leaves a log of the old size, in a longer file, which grows again."""
        before = self.log()
        small = before["segment_count"]
        self.ask_to_grow("96m", "--dry-run")
        if self.log()["segment_count"] != small or self.log()["size_bytes"] != before["size_bytes"]:
            raise Failed("a dry run changed the log")
        self.refuse_to_grow("there is no log 5", "5", "96m")
        self.refuse_to_grow("nothing was changed", "0", "64m")
        self.refuse_to_grow("nothing was changed", "0", "63m", "dry-run")
        self.refuse_to_grow("MiB free, the log needs", "0", "9000g")
        done = self.helio_log("grow", self.pair.a.log, "96m")
        if done.returncode == 0 or "helioctl log grow" not in done.stderr:
            raise Failed(f"helio-log grows a log that is in use: {done}")
        more = ((96 << 20) - before["size_bytes"]) // before["segment_bytes"]
        self.grow_and_go_on("96m", small + more)
        self.ask_to_grow("2g")
        wait_until(lambda: 0 < self.log().get("grow_percent", 0) < 100, 20, "zeros are written")
        self.refuse_to_grow("one at a time", "0", "128m")
        self.pair.a.kill_dataplane()
        if (pathlib.Path(self.pair.a.log).stat().st_size >> 20) <= 128:
            raise Failed("it was killed before it began, or after it gave up")
        self.pair.a.start_dataplane()
        self.pair.a.wait_ready(30)
        wait_until(lambda: (self.pair.a.stream(STREAM) or {}).get("clients"), 30, "helio-postgres is back")
        if self.log()["segment_count"] != small + more:
            raise Failed(f"half grown, it has {self.log()['segment_count']} segments")
        used = before["size_bytes"] - small * before["segment_bytes"]
        self.grow_and_go_on("128m", ((128 << 20) - used) // before["segment_bytes"])
        say(f"from {small} to {self.log()['segment_count']} segments while it was full, killed on the way")

    def grow_offline(self):
        """What helio-log says before is what it does, and the dataplane starts with it."""
        segments = self.log()["segment_count"]
        self.pair.a.kill_dataplane()
        said = [self.helio_log("grow", self.pair.a.log, "160m", "--json", *words)
                for words in (["--dry-run"], [])]
        if any(done.returncode != 0 for done in said):
            raise Failed(f"helio-log grow: {said}")
        would, did = (json.loads(done.stdout) for done in said)
        if would.pop("grown") or not did.pop("grown") or would != did or did["segment_count_before"] != segments:
            raise Failed(f"helio-log grow: {said}")
        self.pair.a.start_dataplane()
        self.pair.a.wait_ready(30)
        if self.log()["segment_count"] != did["segment_count"] or did["segment_count"] <= segments:
            raise Failed(f"helio-log grew it to {did}, show log says {self.log()}")

    def log_is_whole(self):
        done = self.helio_log("verify", self.pair.a.log, "--json")
        if done.returncode != 0 or json.loads(done.stdout)["findings"]:
            raise Failed(f"helio-log verify of the longer log: {done.stdout} {done.stderr}")

    def run(self):
        self.pair.start()
        self.flow.begin()
        self.pair.a.wait_up("b", 30)
        rss = self.fill()
        self.hold(rss)
        self.kill_while_full()
        self.grow_while_full()
        self.flow.load_stop()
        self.pair.wan.restore()
        self.pair.a.wait_up("b", 30)
        self.flow.durable_moves(90)
        self.flow.durable_moves(90, self.pair.b)
        self.pair.a.controlplane.wait_line("log_pressure_over", 20)
        self.flow.finish(segments_min=20)
        self.flow.primary_stops()
        self.grow_offline()
        self.log_is_whole()
        say(f"after the cut: {len(self.flow.segments())} segments, nothing lost")


def main():
    with Scratch("helio-backpressure-") as scratch:
        Test(scratch).run()
        say("ok")


if __name__ == "__main__":
    main()
