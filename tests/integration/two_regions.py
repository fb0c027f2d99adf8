#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two regions, 40 ms and 0.5 % loss apart, under load: every process of both and the network between them is killed or
cut while WAL flows. Then what helioctl says about it, and a restore from what arrived."""
import json
import subprocess
import time

from cluster import Failed, Scratch, wait_until
from flow import STREAM, Flow, say, seeded
from regions import Pair, program

RESUME_SECONDS_MAX = 10
RATE_BYTES_PER_S = {"200m": 25_000_000, "400m": 50_000_000}


class Test:
    def __init__(self, scratch):
        self.scratch = scratch
        self.random = seeded()
        self.pair = Pair(scratch, rtt_ms=40, loss_percent=0.5, log_size="256m")
        # Commits don't wait for the disk here, or a busy one would set the pace of the test.
        self.flow = Flow(scratch, self.pair.a, self.pair.b, settings={"synchronous_commit": "off"})

    def flows(self, seconds=60):
        """What the primary has written now gets to B and to a segment there."""
        self.flow.durable_moves(seconds)
        self.flow.durable_moves(seconds, self.pair.b)
        before = len(self.flow.segments())
        wait_until(lambda: len(self.flow.segments()) > before, seconds, "another segment is complete in B")

    def some_load(self):
        self.flow.wal_grows(self.random.randrange(20000, 600000))

    # ---- kills --------------------------------------------------------------------------------------------------

    def kill_dataplane(self, region, other):
        self.some_load()
        region.kill_dataplane()
        if self.random.random() < 0.5 and region is self.pair.b:
            wait_until(lambda: (other.peer(region.name) or {}).get("state") == "down", 20,
                       f"{other.name} finds that {region.name} is silent")
        region.start_dataplane()
        region.wait_up(other.name, 30)
        self.flows()
        say(f"dataplane of {region.name} killed: flows again")

    def kill_both_dataplanes(self):
        self.some_load()
        self.pair.a.kill_dataplane()
        self.pair.b.kill_dataplane()
        self.pair.b.start_dataplane()
        self.pair.a.start_dataplane()
        self.flows()
        say("both dataplanes killed at once: flows again")

    def kill_controlplane(self, region):
        """Nobody is there to tell by helioctl: the WAL itself, on its way to B, shows that it goes on."""
        self.some_load()
        region.kill_controlplane()
        before = len(self.flow.segments())
        self.flow.wal_grows(2 * self.flow.segment_bytes)
        wait_until(lambda: len(self.flow.segments()) >= before + 2, 40, "segments go on without a control plane")
        if region.ctl("show", "all")["code"] != 3:
            raise Failed("helioctl without a control plane is exit code 3")
        if not region.dataplane.alive():
            raise Failed(f"the dataplane of {region.name} died with its control plane")
        region.start_controlplane()
        wait_until(lambda: region.show() is not None, 20, "helioctl answers again")
        self.flows()
        say(f"control plane of {region.name} killed: nothing stopped")

    def kill_wan(self):
        self.some_load()
        self.pair.wan.process.kill9()
        self.flow.wal_grows(200000)
        self.pair.wan.start()
        self.flows(90)
        say("helio-wan killed: flows again")

    def kill_ends(self):
        self.flow.writer.kill9()
        self.flow.reader.kill9()
        self.flow.start_out()
        self.flow.start_in()
        self.flows()
        say("helio-postgres killed at both ends: flows again")

    # ---- cuts ---------------------------------------------------------------------------------------------------

    def cut(self, *directions):
        a, b = self.pair.a, self.pair.b
        self.some_load()
        self.pair.wan.command(*(f"link cut {way}" for way in directions))
        wait_until(lambda: (a.peer("b") or {}).get("state") != "up" or (b.peer("a") or {}).get("state") != "up", 20,
                   "someone notices")
        behind = self.flow.wal_end()
        self.flow.wal_grows(1 << 20)
        self.flow.durable_moves()
        self.flow.slot_follows()
        if "a b" in directions and self.flow.durable(b) >= behind + (1 << 20):
            raise Failed("WAL passed a cut link")
        arrived = self.flow.durable(b)
        began = time.monotonic()
        self.pair.wan.command(*(f"link restore {way}" for way in directions))
        # Keys are asked for at least every 2 s, and a lane that begins anew loses a few round trips.
        wait_until(lambda: self.flow.durable(b) > arrived, RESUME_SECONDS_MAX, "WAL flows again soon after the cut")
        say(f"resumed {time.monotonic() - began:.2f} s after the cut")
        a.wait_up("b", 30)
        b.wait_up("a", 30)
        self.flows()
        say(f"link cut {', '.join(directions)}: the slot went on, and the rest came after")

    # ---- helioctl -----------------------------------------------------------------------------------------------

    def rate_changes_live(self):
        for words, wanted in RATE_BYTES_PER_S.items():
            answer = self.pair.a.ctl("set", "peer", "b", "rate", words)
            if answer["code"] != 0:
                raise Failed(f"set peer b rate: {answer}")
            wait_until(lambda: self.pair.a.peer("b")["rate_bytes_per_s"] == wanted, 10,
                       f"show peers has the new rate {wanted}")
        config = self.pair.a.ctl("show", "config")
        if "400m" not in json.dumps(config):
            raise Failed(f"show config has not the new rate: {config}")
        for words in (["rate", "12"], ["rate"], ["speed", "1g"]):
            answer = self.pair.a.ctl("set", "peer", "b", *words)
            if answer["code"] not in (1, 2) or not answer.get("error"):
                raise Failed(f"set peer b {' '.join(words)} is a mistake and must say so: {answer}")
        self.flows()

    def shows(self):
        needed = {"ports": ["wan0", "up"], "peers": ["b", "up"], "streams": [STREAM], "lag": [STREAM, "b"],
                  "log": ["ready"], "drops": [], "clients": ["helio"], "events": ["peer_up"], "consumers": [],
                  "node": ["a"], "config": ["node set a"]}
        for view, words in needed.items():
            answer = self.pair.a.ctl("show", view)
            if answer["code"] != 0 or "data" not in answer:
                raise Failed(f"show {view} --json: {answer}")
            done = subprocess.run([program("helioctl"), "--run", self.pair.a.run, "show", view], capture_output=True,
                                  text=True, timeout=20)
            missing = [word for word in words if word not in done.stdout]
            if done.returncode != 0 or missing:
                raise Failed(f"show {view}: exit {done.returncode}, without {missing}: {done.stdout}{done.stderr}")
        wait_until(lambda: (self.pair.a.peer("b") or {}).get("data_bytes_resent"), 60,
                   "0.5 % is lost, so something is sent again")
        peer, stream = self.pair.a.peer("b"), self.pair.a.stream(STREAM)
        if not 40e6 <= peer["rtt_min_ns"] < 80e6:
            raise Failed(f"the least round trip of a 40 ms link is {peer['rtt_min_ns'] / 1e6} ms")
        if peer["data_bytes_sent"] <= peer["data_bytes_resent"]:
            raise Failed(f"most is sent but once: {peer}")
        if not 0 < stream["stored_bytes"] < stream["raw_bytes"]:
            raise Failed(f"WAL compresses: {stream}")

    def events(self):
        """By name, of this life of A's control plane."""
        self.pair.a.controlplane.wait_line("peer_up", 5)
        for region, names in ((self.pair.a, ("peer_down", "peer_up", "stream_streaming", "log_ready", "port_up",
                                             "port_down", "config_applied", "dataplane_lost", "dataplane_attached")),
                              (self.pair.b, ("peer_down", "peer_up", "log_ready", "consumer_new"))):
            said = "\n".join(line for process in self.scratch.processes
                             if process.name == f"{region.name}-controlplane" for line in process.lines)
            missing = [name for name in names if f" {name} " not in said]
            if missing:
                raise Failed(f"{region.name} never said {missing}")

    def no_drops_but_these(self):
        """A legitimate run drops packets by loss, not by mistake: nothing malformed, nothing of a wrong key."""
        for region in (self.pair.a, self.pair.b):
            for drop in region.show()["drops"]:
                bad = [word for word in ("malformed", "mac", "tag", "version", "checksum") if word in drop["name"]]
                if bad and drop["count"]:
                    raise Failed(f"{region.name} counts {drop}")

    def run(self):
        pair = self.pair
        pair.start()
        self.flow.begin()
        pair.a.wait_up("b", 30)
        self.flow.load_start()
        self.flows()
        self.kill_dataplane(pair.b, pair.a)
        self.kill_controlplane(pair.a)
        self.cut("a b", "b a")
        self.kill_dataplane(pair.a, pair.b)
        self.kill_ends()
        self.cut("a b")
        self.kill_controlplane(pair.b)
        self.kill_wan()
        self.cut("b a")
        self.kill_both_dataplanes()
        self.rate_changes_live()
        self.shows()
        self.flow.finish(segments_min=10)
        self.events()
        self.no_drops_but_these()
        self.flow.restore()
        self.flow.primary_stops()
        for process in (self.flow.writer, self.flow.reader, pair.a.controlplane, pair.b.controlplane, pair.a.dataplane,
                        pair.b.dataplane):
            if process.terminate() != 0:
                raise Failed(f"{process.name}: an orderly end is exit code 0, not {process.child.returncode}")


def main():
    with Scratch("helio-two-regions-") as scratch:
        Test(scratch).run()
        say("ok")


if __name__ == "__main__":
    main()
