#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS and SCRAM to the primary: a certificate and a CA made here, pg_hba.conf with `hostssl ... scram-sha-256` alone
for our role, sslmode=verify-full and a password file. Everything that is commonly wrong with such a setup is wrong
first: each must name the thing and the remedy, is tried again, and flows as soon as it is put right, nothing
restarted."""
import contextlib
import os
import re
import secrets
import shutil
import subprocess

from cluster import Failed, Scratch, free_port, skip
from flow import SLOT, STREAM, Flow, say
from regions import Region, write

ROLE = "helio"
TRUSTED = "local all all trust\nlocal replication postgres trust\n"
HBA_LINE = f"hostssl replication {ROLE} 127.0.0.1/32 scram-sha-256\n"


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise Failed(f"openssl {' '.join(words)}: {done.stderr.strip()}")


def authority(directory, name):
    """A CA of its own: (certificate, key)."""
    pem, key = os.path.join(directory, name + ".pem"), os.path.join(directory, name + ".key")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", key, "-out", pem)
    return pem, key


def certificate(directory, name, ca):
    """A server's certificate for the DNS name `name`, issued by `ca`: (certificate, key)."""
    pem, key, request = (os.path.join(directory, f"{name}.{end}") for end in ("pem", "key", "csr"))
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
            f"/CN={name}", "-keyout", key, "-out", request)
    names = write(os.path.join(directory, name + ".ext"), f"subjectAltName=DNS:{name}\n")
    openssl("x509", "-req", "-in", request, "-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-days", "2", "-extfile",
            names, "-out", pem)
    return pem, key


