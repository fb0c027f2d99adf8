#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A cut link never holds the primary: its slot follows, pg_wal stays as small as ever, a `fast` shutdown ends at once;
when the link is back everything is there."""
import time

from cluster import Failed, Scratch, wait_until
from flow import Flow, say
from regions import Pair

WAL_DURING_CUT_BYTES = 64 << 20
PG_WAL_BYTES_MAX = 48 << 20  # max_wal_size is 16 MB; a slot that holds would pass this
SHUTDOWN_SECONDS_MAX = 10


class Test:
    def __init__(self, scratch):
        self.pair = Pair(scratch, rtt_ms=40, loss_percent=0.1, log_size="512m")
        self.flow = Flow(scratch, self.pair.a, self.pair.b, settings={"max_wal_size": "16MB", "wal_keep_size": "0"})

    def pg_wal_bytes(self):
        return int(self.flow.primary.query("SELECT sum(size) FROM pg_ls_waldir()"))

    def cut(self):
        self.pair.wan.cut()
        self.flow.load_start(clients=4)
        began = self.flow.wal_end()
        largest = 0
        while self.flow.wal_end() < began + WAL_DURING_CUT_BYTES:
            self.flow.wal_write(4 << 20)
            self.flow.slot_follows()
            self.flow.primary.psql("CHECKPOINT")
            largest = max(largest, self.pg_wal_bytes())
        wait_until(lambda: self.pair.a.peer("b")["state"] == "down", 20, "the link is down")
        if largest > PG_WAL_BYTES_MAX:
            raise Failed(f"pg_wal grew to {largest} bytes while the link was cut")
        say(f"link cut for {WAL_DURING_CUT_BYTES >> 20} MB of WAL: pg_wal had at most {largest >> 20} MB")

    def stop_primary(self):
        """With the load still running, as operators do it."""
        began = time.monotonic()
        self.flow.primary_stops(SHUTDOWN_SECONDS_MAX)
        say(f"fast shutdown with the link cut: {time.monotonic() - began:.2f} s")
        self.flow.load_stop()
        seen = len(self.flow.writer.lines)
        self.flow.primary.start()
        self.flow.writer.wait_line("streaming", 30, seen)

    def run(self):
        self.pair.start()
        self.flow.begin()
        self.pair.a.wait_up("b", 30)
        self.flow.durable_moves(40, self.pair.b)
        self.cut()
        self.stop_primary()
        lag = self.pair.a.show()["lag"][0]
        if lag["lag_bytes"] < WAL_DURING_CUT_BYTES or lag["lag_ns"] == 0:
            raise Failed(f"show lag must know how far B is behind: {lag}")
        self.pair.wan.restore()
        self.pair.a.wait_up("b", 30)
        self.flow.finish(segments_min=WAL_DURING_CUT_BYTES >> 20)
        wait_until(lambda: self.pair.a.show()["lag"][0]["lag_bytes"] == 0, 20, "no lag is left")
        self.flow.restore()
        self.flow.primary_stops(SHUTDOWN_SECONDS_MAX)


def main():
    with Scratch("helio-shutdown-") as scratch:
        Test(scratch).run()
        say("ok")


if __name__ == "__main__":
    main()
