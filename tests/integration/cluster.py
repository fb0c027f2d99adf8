# SPDX-License-Identifier: Apache-2.0
"""Real processes for tests and demos: a PostgreSQL cluster in a directory of its own, and any program with its output
captured. Nothing here sleeps for a fixed time: every wait has a condition and a deadline.

    with Scratch() as scratch:
        primary = Postgres(scratch, "a")
        primary.init(wal_segment_megabytes=1, archive=True)
        primary.start()
        primary.psql("SELECT 1")
        load = primary.pgbench("-T", "10", "-c", "2")
        load.wait(30)

As root the servers run as the user `postgres` (else `nobody`), because PostgreSQL refuses to be root.
"""
import contextlib
import ctypes
import functools
import glob
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SKIPPED = 77
VERSION_MIN = 15
LOOKS_PAUSE_SECONDS = 0.01
# What initdb made, to be copied by the tests after: one for each version and segment size.
NEW_CLUSTERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "postgres-new")


class Failed(Exception):
    """A condition did not come true, or a program did what it should not."""


def die_with_parent():
    """Runs in a child before its program: a test that is killed leaves no servers behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def skip(reason):
    """Ends the test as skipped."""
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def wait_until(condition, seconds, what):
    """Returns the first true value of condition(); Failed after `seconds`. A look that takes long is not repeated at
    once: what is looked at needs the machine too, three times as much of it."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now >= deadline:
            raise Failed(f"not within {seconds} s: {what}")
        threading.Event().wait(max(LOOKS_PAUSE_SECONDS, 3 * (now - began)))


def server_user():
    """The unprivileged user that servers run as, None when we are unprivileged ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Failed("root, but there is neither a user postgres nor nobody")


@functools.lru_cache
def find_postgres():
    """Directory of the newest installed server's programs, of VERSION_MIN or later; None when there is none."""
    found = [os.path.dirname(path) for path in glob.glob("/usr/lib/postgresql/*/bin/initdb")]
    with contextlib.suppress(FileNotFoundError):
        found.append(subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip())
    best = (0, None)
    for directory in found:
        server = os.path.join(directory, "postgres")
        if os.path.exists(server):
            text = subprocess.run([server, "--version"], capture_output=True, text=True).stdout
            version = int(re.search(r"(\d+)", text).group(1))
            best = max(best, (version, directory))
    return best[1] if best[0] >= VERSION_MIN else None


def free_port():
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Scratch:
    """A temporary directory that the servers' user may enter, and everything started below it. On the way out it stops
    what still runs and removes the directory (kept, and named, after a failure)."""

    def __init__(self, prefix="helio-test-"):
        self.path = tempfile.mkdtemp(prefix=prefix)
        os.chmod(self.path, 0o755)
        self.processes = []

    def directory(self, name, user=None):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        if user is not None:
            os.chown(path, user.pw_uid, user.pw_gid)
        return path

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        return self

    def __exit__(self, kind, value, trace):
        for process in reversed(self.processes):
            process.kill9()
        if kind is None or kind is SystemExit:  # skipped, or told to stop
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for process in self.processes:
            print(f"---- {process.name}: last lines", *process.lines[-15:], sep="\n", file=sys.stderr)
        print(f"kept: {self.path}", file=sys.stderr)


class Process:
    """A running program; standard output and error are captured together, line by line, and written to a log."""

    def __init__(self, scratch, name, arguments, user=None, env=None, cwd=None):
        self.name = name
        self.lines = []
        self.log = open(os.path.join(scratch.path, name + ".log"), "a", encoding="utf-8")
        extra = {}
        if user is not None:
            extra = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.child = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, errors="replace", cwd=cwd or scratch.path,
                                      env=None if env is None else {**os.environ, **env},
                                      preexec_fn=die_with_parent, **extra)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        scratch.processes.append(self)

    def _read(self):
        for line in self.child.stdout:
            self.lines.append(line.rstrip("\n"))
            self.log.write(line)
            self.log.flush()

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def wait(self, seconds):
        """Exit code (negative: the signal)."""
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{self.name} still runs after {seconds} s") from late
        self.reader.join(5)
        return code

    def expect(self, code, seconds):
        got = self.wait(seconds)
        if got != code:
            raise Failed(f"{self.name} ended with {got}, not {code}: " + " | ".join(self.lines[-5:]))

    def find(self, pattern, start=0):
        """The first match in a line from `start` on, None when there is none."""
        for line in self.lines[start:]:
            match = re.search(pattern, line)
            if match:
                return match
        return None

    def wait_line(self, pattern, seconds, start=0):
        """Waits for a line that matches; Failed at the deadline, or when the program ends without it."""

        def look():
            match = self.find(pattern, start)
            if match is None and not self.alive():
                self.reader.join(5)
                match = self.find(pattern, start)
                if match is None:
                    raise Failed(f"{self.name} ended ({self.child.returncode}) without a line like {pattern!r}: "
                                 + " | ".join(self.lines[-5:]))
            return match

        return wait_until(look, seconds, f"{self.name} says {pattern!r}")

    def signal(self, number):
        if self.alive():
            self.child.send_signal(number)

    def kill9(self):
        self.signal(signal.SIGKILL)
        self.child.wait()

    def terminate(self, seconds=10):
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)


