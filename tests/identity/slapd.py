"""A private OpenLDAP server: its data in a folder of its own, on loopback, with TLS by an authority of its own; it ends with the test."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SUFFIX = "dc=corp,dc=example"
READER, READER_PASSWORD = f"cn=reader,{SUFFIX}", "reading"
PEOPLE, GROUPS = f"ou=people,{SUFFIX}", f"ou=groups,{SUFFIX}"
BINARY = shutil.which("slapd") or "/usr/sbin/slapd"
THERE = os.path.exists(BINARY)
CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
TLSVerifyClient never
allow bind_anon_cred bind_anon_dn
database mdb
suffix "{suffix}"
rootdn "cn=root,{suffix}"
rootpw root
directory {folder}/data
sizelimit 1000
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by * none
"""


class Slapd:
    """Started at once. port, tls_port: on 127.0.0.1. ca: who signed its certificate, which is 127.0.0.1's and localhost's alone."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        self.ca = folder / "ca.pem"
        _certificates(folder)
        (folder / "slapd.conf").write_text(CONFIG.format(folder=folder, suffix=SUFFIX, reader=READER))
        self.port, self.tls_port = _free(), _free()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.add(
            f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: Corp\n",
            f"dn: {READER}\nobjectClass: person\ncn: reader\nsn: reader\nuserPassword: {READER_PASSWORD}\n",
            f"dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n",
            f"dn: {GROUPS}\nobjectClass: organizationalUnit\nou: groups\n",
        )

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    def start(self) -> None:
        where = f"{self.url} ldaps://127.0.0.1:{self.tls_port}"
        command = ["setpriv", "--pdeathsig", "TERM", BINARY, "-d", "0", "-f", str(self.folder / "slapd.conf"), "-h", where]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.tls_port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("slapd did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def add(self, *entries: str) -> None:
        self._change("ldapadd", "\n".join(entries))

    def modify(self, *changes: str) -> None:
        self._change("ldapmodify", "\n".join(changes))

    def delete(self, dn: str) -> None:
        self._change("ldapmodify", f"dn: {dn}\nchangetype: delete\n")

    def _change(self, program: str, text: str) -> None:
        command = [program, "-x", "-H", self.url, "-D", f"cn=root,{SUFFIX}", "-w", "root"]
        done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr

    def person(self, uid: str, password: str, *, name: str = "", kind: str = "employed") -> str:
        dn = f"uid={uid},{PEOPLE}"
        self.add(f"dn: {dn}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {name or uid}\nsn: {uid}\nmail: {uid}@corp.example\nemployeeType: {kind}\n"
                 f"userPassword: {password}\n")  # fmt: skip
        return dn

    def group(self, name: str, *dns: str) -> str:
        dn = f"cn={name},{GROUPS}"
        self.add(f"dn: {dn}\nobjectClass: groupOfNames\ncn: {name}\nou: {name}\ndescription: of {name}\n" + "".join(f"member: {m}\n" for m in dns))
        return dn


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _certificates(folder: Path) -> None:
    """An authority, and a certificate of it for the server."""
    now = datetime.datetime.now(datetime.UTC)

    def made(name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name | None, by: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(1))
        return builder.not_valid_after(now + datetime.timedelta(2)).add_extension(x509.BasicConstraints(issuer is None, None), critical=True)

    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = made("ldap authority", authority, None, authority).sign(authority, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = made("localhost", server, root.subject, authority).add_extension(names, critical=False).sign(authority, hashes.SHA256())
    (folder / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    key = server.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(key)
