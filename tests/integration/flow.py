# SPDX-License-Identifier: Apache-2.0
"""A primary whose WAL goes through one node or two, and what must be true of the segments at the end.

    flow = Flow(scratch, origin=region_a, target=region_b)
    flow.begin()
    flow.load_start()
    flow.wal_grows(4 << 20)        # and not: sleep
    flow.kill_in(); flow.start_in()
    flow.finish()                  # stops the load, compares every segment, checks the slot
"""
import os
import random
import re
import time

from cluster import Failed, Postgres, wait_until

SEGMENT_NAME = re.compile(r"^[0-9A-F]{24}$")
BEGAN = time.monotonic()
STREAM = "orders"
SLOT = "helio"
WAL_FILL_BYTES = 128 << 10  # farther apart than LZ4 sees


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def seeded():
    """A random generator whose seed is printed; HELIO_SEED repeats a run's choices."""
    seed = int(os.environ.get("HELIO_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"HELIO_SEED={seed}", flush=True)
    return random.Random(seed)


def say(text):
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


class Flow:
    def __init__(self, scratch, origin, target, segment_megabytes=1, settings=None):
        self.scratch = scratch
        self.origin = origin
        self.target = target
        self.segment_bytes = segment_megabytes << 20
        self.primary = Postgres(scratch, "primary")
        self.primary.init(wal_segment_megabytes=segment_megabytes, archive=True, settings={
            "max_wal_size": "256MB", "min_wal_size": f"{5 * segment_megabytes}MB", "wal_sender_timeout": "10s",
            **(settings or {})})
        self.primary_conninfo = self.primary.conninfo()
        self.out = scratch.directory("segments")
        self.backup = os.path.join(self.primary.root, "backup")
        self.writer = None
        self.reader = None
        self.bench = None

    # ---- processes ----------------------------------------------------------------------------------------------

    def start_in(self):
        self.writer = self.origin.postgres_in(STREAM, self.primary_conninfo, SLOT)

    def start_out(self):
        self.reader = self.target.postgres_out(STREAM, self.out)

    def begin(self, scale=2):
        """Primary, in and out; the stream flows."""
        self.primary.start()
        self.start_in()
        self.start_out()
        self.writer.wait_line("streaming", 40)
        self.primary.pgbench("-i", "-q", "-s", scale).expect(0, 120)
        self.primary.base_backup(self.backup)
        self.durable_moves(30)

    def load_start(self, *words, clients=2, rate=None):
        limit = [] if rate is None else ["-R", rate]
        self.bench = self.primary.pgbench("-n", "-T", 600, "-c", clients, *limit, *words)

    def load_stop(self):
        if self.bench is not None:
            self.bench.kill9()
            self.bench = None

    # ---- conditions ---------------------------------------------------------------------------------------------

    def wal_end(self):
        return lsn(self.primary.query("SELECT pg_current_wal_flush_lsn()"))

    def wal_grows(self, grow_bytes, seconds=60):
        """The primary writes that much more: the tests' measure of time."""
        end = self.wal_end() + grow_bytes
        wait_until(lambda: self.wal_end() >= end, seconds, f"the primary writes {grow_bytes} bytes of WAL")

    def wal_write(self, count_bytes):
        """The primary writes so much WAL at once, and more than what pgbench writes stays of it when it is compressed:
        to fill something up. For time under load there is wal_grows()."""
        self.primary.query("WITH fill AS MATERIALIZED (SELECT string_agg(md5(random()::text), '') AS data "
                           f"FROM generate_series(1, {WAL_FILL_BYTES // 32})) "
                           "SELECT max(pg_logical_emit_message(true, 'fill', data)) FROM fill, "
                           f"generate_series(1, {-(-count_bytes // WAL_FILL_BYTES)})")

    def durable(self, region=None):
        return ((region or self.origin).stream(STREAM) or {}).get("lsn_durable", 0)

    def durable_moves(self, seconds=40, region=None):
        """The durable position passes where the primary is now (its end moves on under load)."""
        goal = self.wal_end()
        wait_until(lambda: self.durable(region) >= goal, seconds,
                   f"durable in {(region or self.origin).name} reaches {goal:X}")
        return goal

    def slot(self):
        """(restart_lsn, active) of our slot."""
        restart, active = self.primary.query("SELECT restart_lsn, active FROM pg_replication_slots "
                                             f"WHERE slot_name = '{SLOT}'").split("|")
        return lsn(restart), active == "t"

    def slot_follows(self, seconds=30):
        """The slot holds nothing: it passes the place where the primary is now."""
        goal = self.wal_end()
        wait_until(lambda: self.slot()[0] >= goal, seconds, f"the slot's restart_lsn passes {goal:X}")

    def segments(self):
        return sorted(name for name in os.listdir(self.out) if SEGMENT_NAME.match(name))

    # ---- the end ------------------------------------------------------------------------------------------------

    def drain(self, seconds=90):
        """No more load; waits until the last segment is complete at the target and in the archive."""
        self.load_stop()
        last = self.primary.switch_wal()
        wait_until(lambda: os.path.exists(os.path.join(self.out, last)), seconds, f"{last} is complete in {self.out}")
        wait_until(lambda: os.path.exists(os.path.join(self.primary.archive, last)), 60, f"{last} is archived")
        return last

    def compare(self, last):
        """Every segment from the first to `last` is there and is the archive's, byte for byte."""
        names = self.segments()
        names = names[:names.index(last) + 1]
        archived = sorted(name for name in os.listdir(self.primary.archive) if SEGMENT_NAME.match(name))
        if names[0] not in archived:
            raise Failed(f"the first segment {names[0]} was never archived")
        wanted = archived[archived.index(names[0]):archived.index(last) + 1]
        if wanted != names:
            raise Failed(f"missing: {sorted(set(wanted) - set(names))}, too many: {sorted(set(names) - set(wanted))}")
        per_file = (1 << 32) // self.segment_bytes
        numbers = [int(name[8:16], 16) * per_file + int(name[16:], 16) for name in names]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise Failed(f"segments are not contiguous: {names}")
        for name in names:
            with open(os.path.join(self.out, name), "rb") as ours, \
                    open(os.path.join(self.primary.archive, name), "rb") as theirs:
                if ours.read() != theirs.read():
                    raise Failed(f"segment {name} differs from the primary's")
        say(f"{len(names)} segments {names[0]}..{names[-1]}: contiguous, each the primary's byte for byte")
        return len(names)

    def finish(self, segments_min=3):
        last = self.drain()
        if self.compare(last) < segments_min:
            raise Failed(f"only {len(self.segments())} segments: this showed nothing")
        self.slot_follows()

    def restore(self):
        """A stock PostgreSQL from the base backup and the target's segments has the primary's tables. Call it after
        finish()."""
        sums = self.primary.sums()
        last = self.drain()
        self.compare(last)
        os.chmod(self.out, 0o755)
        for name in os.listdir(self.out):
            os.chmod(os.path.join(self.out, name), 0o644)
        restored = self.primary.restored("restored", self.backup, f"cp {self.out}/%f %p")
        restored.start(60)
        wait_until(lambda: restored.psql("SELECT pg_is_in_recovery()", check=False) == "f", 60, "the restore opens")
        if restored.sums() != sums:
            raise Failed(f"the restored tables differ: {restored.sums()} instead of {sums}")
        restored.stop("immediate")
        say(f"restored: {len(sums)} tables are the same")

    def primary_stops(self, seconds=20):
        """A clean shutdown: the walsender has to send everything and have it acknowledged."""
        self.primary.stop("fast", seconds)
        if not self.primary.server.find("database system is shut down"):
            raise Failed("the primary did not shut down cleanly")