class Session:
    """A psql that stays connected and is asked one statement after the other."""

    END = "-- answered"

    def __init__(self, postgres):
        extra = {} if postgres.user is None else {"user": postgres.user.pw_uid, "group": postgres.user.pw_gid,
                                                  "extra_groups": []}
        self.name = postgres.name
        self.child = subprocess.Popen([postgres.program("psql"), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d",
                                       postgres.conninfo(dbname="postgres")], stdin=subprocess.PIPE, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=postgres.root,
                                      preexec_fn=die_with_parent, **extra)

    def alive(self):
        return self.child.poll() is None

    def end(self):
        self.child.kill()
        self.child.wait()

    def ask(self, sql):
        """What psql prints; Failed when it ends instead of answering."""
        lines = []
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.write(f"{sql};\n\\echo '{self.END}'\n")
            self.child.stdin.flush()
        for line in self.child.stdout:
            if line.rstrip("\n") == self.END:
                return "".join(lines).strip()
            lines.append(line)
        self.child.wait()
        raise Failed(f"psql of {self.name}: {''.join(lines).strip()}")


class Postgres:
    """One PostgreSQL cluster: data, socket and archive below the scratch directory."""

    def __init__(self, scratch, name, bindir=None, tcp=False):
        self.scratch = scratch
        self.name = name
        self.bindir = bindir or find_postgres()
        if self.bindir is None:
            skip(f"no PostgreSQL server of version {VERSION_MIN} or later is installed")
        self.user = server_user()
        self.root = scratch.directory(name, self.user)
        self.data = os.path.join(self.root, "data")
        self.archive = os.path.join(self.root, "archive")
        self.tcp = tcp
        self.port = free_port() if tcp else 5432
        self.server = None
        self.session = None  # of query()

    def program(self, name):
        return os.path.join(self.bindir, name)

    def run(self, *arguments, seconds=60, check=True):
        """Runs one of PostgreSQL's programs as the servers' user; its standard output."""
        extra = {} if self.user is None else {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        done = subprocess.run([self.program(arguments[0]), *[str(a) for a in arguments[1:]]], capture_output=True,
                              text=True, timeout=seconds, cwd=self.root, **extra)
        if check and done.returncode != 0:
            raise Failed(f"{arguments[0]} of {self.name}: {done.stderr.strip()}")
        return done.stdout.strip()

    def initdb(self, wal_segment_megabytes):
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N",
                 f"--wal-segsize={wal_segment_megabytes}")

    def copy(self, wal_segment_megabytes):
        """initdb, or a copy of what it made for an earlier test: all of these have the same system identifier."""
        version = self.run("postgres", "--version").split()[2]
        made = os.path.join(NEW_CLUSTERS, f"{version}-{wal_segment_megabytes}mb-{os.geteuid()}")
        if not os.path.isdir(made):
            self.initdb(wal_segment_megabytes)
            if os.path.isdir(os.path.dirname(NEW_CLUSTERS)):
                os.makedirs(NEW_CLUSTERS, exist_ok=True)
                subprocess.run(["cp", "-a", self.data, f"{made}.{os.getpid()}"], check=True)
                try:
                    os.rename(f"{made}.{os.getpid()}", made)
                except OSError:  # another test was first
                    shutil.rmtree(f"{made}.{os.getpid()}")
            return
        subprocess.run(["cp", "-a", made, self.data], check=True)

    def init(self, wal_segment_megabytes=16, archive=False, settings=None, own_identifier=False):
        """A new cluster and its postgresql.conf. With `archive` every complete segment is copied into self.archive.
        With `own_identifier` no other cluster has its system identifier."""
        if own_identifier:
            self.initdb(wal_segment_megabytes)
        else:
            self.copy(wal_segment_megabytes)
        words = {"listen_addresses": "'127.0.0.1'" if self.tcp else "''", "port": self.port,
                 "unix_socket_directories": f"'{self.root}'", "max_wal_senders": 10, "max_replication_slots": 10,
                 "wal_level": "replica", "fsync": "on", "log_line_prefix": "'%m [%p] '"}
        if archive:
            os.makedirs(self.archive, exist_ok=True)
            if self.user is not None:
                os.chown(self.archive, self.user.pw_uid, self.user.pw_gid)
            target = f"{self.archive}/%f"
            copy = f"test ! -f {target} && cp %p {target}.tmp && mv {target}.tmp {target}"
            words.update({"archive_mode": "on", "archive_command": f"'{copy}'"})
        words.update(settings or {})
        self.configure(words)

    def configure(self, settings):
        """Appends to postgresql.conf; start, restart or reload makes it count."""
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as conf:
            for key, value in settings.items():
                conf.write(f"{key} = {value}\n")

    def conninfo(self, **more):
        words = {"host": "127.0.0.1" if self.tcp else self.root, "port": self.port, "user": "postgres", **more}
        return " ".join(f"{key}={value}" for key, value in words.items())

    def start(self, seconds=30):
        """Starts the server and waits until it takes commands. After kill9 it tries until the last life's processes are
        gone."""
        self.session_end()
        deadline = time.monotonic() + seconds
        while True:
            self.server = Process(self.scratch, self.name + "-server", [self.program("postgres"), "-D", self.data],
                                  user=self.user)
            wait_until(lambda: not self.server.alive() or self.ready(), max(deadline - time.monotonic(), 0.1),
                       f"server {self.name} is ready")
            if self.server.alive():
                return
            if time.monotonic() >= deadline or not self.server.find("shared memory|lock file"):
                raise Failed(f"server {self.name} did not start: " + " | ".join(self.server.lines[-5:]))

    def ready(self):
        done = subprocess.run([self.program("pg_isready"), "-q", "-d", self.conninfo(dbname="postgres")])
        return done.returncode == 0

    def stop(self, mode="fast", seconds=30):
        """Clean shutdown: a walsender must have sent everything and had it acknowledged. Failed when it doesn't end."""
        self.session_end()
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        self.server.signal(number)
        self.server.wait(seconds)

    def kill9(self):
        self.server.kill9()

    def psql(self, sql, database="postgres", check=True, seconds=60):
        return self.run("psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo(dbname=database),
                        "-c", sql, seconds=seconds, check=check)

    def query(self, sql):
        """psql(), over one connection that stays open: for what is asked again and again."""
        if self.session is None or not self.session.alive():
            self.session = Session(self)
        return self.session.ask(sql)

    def session_end(self):
        if self.session is not None:
            self.session.end()
            self.session = None

    def pgbench(self, *arguments):
        """Starts pgbench; a Process."""
        return Process(self.scratch, self.name + "-pgbench",
                       [self.program("pgbench"), "-h", "127.0.0.1" if self.tcp else self.root, "-p", self.port, "-U",
                        "postgres", *arguments, "postgres"], user=self.user)

    def base_backup(self, target):
        """A plain base backup without WAL, to be restored with segments from elsewhere."""
        self.run("pg_basebackup", "-D", target, "-X", "none", "-c", "fast", "--no-manifest", "-d", self.conninfo())

    def restored(self, name, backup, restore_command, settings=None):
        """A new cluster over a base backup; recovers by restore_command, then opens. start() it."""
        other = Postgres(self.scratch, name, self.bindir, self.tcp)
        shutil.move(backup, other.data)
        open(os.path.join(other.data, "recovery.signal"), "w", encoding="utf-8").close()
        other.configure({"unix_socket_directories": f"'{other.root}'", "port": other.port, "archive_mode": "off",
                         "restore_command": f"'{restore_command}'", "recovery_target_action": "'promote'",
                         **(settings or {})})
        if self.user is not None:
            os.chown(os.path.join(other.data, "recovery.signal"), self.user.pw_uid, self.user.pw_gid)
        return other

    def sums(self, database="postgres"):
        """{table: (count, md5 of its ordered rows)} of every user table."""
        tables = self.psql("SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables "
                           "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1", database)
        result = {}
        for table in tables.split():
            rows = "md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), ''))"
            result[table] = self.psql(f"SELECT count(*), {rows} FROM {table} t", database, seconds=300)
        return result

    def switch_wal(self):
        """Ends the current segment; the name of the segment that is complete now."""
        return self.psql("SELECT pg_walfile_name(pg_switch_wal())")
