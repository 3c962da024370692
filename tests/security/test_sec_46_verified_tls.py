"""SEC-46 (OSSA-2019-005, 2014-030, 2015-007): no client of ours ever talks TLS to somebody who has not proved who they are."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel import test_tls

from moln.demo.client import Client, DemoError
from moln.kernel.link import Hello, SocketLinks
from moln.kernel.link.frames import send

SOURCE = Path(__file__).parents[2] / "src/moln"
OFF = re.compile(
    r"CERT_NONE|_create_unverified|create_unverified|CERT_OPTIONAL|--insecure|--no-check-certificate|['\"]-k['\"]|StrictHostKeyChecking=no"
    r"|NODE_TLS_REJECT_UNAUTHORIZED|PYTHONHTTPSVERIFY|GIT_SSL_NO_VERIFY|strict-ssl|--allow-unauthenticated|AllowUnauthenticated\W+true|trusted-host"
)
FALSE = {("verify", False), ("check_hostname", False), ("verify_ssl", False), ("insecure", True), ("ssl_verify", False), ("gpgcheck", 0)}
GUESTS_KEY = "demo/story.py"  # the demo's own throw-away guest, reached over its own network: its host key is minutes old

OF_CLIENTS = "kernel/http/tls.py: CERT_OPTIONAL"  # a server's: a client may show a certificate, which is verified


def code() -> Iterator[Path]:
    yield from SOURCE.rglob("*.py")
    yield from SOURCE.rglob("*.sh")


def test_no_word_of_ours_turns_verification_off() -> None:
    found = [f"{path.relative_to(SOURCE)}: {hit[0]}" for path in code() for hit in OFF.finditer(path.read_text())]
    assert [hit for hit in found if not hit.startswith(GUESTS_KEY) and hit != OF_CLIENTS] == []


def assigned(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each target with its value, in tuples too."""
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def test_no_argument_or_attribute_turns_verification_off() -> None:
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            pairs = []
            if isinstance(node, ast.Call):
                pairs = [(word.arg, word.value) for word in node.keywords]
            elif isinstance(node, ast.Assign):
                pairs = [(target.attr, value) for target, value in assigned(node) if isinstance(target, ast.Attribute)]
            elif isinstance(node, ast.Dict):
                pairs = [(key.value, value) for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)]
            found += [f"{path.relative_to(SOURCE)}:{node.lineno} {name}" for name, value in pairs
                      if isinstance(value, ast.Constant) and (name, value.value) in FALSE]  # fmt: skip
    assert found == []


def test_every_context_of_a_client_is_the_default_one() -> None:
    """ssl.SSLContext(PROTOCOL_TLS_CLIENT) and create_default_context verify; others are made for servers only."""
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("ssl.SSLContext", "SSLContext"):
                if [ast.unparse(argument) for argument in node.args] not in (["ssl.PROTOCOL_TLS_SERVER"], ["ssl.PROTOCOL_TLS_CLIENT"]):
                    found.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert found == []


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A server whose certificate no system knows, and which is no cloud."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate,
                    "-days", "1", "-subj", "/CN=localhost"], check=True, capture_output=True, timeout=60)  # fmt: skip
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-key", str(key), "-cert", str(certificate), "-www"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path)
    assert server.stdout
    try:
        line = next(line for line in server.stdout if line.startswith("ACCEPT"))
        yield f"https://localhost:{line.strip().rpartition(':')[2]}"
    finally:
        server.kill()
        server.wait()


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_our_client_refuses_a_stranger(served: str) -> None:
    with pytest.raises((DemoError, ssl.SSLError, OSError)) as refused:
        Client(served, user="admin", password="secret", project="admin")
    assert "certificate" in str(refused.value).lower(), refused.value


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
async def test_an_agent_that_is_another_user_is_hung_up_on(tmp_path: Path) -> None:
    """Nodes prove themselves by the kernel's word for who they are (SO_PEERCRED), even where a file's mode lets somebody in."""
    links = SocketLinks(tmp_path / "s", lambda: 0)
    await links.start()
    folder = tmp_path
    while folder != folder.parent and folder.owner() == "root" and folder != Path("/tmp"):
        folder.chmod(0o755)
        folder = folder.parent
    (tmp_path / "s").chmod(0o777)
    stranger = (
        "import socket, sys\ns = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(20)\n"
        "try: s.sendall(sys.stdin.buffer.read()); print(s.recv(1))\nexcept (BrokenPipeError, ConnectionResetError): print(b'')"
    )
    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    send(writer, Hello("n1", {}))
    await writer.drain()
    hello = theirs.recv(65536)
    writer.close()
    theirs.close()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", stranger, str(tmp_path / "s"), user=65534, group=65534, extra_groups=[], cwd="/",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    said, wrong = await process.communicate(hello)
    assert said.strip() == b"b''", (said, wrong)
    assert links.nodes == frozenset()
    await links.close()


def test_these_checks_see_what_they_look_for() -> None:
    assert OFF.search("ssl.CERT_NONE") and OFF.search('"curl", "-k"') and OFF.search("npm config set strict-ssl false")
    together = ast.parse("context.check_hostname, context.verify_mode = False, x").body[0]
    assert isinstance(together, ast.Assign) and [ast.unparse(value) for _, value in assigned(together)] == ["False", "x"]
    assert test_tls.__doc__, "how a server proves itself is tested there"
