"""LDAP and Active Directory by ldap3 (the extra `ldap`), which blocks: so each directory has a few threads of its own, and no more.

A server that hangs keeps its own threads waiting until a deadline, and nobody else's.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.dn import parse_dn, safe_dn

from moln.identity.model import ldap as model
from moln.identity.model.directory import Circle, Person
from moln.identity.model.ldap import LdapOptions
from moln.kernel.errors import BackendUnreachable

T = TypeVar("T")
Rows = list[tuple[str, model.Attributes]]
MOST = 10_000  # entries of one answer
PAGE = 500  # of them that a server is asked for at once
TOGETHER = 100  # ids in one filter
WAIT_S = 5  # for a connection, and for each answer
THREADS = 16  # and so connections, at most
WAITING = 64  # calls that may wait for a thread
SUCCESS, SIZE_LIMIT, NO_SUCH_OBJECT = 0, 4, 32
LATER = frozenset({1, 2, 3, 8, 13, 51, 52, 80})  # answers to a bind that say nothing of the password


class LdapDirectory:
    """One domain's server, or several that hold the same (their URLs apart by commas, tried in their order)."""

    def __init__(self, options: LdapOptions):
        self.options = options
        self._pool = ThreadPoolExecutor(max(1, min(options.pool_size, THREADS)), "ldap")
        self._wait_s = math.ceil(options.pool_connection_timeout) if options.pool_connection_timeout > 0 else WAIT_S
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self._waiting = 0

    async def person(self, *, local_id: str = "", name: str = "") -> Person | None:
        o = self.options
        which = model.is_id(o.user_id_attribute, local_id) if local_id else f"({o.user_name_attribute}={model.escaped(name)})"
        found = [p for p in (await self._run(lambda c: self._people(c, which)))[0] if local_id in ("", p.local_id)]
        return found[0] if len(found) == 1 else None  # two of a name are nobody

    async def people(self, name: str | None = None) -> tuple[list[Person], bool]:
        which = None if name is None else f"({self.options.user_name_attribute}={model.escaped(name)})"
        return await self._run(lambda c: self._people(c, which))

    async def circle(self, local_id: str) -> Circle | None:
        found, _ = await self._run(lambda c: self._circles(c, model.is_id(self.options.group_id_attribute, local_id)))
        return next((g for g in found if g.local_id == local_id), None)

    async def circles(self, name: str | None = None) -> tuple[list[Circle], bool]:
        which = None if name is None else f"({self.options.group_name_attribute}={model.escaped(name)})"
        return await self._run(lambda c: self._circles(c, which))

    async def circles_of(self, person: Person) -> list[Circle]:
        o = self.options
        member = person.local_id if o.group_members_are_ids else person.dn
        nested = model.NESTED if o.group_ad_nesting else ""
        found, _ = await self._run(lambda c: self._circles(c, f"({o.group_member_attribute}{nested}={model.escaped(member)})"))
        return found

    async def members(self, circle: Circle) -> list[Person]:
        return await self._run(lambda c: self._members(c, circle))

    async def proves(self, person: Person | None, password: str) -> bool:
        if not password or "\0" in password:
            person, password = None, secrets.token_hex(8)
        dn = person.dn if person else f"{self.options.user_id_attribute}={secrets.token_hex(8)},{self.options.users_dn}"
        return await self._in_thread(self._bind, dn, password) and person is not None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            _drop(connection)

    async def _in_thread(self, call: Callable[..., T], *args: Any) -> T:
        """Raises: BackendUnreachable."""
        if self._waiting >= WAITING:
            raise BackendUnreachable("Too many requests wait for the directory. Try again soon.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)
        except (LDAPException, OSError, ssl.SSLError) as error:
            raise BackendUnreachable(f"The directory at {self.options.url} does not answer.", detail=_said(error)) from None
        finally:
            self._waiting -= 1

    async def _run(self, call: Callable[[Any], T]) -> T:
        return await self._in_thread(self._with_connection, call)

    def _with_connection(self, call: Callable[[Any], T]) -> T:
        """On a connection that was open already, and once more on a new one when the server has let go of that."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                return self._keeping(connection, call)
            except (LDAPException, OSError):
                pass
        return self._keeping(self._as_reader(), call)

    def _keeping(self, connection: Any, call: Callable[[Any], T]) -> T:
        try:
            found = call(connection)
        except BaseException:
            _drop(connection)
            raise
        with self._lock:
            self._idle.append(connection)
        return found

    def _as_reader(self) -> Any:
        """Raises: LDAPException, OSError, BackendUnreachable, when it does not let the reader in."""
        connection = self._open(self.options.user, self.options.password)
        if not connection.bind():
            why = connection.result["description"]
            _drop(connection)
            raise BackendUnreachable(f"The directory at {self.options.url} refuses its reader {self.options.user or 'nobody'}: {why}.")
        return connection

    def _bind(self, dn: str, password: str) -> bool:
        """Whether the server takes this password, on a connection that nothing else ever uses."""
        connection = self._open(dn, password)
        try:
            connection.bind()
            result = connection.result["result"]
        finally:
            _drop(connection)
        if result in LATER:
            raise BackendUnreachable(f"The directory at {self.options.url} does not answer: {connection.result['description']}.")
        return bool(result == SUCCESS)

    def _open(self, user: str | None, password: str | None) -> Any:
        """A connection with TLS as the options have it, bound by nobody yet. Raises: LDAPException, OSError."""
        o, trouble = self.options, OSError("it has no address")
        raw = password.encode() if password else None  # of a text ldap3 drops some characters: of U+00AD it leaves a bind without a password
        for url in o.urls:
            parts = urlsplit(url)
            tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=o.tls_cacertfile or None, ca_certs_path=o.tls_cacertdir or None)
            secure = parts.scheme == "ldaps"
            server = ldap3.Server(parts.hostname or "localhost", parts.port or (636 if secure else 389), use_ssl=secure, tls=tls,
                                  get_info=ldap3.NONE, connect_timeout=self._wait_s)  # fmt: skip
            connection = ldap3.Connection(
                server, user, raw, authentication=ldap3.SIMPLE if user else ldap3.ANONYMOUS, auto_bind=ldap3.AUTO_BIND_NONE, auto_referrals=False,
                check_names=False, read_only=True, receive_timeout=self._wait_s, auto_escape=False, auto_encode=False,
            )  # fmt: skip
            try:
                connection.open()
                if o.use_tls and not connection.start_tls():
                    raise OSError(f"no TLS: {connection.result['description']}")
                return connection
            except (LDAPException, OSError) as error:
                _drop(connection)
                trouble = OSError(_said(error))
        raise trouble

    def _search(self, connection: Any, base: str, filter_: str, attributes: list[str], scope: str = "") -> tuple[Rows, bool]:
        """Entries, and whether they are all. Raises: BackendUnreachable."""
        found: Rows = []
        scope = scope or (ldap3.SUBTREE if self.options.query_scope == "sub" else ldap3.LEVEL)
        cookie: bytes | None = None
        while len(found) < MOST:
            connection.search(base, filter_, scope, attributes=attributes, time_limit=self._wait_s,
                              paged_size=self.options.page_size or PAGE, paged_cookie=cookie, paged_criticality=False)  # fmt: skip
            result = connection.result
            if scope == ldap3.BASE and result["result"] == NO_SUCH_OBJECT:
                return [], True
            if result["result"] not in (SUCCESS, SIZE_LIMIT):
                raise BackendUnreachable(f"The directory at {self.options.url} does not answer below {base}: {result['description']}.")
            for entry in connection.response or []:
                if entry.get("type") == "searchResEntry":
                    found.append((entry["dn"], {name.lower(): values for name, values in entry["raw_attributes"].items()}))
            cookie = result.get("controls", {}).get("1.2.840.113556.1.4.319", {}).get("value", {}).get("cookie")
            if not cookie or result["result"] != SUCCESS:
                return found[:MOST], result["result"] == SUCCESS and len(found) <= MOST
        return found[:MOST], False

    def _people(self, connection: Any, which: str | None, base: str = "") -> tuple[list[Person], bool]:
        o = self.options
        rows, whole = self._search(connection, base or o.users_dn, model.both(f"objectClass={o.user_objectclass}", o.user_filter, which), model.wanted(o),
                            ldap3.BASE if base else "")  # fmt: skip
        found = [p for dn, attributes in rows if (p := model.person(o, dn, attributes)) is not None]
        return (self._emulated(connection, found) if o.user_enabled_emulation and found else found), whole

    def _emulated(self, connection: Any, found: list[Person]) -> list[Person]:
        """Enabled is who is in the group that stands for it."""
        attribute = self.options.emulation_attribute
        rows, _ = self._search(connection, self.options.emulation_dn, "(objectClass=*)", [attribute], ldap3.BASE)
        inside = {_plain(value.decode("utf-8", "replace")) for _, attributes in rows for value in attributes.get(attribute.lower(), [])}
        return [Person(p.local_id, p.name, p.dn, _plain(p.dn) in inside, p.default_project_id, p.extra) for p in found]

    def _circles(self, connection: Any, which: str | None) -> tuple[list[Circle], bool]:
        o = self.options
        rows, whole = self._search(connection, o.groups_dn, model.both(f"objectClass={o.group_objectclass}", o.group_filter, which), model.wanted_of_groups(o))
        return [g for dn, attributes in rows if (g := model.circle(o, dn, attributes)) is not None], whole

    def _members(self, connection: Any, circle: Circle) -> list[Person]:
        o = self.options
        if o.group_ad_nesting:
            return self._people(connection, f"(memberOf{model.NESTED}={model.escaped(circle.dn)})")[0]
        rows, _ = self._search(connection, circle.dn, "(objectClass=*)", [o.group_member_attribute], ldap3.BASE)
        values = [value.decode("utf-8", "replace") for _, attributes in rows for value in attributes.get(o.group_member_attribute.lower(), [])]
        ids = values if o.group_members_are_ids else [_rdn(value, o.user_id_attribute) for value in values]
        found: list[Person] = []
        known = [local_id for local_id in ids if local_id is not None][:MOST]
        for at in range(0, len(known), TOGETHER):
            which = "".join(model.is_id(o.user_id_attribute, local_id) for local_id in known[at : at + TOGETHER])
            found += self._people(connection, f"(|{which})")[0]
        if not o.group_members_are_ids:
            inside = {_plain(value) for value in values}
            found = [p for p in found if _plain(p.dn) in inside]
            below = "," + _plain(o.users_dn)
            for value in [v for v, local_id in zip(values, ids, strict=True) if local_id is None and _plain(v).endswith(below)][:MOST]:
                found += self._people(connection, None, value)[0]
        return found


def _rdn(dn: str, attribute: str) -> str | None:
    """What an entry's own part of its name says of an attribute; None, when it says nothing of it."""
    try:
        (name, value, _), *_ = parse_dn(dn, escape=False)
    except (LDAPException, ValueError):
        return None
    return str(value) if name.lower() == attribute.lower() and "\\" not in value else None


def _plain(dn: str) -> str:
    try:
        return str(safe_dn(dn)).lower()
    except LDAPException:
        return dn.lower()


def _drop(connection: Any) -> None:
    try:
        connection.unbind()
    except (LDAPException, OSError):
        return


def _said(error: BaseException) -> str:
    return (str(error) or type(error).__name__).rstrip(".")[:300]
