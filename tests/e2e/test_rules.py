"""Security groups: a rule is in force within a second of the API's answer."""

from __future__ import annotations

import socket

from tests.e2e.guests import Guest
from tests.e2e.waiting import seconds_until
from tests.e2e.world import Tenant

PORT = 8080
BOUND_S = 1.0


def opens(guest: Guest, timeout_s: float = 0.15) -> bool:
    """Short, so that no retransmission of a dropped packet is waited for."""
    try:
        socket.create_connection((guest.address, PORT), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def test_a_rule_opens_a_port_within_a_second_and_closes_it_again(north: Tenant, one: Guest) -> None:
    one.run(f"mkdir -p /tmp/www && echo hello > /tmp/www/index.html && httpd -p {PORT} -h /tmp/www")
    assert one.run(f"wget -q -O - http://127.0.0.1:{PORT}/") == "hello"
    times = []
    for _ in range(3):
        assert not opens(one)
        rule = north.allow(protocol="tcp", port_range_min=PORT, port_range_max=PORT)
        opened = seconds_until(lambda: opens(one), "the port opened", 5)
        assert all(opens(one, 1.0) for _ in range(3))
        north.conn.network.delete_security_group_rule(rule)
        closed = seconds_until(lambda: not opens(one), "the port closed", 5)
        times.append((opened, closed))
    print("opened and closed after", [(round(a, 3), round(b, 3)) for a, b in times], "s")
    assert max(max(pair) for pair in times) < BOUND_S, times


def test_a_connection_that_stands_ends_with_its_rule(north: Tenant, one: Guest) -> None:
    one.run("(nc -ll -p 8081 -e cat || nc -l -p 8081 -e cat) >/dev/null 2>&1 &")
    rule = north.allow(protocol="tcp", port_range_min=8081, port_range_max=8081)

    def connect() -> socket.socket | None:
        try:
            return socket.create_connection((one.address, 8081), timeout=0.5)
        except OSError:
            return None

    made: list[socket.socket] = []
    seconds_until(lambda: made.append(found) or True if (found := connect()) else False, "connected", 10)
    connection = made[0]
    connection.settimeout(10)
    connection.sendall(b"ping")
    assert connection.recv(4) == b"ping"
    north.conn.network.delete_security_group_rule(rule)

    def silent() -> bool:
        connection.settimeout(0.3)
        try:
            connection.sendall(b"ping")
            connection.recv(64)
        except TimeoutError:
            return True
        return False

    assert seconds_until(silent, "the connection is cut", 5) < BOUND_S + 0.3
    connection.close()
