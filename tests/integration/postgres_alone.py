#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""helio-postgres between a real primary and a real directory, with plain files in place of the dataplane.

A primary under load; `in`, `out`, the dataplane and the primary are killed in turn; at the end every segment must be
the byte-identical twin of the one the primary archived, and a restore must give the same tables. Then every refusal."""
import mmap
import os
import struct
import subprocess
import sys

from cluster import Failed, Postgres, Process, Scratch, find_postgres, skip, wait_until

WORDS = ("generation", "full", "system_identifier", "unit_bytes", "incarnation", "lsn_first", "lsn_durable",
         "file_bytes_durable", "lsn_acknowledged", "appends", "oldest_bytes", "deposed")


class Files:
    """The run directory of fake_heliograph.c, and its page of words."""

    def __init__(self, scratch, name):
        self.path = scratch.directory(name)
        with open(os.path.join(self.path, "state"), "wb") as state:
            state.write(bytes(4096))
        with open(os.path.join(self.path, "state"), "r+b") as state:
            self.page = mmap.mmap(state.fileno(), 4096)

    def get(self, word):
        return struct.unpack_from("<Q", self.page, 8 * WORDS.index(word))[0]

    def set(self, word, value):
        struct.pack_into("<Q", self.page, 8 * WORDS.index(word), value)


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


class Test:
    def __init__(self, scratch, program):
        self.scratch = scratch
        self.program = program
        self.files = Files(scratch, "run")
        self.primary = Postgres(scratch, "primary")
        self.target = scratch.directory("segments")
        self.inside = None
        self.outside = None

    def start_in(self, *more, primary=None, files=None, slot="helio"):
        return Process(self.scratch, "in", [self.program, "in", "--run", (files or self.files).path, "--stream", "pg",
                                            "--primary", (primary or self.primary).conninfo(), "--slot", slot, *more])

    def start_out(self, *more, target=None, files=None):
        return Process(self.scratch, "out", [self.program, "out", "--run", (files or self.files).path, "--stream", "pg",
                                             "--directory", target or self.target, "--consumer", "archive", *more])

    def durable_moves(self, seconds=60):
        before = self.files.get("lsn_durable")
        wait_until(lambda: self.files.get("lsn_durable") > before + 300000, seconds, "the durable end moves on")

    def wait_segment(self, name, seconds=40):
        wait_until(lambda: os.path.exists(os.path.join(self.target, name)), seconds, f"segment {name} is complete")

    # ---- the main job -------------------------------------------------------------------------------------------

    def prepare(self):
        self.primary.init(wal_segment_megabytes=1, archive=True, settings={
            "max_wal_size": "64MB", "min_wal_size": "4MB", "wal_sender_timeout": "3s", "checkpoint_timeout": "30s"})
        self.primary.start()
        self.inside = self.start_in()
        self.outside = self.start_out("--json")
        self.inside.wait_line("slot_created", 20)
        self.inside.wait_line("streaming", 20)
        if self.files.get("unit_bytes") != 1 << 20:
            raise Failed("the stream did not get the primary's segment size")
        self.primary.pgbench("-i", "-q", "-s", "1").expect(0, 60)
        self.primary.base_backup(os.path.join(self.primary.root, "backup"))
        first = self.files.get("lsn_first")
        if first == 0 or first % (1 << 20) != 0:
            raise Failed(f"the stream begins at {first:X}, not at a segment")

    def kill_everything_in_turn(self):
        load = self.primary.pgbench("-T", "60", "-c", "2", "-n")
        for _ in range(3):
            self.durable_moves()
            self.outside.kill9()
            self.outside = self.start_out("--json")
            self.durable_moves()
            self.inside.kill9()
            self.inside = self.start_in("--status-interval", "1s")
            self.inside.wait_line("streaming", 20)
        for _ in range(3):
            self.durable_moves()
            seen = len(self.inside.lines)
            self.files.set("generation", self.files.get("generation") + 1)
            self.inside.wait_line("dataplane_back", 20, seen)
            self.inside.wait_line("streaming", 20, seen)
        self.durable_moves()
        self.held_back()
        self.sealed()
        load.kill9()

    def held_back(self):
        """A full log: no WAL is taken, and the walsender must not give up on us (wal_sender_timeout is 3 s)."""
        seen = len(self.inside.lines)
        backend = self.primary.psql("SELECT pid FROM pg_stat_replication")
        self.files.set("full", 1)
        self.inside.wait_line("held_back", 20, seen)
        since = self.primary.query("SELECT extract(epoch FROM clock_timestamp())")
        wait_until(lambda: float(self.primary.query("SELECT extract(epoch FROM clock_timestamp())")) - float(since) > 5,
                   20, "five seconds of back-pressure")
        self.files.set("full", 0)
        self.inside.wait_line("resumed", 20, seen)
        self.durable_moves()
        if self.primary.psql("SELECT pid FROM pg_stat_replication") != backend or \
                self.inside.find("primary_gone", seen):
            raise Failed("back-pressure cost the connection")

    def sealed(self):
        """Its group was sealed and is open again: it does not end, and goes on."""
        seen = len(self.inside.lines)
        self.files.set("deposed", 1)
        self.inside.wait_line("held_back", 20, seen)
        self.inside.wait_line("resumed", 20, seen)
        self.durable_moves()

    def primary_goes_away(self):
        """A clean shutdown ends although nothing but the local log has the WAL; then a crash."""
        seen = len(self.inside.lines)
        self.primary.stop("fast", 20)
        self.inside.wait_line("primary_gone", 10, seen)
        self.primary.start()
        self.inside.wait_line("streaming", 20, seen)
        self.primary.psql("CREATE TABLE after_stop AS SELECT generate_series(1, 10000) n")
        seen = len(self.inside.lines)
        self.primary.kill9()
        self.inside.wait_line("primary_gone", 10, seen)
        self.primary.start()
        self.inside.wait_line("streaming", 20, seen)
        self.primary.psql("CREATE TABLE after_crash AS SELECT generate_series(1, 10000) n")

    def reports(self):
        """write = flush = apply = durable in the local log, and the slot holds no more than that."""
        end = lsn(self.primary.query("SELECT pg_current_wal_flush_lsn()"))

        def reported():
            row = self.primary.query("SELECT write_lsn, flush_lsn, replay_lsn, restart_lsn FROM pg_stat_replication r "
                                    "JOIN pg_replication_slots s ON s.active_pid = r.pid")
            places = [lsn(word) for word in row.split("|")] if row else [0]
            return min(places) >= end and len(set(places)) == 1

        wait_until(reported, 20, "the primary hears that everything is durable")

    def compare(self):
        sums = self.primary.sums()
        last = self.primary.switch_wal()
        self.wait_segment(last)
        wait_until(lambda: os.path.exists(os.path.join(self.primary.archive, last)), 30, "the archive has it too")
        names = sorted(name for name in os.listdir(self.target) if len(name) == 24)
        archived = sorted(name for name in os.listdir(self.primary.archive) if len(name) == 24)
        if archived[archived.index(names[0]):archived.index(last) + 1] != names[:names.index(last) + 1]:
            raise Failed(f"segments {names[0]}..{last} are not the archived ones")
        for name in names[:names.index(last) + 1]:
            with open(os.path.join(self.target, name), "rb") as ours, \
                    open(os.path.join(self.primary.archive, name), "rb") as theirs:
                if ours.read() != theirs.read():
                    raise Failed(f"segment {name} differs from the archived one")
        print(f"{len(names)} segments, each the same as the archived one")
        return sums, last

    def restore(self, sums):
        copied = self.scratch.directory("restore", self.primary.user)
        subprocess.run(f"cp {self.target}/* {copied}/ && chmod a+r {copied}/*", shell=True, check=True)
        other = self.primary.restored("restored", os.path.join(self.primary.root, "backup"), f"cp {copied}/%f %p")
        other.start(60)
        wait_until(lambda: other.psql("SELECT pg_is_in_recovery()", check=False) == "f", 30, "the restore opens")
        if other.sums() != sums:
            raise Failed("the restored tables differ")
        other.stop("immediate")
        print(f"restored: {len(sums)} tables are the same")

    # ---- refusals -----------------------------------------------------------------------------------------------

    def out_refusals(self):
        other = self.start_out()
        other.expect(8, 10)
        other.wait_line("locked: another helio-postgres writes into", 1)
        other = self.start_out(target=os.path.join(self.scratch.path, "absent"))
        other.expect(8, 10)
        other.wait_line("directory: can't open directory .*absent: No such file", 1)
        if self.outside.terminate() != 0:
            raise Failed("out did not end with 0 on SIGTERM")
        other = self.start_out("--wal-segment-size", "16MB")
        other.expect(3, 10)
        other.wait_line("other_segment_size", 1)

    def out_foreign_bytes(self, last):
        """A complete segment that isn't acknowledged yet is compared: same bytes are kept, others refused."""
        path = os.path.join(self.target, last)
        self.files.set("lsn_acknowledged", self.files.get("lsn_acknowledged") - (3 << 20))
        other = self.start_out()
        other.wait_line("was there, same bytes", 10)
        other.kill9()
        self.files.set("lsn_acknowledged", self.files.get("lsn_first"))
        with open(path, "r+b") as segment:
            segment.seek(4711)
            byte = segment.read(1)[0]
            segment.seek(4711)
            segment.write(bytes([byte ^ 1]))
        other = self.start_out()
        other.expect(6, 20)
        other.wait_line(f"segment_different: .*{last} differs from the stream", 1)

    def out_disk_full(self):
        small = self.scratch.directory("small")
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2560k", "tmpfs", small],
                                               capture_output=True).returncode != 0:
            print("not shown here: a full disk (needs root to mount a small one)")
            return
        try:
            self.files.set("lsn_acknowledged", self.files.get("lsn_first"))
            other = self.start_out(target=small)
            other.wait_line("disk_full: can't .*No space left", 20)
            held = self.files.get("lsn_acknowledged")
            if held > self.files.get("lsn_first") + (2 << 20):
                raise Failed("acknowledged more than fits on the disk")
            subprocess.run(["mount", "-o", "remount,size=16m", small], check=True)
            other.wait_line("disk_room", 20)
            wait_until(lambda: self.files.get("lsn_acknowledged") > held + (2 << 20), 20, "it goes on")
            if other.terminate() != 0:
                raise Failed("out did not end with 0")
        finally:
            other.kill9()
            subprocess.run(["umount", small], check=True)

    def in_refusals(self):
        other = Postgres(self.scratch, "other")
        other.init(own_identifier=True, wal_segment_megabytes=1, settings={"wal_level": "logical"})
        other.start()
        seen = self.start_in(primary=other)
        seen.expect(3, 20)
        seen.wait_line("other_system: .*Nothing was touched", 1)
        slots = other.psql("SELECT count(*) FROM pg_replication_slots")
        if slots != "0":
            raise Failed("a slot was made on the wrong primary")
        fresh = Files(self.scratch, "fresh")
        other.psql("SELECT pg_create_logical_replication_slot('logical_one', 'pgoutput')")
        seen = self.start_in(primary=other, files=fresh, slot="logical_one")
        seen.expect(7, 20)
        seen.wait_line("slot_not_physical", 1)
        other.psql("CREATE ROLE mere LOGIN")
        mere = Process(self.scratch, "mere", [self.program, "in", "--run", fresh.path, "--stream", "pg", "--primary",
                                              other.conninfo(user="mere"), "--slot", "helio", "--json"])
        mere.wait_line('"event":"primary_gone".*replication', 10)
        mere.terminate()
        other.stop("immediate")
        for arguments in (["in"], ["sideways"], ["in", "--run", "x", "--stream", "y", "--primary", "nonsense=1",
                                                 "--slot", "s"],
                          ["in", "--run", "x", "--stream", "y", "--primary", "host=a", "--slot", "Bad-Name"]):
            Process(self.scratch, "usage", [self.program, *arguments]).expect(2, 5)
        Process(self.scratch, "usage", [self.program, "--help"]).expect(0, 5)

    def in_wal_removed(self):
        self.inside.terminate()
        self.primary.psql("SELECT pg_drop_replication_slot('helio')")
        before = self.files.get("lsn_durable")

        def removed():
            self.primary.psql("CREATE TABLE gone AS SELECT generate_series(1, 30000) n; DROP TABLE gone; "
                              "SELECT pg_switch_wal(); CHECKPOINT")
            oldest = self.primary.psql("SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'")
            return int(oldest[8:16], 16) << 32 | int(oldest[16:], 16) << 20 > before

        self.primary.configure({"max_wal_size": "2MB", "min_wal_size": "2MB", "wal_keep_size": "0"})
        self.primary.psql("SELECT pg_reload_conf()")
        wait_until(removed, 40, "the primary recycles the WAL that comes next")
        other = self.start_in()
        other.expect(5, 20)
        other.wait_line('wal_removed: the primary no longer has WAL from .*Slot "helio"', 1)
        if self.files.get("lsn_durable") != before:
            raise Failed("a refusal changed the stream")

    def in_timeline(self):
        fresh = Files(self.scratch, "timeline")
        inside = self.start_in(files=fresh, slot="timeline")
        wait_until(lambda: fresh.get("lsn_durable") > 0, 20, "the new stream begins")
        seen = len(inside.lines)
        self.primary.stop("fast")
        kept = fresh.get("lsn_durable")
        with open(os.path.join(self.primary.data, "standby.signal"), "w", encoding="utf-8"):
            pass
        self.primary.configure({"restore_command": "'false'"})
        self.primary.start()
        inside.wait_line("streaming", 20, seen)
        self.primary.psql("SELECT pg_promote()")
        inside.expect(4, 20)
        inside.wait_line("timeline_switch: timeline switch: this version keeps timeline 1 up to", 1)
        inside = self.start_in(files=fresh, slot="timeline")
        inside.expect(4, 20)
        inside.wait_line("timeline_switch: timeline switch: this version keeps timeline 1 up to .* is on timeline 2", 1)
        if fresh.get("lsn_durable") < kept:
            raise Failed("the timeline switch lost something")


def main():
    if find_postgres() is None:
        skip("no PostgreSQL server is installed")
    with Scratch("helio-pg-") as scratch:
        test = Test(scratch, os.path.abspath(sys.argv[1]))
        test.prepare()
        test.kill_everything_in_turn()
        test.primary_goes_away()
        test.reports()
        sums, last = test.compare()
        test.restore(sums)
        test.out_refusals()
        test.out_foreign_bytes(last)
        test.out_disk_full()
        test.in_refusals()
        test.in_wal_removed()
        test.in_timeline()
        print("ok")


if __name__ == "__main__":
    main()