class Test:
    def __init__(self, scratch):
        self.directory = scratch.directory("tls")
        self.node = Region(scratch, "node", 1, "stream add orders id 1 kind postgres-physical region 1\n"
                                               "consumer add segments stream orders\n", log_size="256m")
        self.ca = authority(self.directory, "ca")
        self.other_ca = authority(self.directory, "other-ca")
        self.root_certificate = os.path.join(self.directory, "root.pem")
        self.passfile = os.path.join(self.directory, "pgpass")
        self.password = secrets.token_hex(12)
        self.port = free_port()
        self.flow = Flow(scratch, self.node, self.node, settings={
            "ssl": "on", "ssl_min_protocol_version": "'TLSv1.2'", "listen_addresses": "'127.0.0.1'", "port": self.port,
            "password_encryption": "'scram-sha-256'"})
        self.primary = self.flow.primary
        self.primary.port = self.port
        self.server_files("localhost")
        self.hba(HBA_LINE)

    # ---- the setup, right or wrong ------------------------------------------------------------------------------

    def server_files(self, name):
        """The server's certificate, for the DNS name `name`."""
        for source, target in zip(certificate(self.directory, name, self.ca), ("server.crt", "server.key")):
            path = os.path.join(self.primary.data, target)
            shutil.copy(source, path)
            os.chmod(path, 0o600)
            if self.primary.user is not None:
                os.chown(path, self.primary.user.pw_uid, self.primary.user.pw_gid)

    def hba(self, line):
        with open(os.path.join(self.primary.data, "pg_hba.conf"), "w", encoding="utf-8") as out:
            out.write(TRUSTED + line)

    def reload(self):
        self.primary.psql("SELECT pg_reload_conf()")

    def passfile_write(self, password, mode=0o600):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.passfile)
        write(self.passfile, f"localhost:{self.port}:replication:{ROLE}:{password}\n", mode)

    def conninfo(self, **more):
        words = {"host": "localhost", "hostaddr": "127.0.0.1", "port": self.port, "user": ROLE,
                 "sslmode": "verify-full", "sslrootcert": self.root_certificate, "passfile": self.passfile, **more}
        return " ".join(f"{key}={value}" for key, value in words.items())

    # ---- cases --------------------------------------------------------------------------------------------------

    def cases(self):
        """(name, makes it wrong, what must be said, puts it right)."""
        def root(source):
            return lambda: shutil.copy(source, self.root_certificate)

        def password(*words):
            return lambda: self.passfile_write(*words)

        def hba(line):
            return lambda: (self.hba(line), self.reload())

        def names(name):
            return lambda: (self.server_files(name), self.reload())

        right = password(self.password)
        return (
            ("no CA", lambda: os.unlink(self.root_certificate), "root.pem.*does not exist.*sslrootcert",
             root(self.ca[0])),
            ("wrong CA", root(self.other_ca[0]), "certificate verify failed.*sslrootcert= in --primary must name",
             root(self.ca[0])),
            ("wrong name", names("db1.example"), 'certificate for "db1.example".*not match host name "localhost"'
             ".*host= must be a name in it", names("localhost")),
            ("wrong password", password("wrong"), f'password authentication failed for user "{ROLE}".*pgpass'
             ".*ALTER ROLE", right),
            ("readable password file", password(self.password, 0o644), "no password supplied.*passfile.*0600", right),
            ("no line in pg_hba.conf", hba(""), f'no pg_hba.conf entry for replication .*"{ROLE}".*add to .*pg_hba.conf'
             ".*hostssl replication <user>", hba(HBA_LINE)),
            ("refused in pg_hba.conf", hba(f"host replication {ROLE} all reject\n"), "pg_hba.conf rejects.*hostssl",
             hba(HBA_LINE)),
        )

    def wrong_first(self):
        shutil.copy(self.ca[0], self.root_certificate)
        self.passfile_write(self.password)
        for name, harm, words, repair in self.cases():
            harm()
            writer = self.node.postgres_in(STREAM, self.conninfo(), SLOT)
            writer.wait_line(f"primary_gone: primary_error: .*{words}.*; trying again", 10)
            if not writer.alive() or writer.find("streaming"):
                raise Failed(f"{name}: it must wait, and not stream")
            repair()
            writer.wait_line("streaming", 15)
            if writer.terminate() != 0:
                raise Failed(f"{name}: SIGTERM ends it with 0")
            say(f"{name}: said, and flows once it is right")

    def without_tls(self):
        """sslmode=disable meets no line for unencrypted connections; a server without TLS is not talked to."""
        writer = self.node.postgres_in(STREAM, self.conninfo(sslmode="disable"), SLOT)
        writer.wait_line("no pg_hba.conf entry for replication .*no encryption.*hostssl", 10)
        writer.terminate()
        self.primary.configure({"ssl": "off"})
        self.reload()
        writer = self.node.postgres_in(STREAM, self.conninfo(), SLOT)
        writer.wait_line("server does not support SSL.*set ssl = on", 10)
        self.primary.configure({"ssl": "on"})
        self.reload()
        writer.wait_line("streaming", 15)
        writer.terminate()
        say("without TLS: said, and flows once the server has it")

    def encrypted(self):
        """The connection that streams is TLS, its role's password is a SCRAM one, and no secret shows."""
        row = self.primary.psql("SELECT s.ssl, s.version FROM pg_stat_ssl s JOIN pg_stat_replication r USING (pid) "
                                f"WHERE r.usename = '{ROLE}'")
        if not re.match(r"t\|TLSv1\.[23]$", row):
            raise Failed(f"the replication connection is not TLS: {row!r}")
        if not self.primary.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{ROLE}'").startswith("SCRAM-SHA"):
            raise Failed("the role's password is not a SCRAM one")
        with open(f"/proc/{self.flow.writer.pid}/cmdline", encoding="utf-8") as words:
            if self.password in words.read() or any(self.password in line for line in self.flow.writer.lines):
                raise Failed("the password shows")
        say(f"the replication connection: {row}")

    def run(self):
        self.node.start()
        self.primary.start()
        self.primary.psql(f"CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD '{self.password}'")
        self.wrong_first()
        self.without_tls()
        self.flow.primary_conninfo = self.conninfo()
        self.flow.start_in()
        self.flow.start_out()
        self.flow.writer.wait_line("streaming", 20)
        self.encrypted()
        self.primary.pgbench("-i", "-q", "-s", 1).expect(0, 60)
        self.flow.load_start()
        self.flow.wal_grows(2 << 20)
        self.flow.finish()
        self.encrypted()
        self.flow.primary_stops()


def main():
    if shutil.which("openssl") is None:
        skip("openssl is not installed")
    with Scratch("helio-tls-") as scratch:
        Test(scratch).run()
        say("ok")


if __name__ == "__main__":
    main()
