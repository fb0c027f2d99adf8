#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong when people set this up, one case after the other: each must name the thing and the remedy, end with
the documented code or a counted event, and lose nothing. `bad_input.py NAME...` runs only these cases."""
import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading

from cluster import Failed, Postgres, Process, Scratch, wait_until
from flow import SLOT, STREAM, Flow, say
from log_image import BLOCK_BYTES, RING_WRITES, flip, writes_of
from regions import Pair, Region, program, write

STREAM_LINES = "stream add orders id 1 kind postgres-physical region 1\nconsumer add segments stream orders\n"


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
            hashlib.sha256(file.read()).hexdigest()


def run(*words, seconds=20):
    done = subprocess.run([program(words[0]), *[str(word) for word in words[1:]]], capture_output=True, text=True,
                          timeout=seconds)
    return done.returncode, done.stdout + done.stderr


def must(code, patterns, *words):
    """Runs a program to its end: exit code and every pattern in what it says."""
    got, text = run(*words)
    missing = [pattern for pattern in patterns if not re.search(pattern, text)]
    if got != code or missing:
        raise Failed(f"{' '.join(map(str, words))}: exit {got}, not {code}, without {missing}: {text}")


@contextlib.contextmanager
def small_disk(path, size):
    """A tmpfs of that size at `path`; None when we may not mount one."""
    os.makedirs(path, exist_ok=True)
    mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
                                                   capture_output=True).returncode == 0
    try:
        yield path if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", path], check=True)


class Test:
    def __init__(self, scratch):
        self.scratch = scratch
        self.skipped = []

    def node(self, name, lines=STREAM_LINES, **more):
        return Region(self.scratch, name, 1, lines, log_size="64m", **more)

    # ---- programs and files -------------------------------------------------------------------------------------

    def usage(self):
        must(2, ["--run DIR is missing", "Example"], "helio-dataplane")
        must(2, ["--mem x: give megabytes"], "helio-dataplane", "--run", "/tmp", "--mem", "x")
        must(2, ["helio-wan"], "helio-wan")
        must(2, ["usage|--run"], "helio-controlplane")
        must(2, ["shwo"], "helioctl", "shwo", "peers")
        must(2, ["3 MiB or larger|at least"], "helio-log", "create", self.scratch.path + "/tiny", "--size", "1m")
        nowhere = self.scratch.path + "/nowhere"
        node = self.node("usage")
        must(1, [nowhere, "does the directory exist"], "helio-dataplane", "--run", nowhere)
        must(1, [nowhere], "helio-controlplane", "--run", nowhere, "--config", node.config)
        must(1, [nowhere + "/x.conf.*No such file"], "helio-controlplane", "--run", node.run, "--config",
             nowhere + "/x.conf")
        must(1, [nowhere, "No such file"], "helio-log", "create", nowhere + "/log", "--size", "64m")
        must(1, [node.log, "exists"], "helio-log", "create", node.log, "--size", "64m")
        must(8, ["can't open directory " + nowhere, "Make it"], "helio-postgres", "out", "--run", node.run, "--stream",
             STREAM, "--consumer", "c", "--directory", nowhere)
        must(3, [node.run + "/control.sock", "start helio-controlplane"], "helioctl", "--run", node.run, "show", "all")

    def strange_options(self):
        """Empty, too long, out of range, of the wrong kind; each names what it is about. And nothing is left behind."""
        folder = self.scratch.directory("strange")
        node = self.node("strange-node")
        file = write(os.path.join(folder, "file"), "")
        full = os.path.join(folder, "d" * 150)
        os.mkdir(full)
        before = sorted(os.listdir(folder))
        must(2, ["--run DIR is missing"], "helio-dataplane", "--run", "")
        must(1, ["longer than 80 bytes"], "helio-dataplane", "--run", full)
        must(1, ["this machine has \\d+ MB"], "helio-dataplane", "--run", folder, "--mem", 1000000)
        must(1, [file], "helio-dataplane", "--run", file)
        must(2, ["--config FILE is missing"], "helio-controlplane")
        must(2, ["--run DIR is missing"], "helio-controlplane", "--config", node.config)
        must(2, ["--json goes with --check"], "helio-controlplane", "--run", folder, "--config", node.config, "--json")
        must(1, [folder + ": can't be read: Is a directory"], "helio-controlplane", "--check", "--config", folder)
        must(1, [file + ": .*not a directory"], "helio-controlplane", "--run", file, "--config", node.config)
        must(3, ['"code": 3', "start helio-controlplane"], "helioctl", "--run", folder, "--json", "show", "all")
        must(1, [folder + ":1:1: can't be read: Is a directory"], "helio-wan", "--check", "--config", folder)
        must(2, ["--run DIR is missing"], "helio-wan", "--run", "", "--config", file)
        must(1, ["--lcore 1023: give a CPU"], "helio-wan", "--run", folder, "--config", file, "--lcore", 1023)
        must(2, ["--dry-run goes with --command"], "helio-wan", "--run", folder, "--config", file, "--dry-run")
        for left in ("wan.lock", "helio-wan-eal.log", "dpdk"):
            subprocess.run(["rm", "-rf", os.path.join(folder, left)], check=True)
        if sorted(os.listdir(folder)) != before:
            raise Failed(f"left behind: {set(os.listdir(folder)) - set(before)}")

    def strange_logs(self):
        folder = self.scratch.directory("strange-logs")
        path = os.path.join(folder, "log-0")
        must(2, ["create, grow, dump, verify, stat, repair or accept-loss.* Not sideways"], "helio-log", "sideways")
        must(2, ["wants the path of the log"], "helio-log", "create", "--size", "64m")
        must(2, ["wants --size"], "helio-log", "create", path)
        must(2, ["wants a number from 1 on, got '64m'"], "helio-log", "create", path, "--size", "64m", "--cluster",
             "64m")
        for size in ("-5m", "64x", "0", "99999999999999999999", "64mm"):
            must(2, [f"wants a size such as 64m or 4g, got '{size}'"], "helio-log", "create", path, "--size", size)
        must(2, ["a segment must be a multiple of 4096"], "helio-log", "create", path, "--size", "64m",
             "--segment-bytes", 1000)
        must(2, ["make them 3 MiB or larger"], "helio-log", "create", path, "--size", "64m", "--segment-bytes", "1m")
        must(1, [folder + ": it is a directory: name a file in it"], "helio-log", "create", folder, "--size", "64m")
        must(1, ["free some or make the log smaller"], "helio-log", "create", path, "--size", "500t")
        must(0, [f"would create {path}: 61 MiB"], "helio-log", "create", path, "--size", "64m", "--dry-run")
        must(1, ["does the directory exist"], "helio-log", "create", folder + "/no/log", "--size", "64m", "--dry-run")
        if os.listdir(folder):
            raise Failed(f"a refusal or a dry run made {os.listdir(folder)}")
        must(0, ['"created": true'], "helio-log", "create", path, "--size", "64m", "--json")
        must(1, ["it exists; it is left as it is"], "helio-log", "create", path, "--size", "64m", "--dry-run")
        for line in run("helio-log", "dump", path, "--json")[1].splitlines():
            json.loads(line)
        short = write(folder + "/short", "x")
        for command in ("dump", "verify", "stat"):
            must(1, [] if command == "stat" else ["no two superblock copies agree: not a log"], "helio-log", command,
                 short)
            must(3, ["Is a directory"], "helio-log", command, folder)
            must(3, [folder + "/no: No such file"], "helio-log", command, folder + "/no")
            must(2, [command + " wants the path"], "helio-log", command)
            must(2, [command + " doesn't know what '--size' is for"], "helio-log", command, "--size", "1", path)
        must(0, [path + ": fine; a start opens it"], "helio-log", "verify", path)
        if json.loads(run("helio-log", "verify", path, "--json")[1])["verdict"] != "fine":
            raise Failed("a new log is fine")
        stat = json.loads(run("helio-log", "stat", path, "--json")[1])
        if (stat["streams"], stat["segments_used"]) != ([], 1):
            raise Failed(f"a new log has no streams: {stat}")

    def strange_postgres(self):
        folder = self.scratch.directory("strange-postgres")
        common = ("--run", folder, "--stream", STREAM)
        for conninfo, words in (("sslmode=bogus", "sslmode=bogus is none"), ("port=99999", "port=99999 is none"),
                                ("port=5432,x", "port=5432,x is none"), ("x", 'missing "=" after "x"')):
            must(2, [words], "helio-postgres", "in", *common, "--primary", conninfo, "--slot", "s")
        must(2, ["--stream .*1 to 31 printable bytes"], "helio-postgres", "in", "--run", folder, "--stream", "x" * 32,
             "--primary", "host=a", "--slot", "s")
        must(2, ["--consumer .*1 to 31 printable bytes"], "helio-postgres", "out", *common, "--directory", folder,
             "--consumer", "a b")
        file = write(os.path.join(folder, "file"), "")
        must(8, [file + ": Not a directory.*writ"], "helio-postgres", "out", *common, "--directory", file, "--consumer",
             "c")
        os.mkdir(os.path.join(folder, "helio-postgres.lock"))
        must(8, ["lock file helio-postgres.lock in directory .*Is a directory"], "helio-postgres", "out", *common,
             "--directory", folder, "--consumer", "c")

    def strange_files(self):
        """What lies where a socket or a lock should be is named and left alone."""
        node = self.node("strange-files")
        path = os.path.join(node.run, "control.sock")
        write(path, "mine")
        must(1, [path + ": .*it is no socket; move it away"], "helio-controlplane", "--run", node.run, "--config",
             node.config)
        if open(path, encoding="utf-8").read() != "mine":
            raise Failed("a file that is not ours was changed")
        os.unlink(path)
        lock = os.path.join(node.run, "control.lock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)
        os.mkdir(lock)
        must(1, [lock + ": Is a directory"], "helio-controlplane", "--run", node.run, "--config", node.config)
        os.rmdir(lock)
        config = write(os.path.join(node.run, "wan.conf"),
                       "port add d memif socket /nowhere/x.sock id 0 mac 02:00:00:00:00:0e\n")
        must(1, ["there is no directory /nowhere; create it"], "helio-wan", "--run", node.run, "--config", config)

    def silent_control(self):
        """Who is at control.sock hangs up without a word: helioctl says so, in JSON too, and what that leaves open."""
        run_dir = self.scratch.directory("silent")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.join(run_dir, "control.sock"))
            server.listen()
            hangs_up = threading.Thread(target=lambda: server.accept()[0].close())
            hangs_up.start()
            done = subprocess.run([program("helioctl"), "--run", run_dir, "--json", "set", "peer", "b", "rate", "1m"],
                                  capture_output=True, text=True, timeout=20)
            hangs_up.join()
        told = json.loads(done.stdout or "{}")
        if done.returncode != 3 or told.get("code") != 3 or "gave no answer" not in told.get("error", "") \
                or "may have been done" not in done.stderr:
            raise Failed(f"of a control plane that hangs up: exit {done.returncode}, {told}, {done.stderr}")

    def config_errors(self):
        """All of them at once, each at its place; nothing is applied."""
        run_dir = self.scratch.directory("config")
        key = write(os.path.join(run_dir, "open.key"), "ab" * 32 + "\n", 0o644)
        config = write(os.path.join(run_dir, "bad.conf"),
                       "node set a id 1 region 1 cluster 7\n"
                       f"port add p memif socket {run_dir}/w.sock id 0 mac 02:00:00:00:00:0a adress 10.0.0.1/24\n"
                       f"port add q memif socket {run_dir}/q.sock id 0 mac 02:00:00:00:00:0b address 10.0.0.1/24\n"
                       f"peer add b node 2 region 2 address 10.0.0.2 mac 02:00:00:00:00:0c port q key {key}\n"
                       "log add 0 path /nowhere/log-0\n"
                       "stream add orders id 1 kind postgres-fysical region 1\n")
        patterns = [f"{config}:2:\\d+: .*adress", f"{config}:4:\\d+: .*open.key has mode 0644.*chmod 0600",
                    f"{config}:5:\\d+: .*/nowhere", f"{config}:6:\\d+: .*postgres-physical.*fysical"]
        must(1, patterns, "helio-controlplane", "--check", "--config", config)
        must(1, patterns + ["nothing was applied"], "helio-controlplane", "--run", run_dir, "--config", config)

    def one_of_each(self):
        """Two dataplanes or control planes on one directory, two on one log; helioctl without a dataplane."""
        node = self.node("twice")
        node.start()
        node.wait_ready(20)
        must(1, ["another dataplane runs in " + node.run], "helio-dataplane", "--run", node.run)
        must(1, [node.run], "helio-controlplane", "--run", node.run, "--config", node.config)
        other = self.node("twice-other", log=False)
        write(other.config, open(node.config, encoding="utf-8").read())
        other.start()
        other.controlplane.wait_line(f"config_refused.*{node.log} as a log: another process uses it", 20)
        if not node.dataplane.alive() or node.show() is None:
            raise Failed("the first owner of the log suffered")
        node.kill_dataplane()
        other.controlplane.wait_line("config_applied", 20)
        answer = node.ctl("show", "all")
        if answer["code"] != 4 or not answer.get("dataplane"):
            raise Failed(f"helioctl without a dataplane is exit code 4: {answer}")
        must(4, ["dataplane does not run"], "helioctl", "--run", node.run, "show", "streams")
        if node.ctl("set", "peer", "b", "rate", "1g")["code"] not in (1, 2, 4):
            raise Failed("a change without a dataplane must fail")
        for region in (node, other):
            region.controlplane.terminate()
        other.dataplane.terminate()

    # ---- logs ---------------------------------------------------------------------------------------------------

    def log_missing(self):
        """Made later, it is opened without restarting anything."""
        node = self.node("missing", log=False)
        node.start()
        node.controlplane.wait_line(f"config_refused.*{node.log}.*helio-log create.*tried again", 20)
        seen = [line for line in node.controlplane.lines if "config_refused" in line]
        node.create_log("64m")
        node.wait_ready(20)
        node.controlplane.wait_line("config_applied", 20)
        if len([line for line in node.controlplane.lines if "config_refused" in line]) > len(seen):
            raise Failed("the same refusal is said once")
        node.dataplane.terminate()
        node.controlplane.terminate()

    def log_unusable(self):
        """Truncated, of another cluster, its superblocks damaged: refused by name, and left as it is."""
        def damage_all(path):
            with open(path, "r+b") as file:
                for copy in range(4):
                    file.seek(4096 * copy)
                    file.write(os.urandom(4096))

        cases = {"truncated": (7, lambda path: os.truncate(path, os.path.getsize(path) // 2 // 4096 * 4096),
                               "was cut short"),
                 "cluster": (8, lambda path: None, "belongs to cluster 8, this node to 7"),
                 "superblocks": (7, damage_all, "no two copies of its superblock agree")}
        for name, (cluster, harm, words) in cases.items():
            node = self.node(f"log-{name}", log=False)
            node.create_log("64m", cluster)
            harm(node.log)
            before = digest(node.log)
            node.start()
            node.dataplane.expect(4, 20)
            node.dataplane.wait_line(f"{node.log}: .*{words}", 1)
            node.controlplane.wait_line(f"log_unusable .*{words}", 10)
            node.controlplane.terminate()
            if digest(node.log) != before:
                raise Failed(f"a {name} log was changed")
        node = self.node("log-empty", log=False)
        write(node.log, "")
        node.start()
        refused = f"config_refused.*{node.log} as a log: it is empty; create it with helio-log create"
        node.controlplane.wait_line(refused, 20)
        node.dataplane.terminate()
        node.controlplane.terminate()
        node = self.node("log-one-copy")
        with open(node.log, "r+b") as file:
            file.write(os.urandom(4096))
        node.start()
        node.wait_ready(20)
        node.dataplane.terminate()
        node.controlplane.terminate()

    def log_on_full_disk(self):
        with small_disk(os.path.join(self.scratch.path, "full"), "16m") as path:
            if path is None:
                self.skipped.append("a log on a full disk (needs root to mount a small one)")
                return
            must(1, [path, "free some"], "helio-log", "create", path + "/log-0", "--size", "64m")
            if os.listdir(path):
                raise Failed("a log that did not fit was left behind")

    def full_run_directory(self):
        """No room for node.state: said by name, everything works, and a start without it waits for the control plane.
        With room again it is written at the next start."""
        with small_disk(os.path.join(self.scratch.path, "full-run"), "1m") as path:
            if path is None:
                self.skipped.append("a full run directory (needs root to mount a small one)")
                return
            node = Region(self.scratch, "full-run", 1, STREAM_LINES, log=False)
            text = open(node.config, encoding="utf-8").read()
            log = os.path.join(self.scratch.directory("full-run-log"), "log-0")
            write(node.config, text.replace(node.log, log))
            node.log = log
            node.create_log("64m")
            filler = os.path.join(path, "filler")
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(BLOCK_BYTES))
            node.start()
            node.controlplane.wait_line("warning node_state .*can't be written", 30)
            wait_until(lambda: (node.stream(STREAM) or {}).get("state") == "open", 20, "the stream is open")
            node.dataplane.kill9()
            node.controlplane.kill9()
            node.start()
            wait_until(lambda: (node.stream(STREAM) or {}).get("state") == "open", 30, "the stream is open again")
            os.unlink(filler)
            node.dataplane.kill9()
            node.start_dataplane()
            wait_until(lambda: os.path.exists(os.path.join(path, "node.state")), 20, "node.state is there")
            node.wait_ready(20)
            self.log_settings(node, os.path.join(path, "node.state"))
            for process in (node.dataplane, node.controlplane):
                process.terminate()

    def log_settings(self, node, state):
        """What the file says of a log in use holds from the next start, though that begins by itself."""
        def read():
            with open(state, "rb") as file:
                return file.read()

        before, flush = read(), node.show()["log"][0]["flush"]
        other = "group" if flush == "dsync" else "dsync"
        text = open(node.config, encoding="utf-8").read()
        write(node.config, text.replace(node.log, f"{node.log} flush {other}"))
        node.controlplane.kill9()
        node.start_controlplane()
        wait_until(lambda: read() != before, 20, "node.state has what is wanted now")
        if node.show()["log"][0]["flush"] != flush:
            raise Failed(f"a log in use is flushed in another way: {node.show()['log'][0]}")
        node.dataplane.kill9()
        node.start_dataplane()
        wait_until(lambda: [log["flush"] for log in (node.show() or {"log": []})["log"]] == [other], 30,
                   f"the log is flushed by {other}")
        node.wait_ready(20)

    # ---- ports and keys -----------------------------------------------------------------------------------------

    def ports(self):
        """A card that isn't there is refused by name, and the rest works; a memif without its server is just down."""
        node = self.node("port-pci", "port add wan0 pci 0000:99:00.0 address 10.0.0.1/24\n" + STREAM_LINES)
        node.start()
        node.controlplane.wait_line("config_refused.*wan0.*0000:99:00.0", 30)
        node.wait_ready(20)
        port = node.show()["ports"][0]
        if port["state"] != "closed" or "0000:99:00.0" not in port["problem"]:
            raise Failed(f"show ports must say why: {port}")
        if (node.stream(STREAM) or {}).get("state") != "open":
            raise Failed("a port that can't be opened keeps the streams from being open")
        node.dataplane.terminate()
        node.controlplane.terminate()
        run_dir = self.scratch.directory("port-memif")
        node = self.node("port-memif", f"port add wan0 memif socket {run_dir}/nobody.sock id 0 mac 02:00:00:00:00:0a "
                                       "address 10.0.0.1/24\n" + STREAM_LINES)
        node.start()
        node.controlplane.wait_line("config_applied", 30)

        def down():  # the first pages of a dataplane may not have it yet
            return [port for port in (node.show() or {}).get("ports") or [] if port["state"] == "down"]
        port = wait_until(down, 20, "a memif port without its other end to be shown as down")[0]
        if "nobody.sock" not in port["problem"]:
            raise Failed(f"a memif port without its other end gives its reason: {port}")
        node.dataplane.terminate()
        node.controlplane.terminate()

    def wrong_key(self, pair):
        """Region B has another key: nobody is up, both sides count it; corrected, everything flows."""
        key = re.search(r"key (\S+)", open(pair.b.config, encoding="utf-8").read()).group(1)
        wrong = write(os.path.join(pair.b.run, "wrong.key"), "cd" * 32 + "\n", 0o600)
        right = open(pair.b.config, encoding="utf-8").read()
        write(pair.b.config, right.replace(key, wrong))
        pair.start()

        def counted(region):
            drops = (region.show() or {"drops": []})["drops"]
            return any(drop["name"] == "drop_mac" and drop["count"] > 0 for drop in drops)

        for region, other in ((pair.a, "b"), (pair.b, "a")):
            wait_until(lambda: counted(region), 30, f"{region.name} counts drop_mac")
            if region.peer(other)["state"] != "handshake":
                raise Failed(f"with a wrong key the peer stays in handshake: {region.peer(other)}")
            must(0, ["drop_mac"], "helioctl", "--run", region.run, "show", "drops")
        pair.b.controlplane.terminate()
        pair.b.dataplane.terminate()
        write(pair.b.config, right)
        pair.b.start()
        pair.a.wait_up("b", 30)
        pair.b.wait_up("a", 30)

    # ---- a stream and its ends ----------------------------------------------------------------------------------

    def stream_not_here(self, pair, flow):
        """B does not know the stream: it says so and A keeps the WAL; told of it, B gets everything."""
        full = open(pair.b.config, encoding="utf-8").read()
        bare = "".join(line for line in full.splitlines(True) if not line.startswith(("stream", "consumer")))
        pair.b.controlplane.terminate()
        pair.b.dataplane.terminate()
        write(pair.b.config, bare)
        pair.b.start()
        flow.primary.start()
        flow.start_in()
        flow.writer.wait_line("streaming", 40)
        flow.primary.pgbench("-i", "-q", "-s", 1).expect(0, 60)
        flow.durable_moves()
        pair.b.controlplane.wait_line("stream_not_here.*id 1", 20)
        pair.a.controlplane.wait_line("stream_refused .*is it configured there", 20)
        pair.b.controlplane.terminate()
        write(pair.b.config, full)
        pair.b.start_controlplane()
        flow.durable_moves(40, pair.b)

    def full_directory(self, flow):
        """The directory of `out` fills up, is told by name, and goes on after room is made."""
        with small_disk(flow.out, "3m") as path:
            if path is None:
                self.skipped.append("a full directory of out (needs root to mount a small one)")
                return
            flow.start_out()
            flow.load_start()
            flow.wal_write(4 << 20)
            flow.reader.wait_line("disk_full: can't .*No space left", 40)
            flow.wal_write(2 << 20)
            flow.slot_follows()
            subprocess.run(["mount", "-o", "remount,size=512m", path], check=True)
            flow.reader.wait_line("disk_room", 20)
            flow.finish(segments_min=4)
            if flow.reader.terminate() != 0:
                raise Failed("out did not end with 0")
            kept = flow.segments()
            copies = self.scratch.directory("kept")
            subprocess.run(["cp", "-r", path + "/.", copies], check=True)
        subprocess.run(["cp", "-r", copies + "/.", flow.out], check=True)
        if flow.segments() != kept:
            raise Failed("segments went missing when the disk was changed")

    def primary_goes_away(self, flow):
        flow.start_out()
        for stop in (lambda: flow.primary.stop("fast", 20), flow.primary.kill9):
            seen = len(flow.writer.lines)
            stop()
            flow.writer.wait_line("primary_gone", 20, seen)
            flow.primary.start()
            flow.writer.wait_line("streaming", 30, seen)
            flow.load_start()
            flow.wal_grows(1 << 20)
            flow.load_stop()
            flow.durable_moves()

    def other_system(self, pair, flow):
        """A second cluster into the same stream: refused before anything on it is touched; the first goes on."""
        other = Postgres(self.scratch, "other")
        other.init(own_identifier=True, wal_segment_megabytes=1)
        other.start()
        before = pair.a.stream(STREAM)["system_identifier"]
        flow.writer.terminate()
        intruder = pair.a.postgres_in(STREAM, other.conninfo(), SLOT)
        intruder.expect(3, 20)
        intruder.wait_line("other_system: .*Nothing was touched", 1)
        if other.psql("SELECT count(*) FROM pg_replication_slots") != "0":
            raise Failed("a slot was made on the wrong primary")
        if pair.a.stream(STREAM)["system_identifier"] != before:
            raise Failed("the stream changed its owner")
        flow.start_in()
        flow.writer.wait_line("streaming", 20)
        flow.finish(segments_min=4)
        other.stop("immediate")

    def tampered(self, pair, flow):
        """One byte of a durable write, in a batch's header, so that it isn't known what the write had, whoever has it:
        named, exit 4, nothing is changed until its loss is accepted."""
        flow.load_start()
        wait_until(lambda: self.writes(pair.a.log) > 2 * RING_WRITES, 60, "the ring has no copy of the oldest headers")
        flow.load_stop()
        pair.a.controlplane.terminate()
        pair.a.dataplane.terminate()
        sequence, begin, offset = self.middle_write(pair.a.log)
        must(0, ["fine; a start opens it"], "helio-log", "verify", pair.a.log)
        # A superblock copy; a header so old that the ring has no copy of it.
        worn = ["worn: superblock 1, byte 4096 of the file", "worn; a start opens it"]
        damaged = [f"damaged: write {sequence}, .*byte {begin} of the file", "entries before it are lost; stream 1 lsn"]
        for place, code, words in ((4096 + 60, 4, worn), (begin + 33, 1, damaged)):
            flip(pair.a.log, place)
            must(code, words, "helio-log", "verify", pair.a.log)
            flip(pair.a.log, place)
        flip(pair.a.log, offset)
        before = digest(pair.a.log)
        must(1, [f"damaged: write {sequence}, .*byte {begin} of the file.*was durable and is corrupt; payload blocks",
                 "damaged; a start refuses it as corrupt, exit 4"], "helio-log", "verify", pair.a.log)
        for _ in range(2):
            pair.a.start_dataplane()
            pair.a.dataplane.expect(4, 30)
            pair.a.dataplane.wait_line(f"{pair.a.log}: .*write of sequence {sequence} at byte {begin} of the file was "
                                       "durable and is corrupt", 1)
        if digest(pair.a.log) != before:
            raise Failed("a tampered log was changed")
        self.repaired(pair, sequence, offset)
        sequence, _, offset = self.middle_write(pair.a.log)
        flip(pair.a.log, offset)
        self.loss_accepted(pair.a.log, sequence, offset)
        pair.a.start()
        pair.a.controlplane.wait_line("stream .* lost .* with a write whose loss was accepted", 30)
        flow.load_start()
        flow.wal_grows(2 << 20)
        flow.finish()

    @staticmethod
    def repaired(pair, sequence, offset):
        """From the other region's log, which is in use there: a new place, and nothing of it in the old one."""
        repair = ["helio-log", "repair", pair.a.log, "--from", pair.b.log]
        before = digest(pair.a.log)
        must(1, ["nothing was changed: entries .* of stream 1 are in none of the logs given"], *repair[:4], pair.a.log)
        must(0, [f"write {sequence} can be repaired: .*from the other logs; every byte is as it was"], *repair,
             "--dry-run")
        if digest(pair.a.log) != before:
            raise Failed("a log was changed by what was refused or only asked for")
        must(0, [f"write {sequence} is repaired: .*every byte is as it was"], *repair)
        must(0, [f"repaired: write {sequence}, ", "fine; a start opens it"], "helio-log", "verify", pair.a.log)
        must(0, [f"repair 0: writes {sequence} to {sequence} are in write "], "helio-log", "dump", pair.a.log)

    @staticmethod
    def loss_accepted(path, sequence, offset):
        """An operator accepts the loss: refused for what is whole, written down once, named for ever; then it opens."""
        before = digest(path)
        accept = ["helio-log", "accept-loss", path, "--sequence"]
        must(1, ["nothing was accepted or changed: what was named is not damaged"], *accept, str(sequence + 1))
        must(0, [f"the loss of writes {sequence} to {sequence} would be accepted"], *accept, str(sequence), "--dry-run")
        flip(path, offset)
        must(1, ["nothing in it is corrupt, so there is no loss to accept"], *accept, str(sequence))
        flip(path, offset)
        if digest(path) != before:
            raise Failed("a log was changed by what was refused or only asked for")
        must(0, [f"the loss of writes {sequence} to {sequence} is accepted; a start opens it"], *accept, str(sequence))
        must(0, [f"the loss of writes {sequence} to {sequence} was accepted already"], *accept, str(sequence))
        must(0, [f"accepted: write {sequence}, ", "accepted: .*begins anew here.*stream 1 lsn",
                 "accepted losses in the life of this log: 1, of 1 writes", "fine; a start opens it"],
             "helio-log", "verify", path)
        must(0, ["accepted losses in the life of this log: 1, of 1 writes"], "helio-log", "stat", path)
        must(0, [f"accepted loss 0: writes {sequence} to {sequence}"], "helio-log", "dump", path)

    @staticmethod
    def writes(path):
        """How many writes the log has, which may be in use."""
        found = re.search(r"^writes (\d+) to (\d+)", run("helio-log", "verify", path)[1], re.M)
        return int(found[2]) - int(found[1]) + 1 if found else 0

    @staticmethod
    def middle_write(path):
        """(sequence, byte of the file where it begins, byte of the file in its first batch's header) of a write of the
        log."""
        text = run("helio-log", "dump", path)[1]
        found = writes_of(text)
        if len(found) < 10:
            raise Failed(f"the log has but {len(found)} writes")
        lost = re.findall(r"^repair \d+: writes (\d+) to", text, re.M)
        chosen = found[len(found) // (3 if lost else 2)]
        return chosen.sequence, chosen.begin, chosen.begin + BLOCK_BYTES + 50

    def pair_cases(self):
        """Everything that needs two regions, on one pair."""
        pair = Pair(self.scratch, rtt_ms=4, loss_percent=0, log_size="256m")
        self.wrong_key(pair)
        say("wrong_key: ok")
        flow = Flow(self.scratch, pair.a, pair.b)
        for case in (lambda: self.stream_not_here(pair, flow), lambda: self.full_directory(flow),
                     lambda: self.primary_goes_away(flow), lambda: self.other_system(pair, flow),
                     lambda: self.tampered(pair, flow)):
            case()
            say(f"{case.__code__.co_names[0]}: ok")
        flow.primary_stops()

    def run(self, names):
        cases = ("usage", "strange_options", "strange_logs", "strange_postgres", "strange_files", "silent_control",
                 "config_errors", "log_on_full_disk", "full_run_directory", "one_of_each", "log_missing",
                 "log_unusable", "ports", "pair_cases")
        for name in names or cases:
            getattr(self, name)()
            say(f"{name}: ok")
        for text in self.skipped:
            say(f"not shown here: {text}")


def main():
    with Scratch("helio-bad-input-") as scratch:
        Test(scratch).run(sys.argv[1:])
        say("ok")


if __name__ == "__main__":
    main()
