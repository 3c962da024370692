"""Controllers of a cloud of several machines: the first one begins it, others join; each has the APIs and a part of the work."""

from __future__ import annotations

import argparse
import os
import socket
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from moln.cli import admin, consumers, recovery, stolen
from moln.cli.commands import up
from moln.cli.commands.node import seconds
from moln.cli.progress import Progress
from moln.cli.settings_file import write_database_url
from moln.host import postgresql, promoting, proofs, provider, rereading, roles, taking, users
from moln.host.places import USER, Places
from moln.host.roles import ALONE, Machine, Role, bracketed
from moln.host.run import HostError
from moln.host.setup import make_directories, running
from moln.kernel import files, notifications
from moln.kernel.controllers.heritage import HOSTS

TWO = "Two are no quorum: losing either machine stops what is written until it is back. Have a third join."
MORE = "Any one of the machines may go."
HELP = "make this machine the controller of a cloud of several, or another one of them"


def arguments(parser: argparse.ArgumentParser) -> None:
    doing = parser.add_subparsers(dest="doing", required=True, metavar="WHAT")
    init = doing.add_parser("init", help="begin a cloud here, or have other machines join the one that `moln up` made")
    init.add_argument("--provider-interface", metavar="CARD", default="", help="a card without an address, on the provider network")
    init.add_argument("--replace-gateway", action="store_true", help="with --provider-interface, where guests' addresses go out by this machine itself: cut them off")
    init.add_argument("--no-guests", dest="guests", action="store_false", help="run no guests here: several controllers need that")
    init.add_argument("--ha", action="store_true", help="for several controllers: each has PostgreSQL, etcd, NATS and OVN's databases, unless they are given; no guests here")
    init.add_argument("--nats", metavar="URL", action="append", default=[], help="a server of NATS to use instead of one of the cloud's own")
    init.add_argument("--database-url", metavar="URL", default="", help="postgresql://USER@HOST/NAME instead of a file here")
    init.add_argument("--etcd", metavar="URL", action="append", default=[], help="a server of etcd (https://ADDRESS:2379) that controllers share")
    init.add_argument("--ovn-nb", metavar="REMOTE", default="", help="OVN's northbound database (ssl:ADDRESS:6641,…) instead of one here")
    init.add_argument("--ovn-sb", metavar="REMOTE", default="", help="and its southbound one")
    init.add_argument("--ntp", metavar="SERVER", action="append", default=[], help="the site's time server, which this machine follows; nodes follow this machine")
    join = doing.add_parser("join", help="make this machine another controller of a cloud")
    join.add_argument("url", help="where the APIs of a controller are: https://ADDRESS:5000")
    join.add_argument("--token", required=True, help="what `moln controller token` printed there")
    join.add_argument("--join-only", action="store_true", help="fetch what controllers have, set up and start nothing")
    join.add_argument("--again", action="store_true", help="this machine is a controller already: take anew what controllers have in common")
    for each in (init, join):
        each.add_argument("--listen", metavar="ADDRESS", required=each is init, help="this machine's address on the management network: of the APIs, and for nodes")
        each.add_argument("--port", type=int, help="the APIs' port (default: what it was, or 5000)")
        each.add_argument("--name", default="", help="what the cloud calls this machine (default: its host name)")
        each.add_argument("--detach", action="store_true", help="return once the cloud answers")
    token = doing.add_parser("token", help="print a token with which one machine may become a controller, once")
    token.add_argument("--expires", metavar="TIME", default="1h", help="how long it is good: 30m, 24h, 7d (default: %(default)s)")
    doing.add_parser("list", help="the controllers, and where their APIs are")
    remove = doing.add_parser("remove", help="forget a controller that is gone")
    remove.add_argument("name")
    remove.add_argument("--stolen", action="store_true", help="somebody may have its disk: every key that it knew becomes another one")
    recover = doing.add_parser("recover", help="go on with this controller alone: too few are left to write anything, and the others are lost for good")
    recover.add_argument("--lost", metavar="ADDRESS", action="append", default=[], help="of a controller that will never be started again; each of them is named")
    recover.add_argument("--accept-data-loss", action="store_true", help="what was answered last may be missing in the database here")
    settings = doing.add_parser("set", help="change a setting for all controllers, without a restart; without NAME: tell those that can be")
    settings.add_argument("name", nargs="?")
    settings.add_argument("value", nargs="?", help="without it: as each one's moln.toml has it")
    consumers.arguments(doing)
    for each in doing.choices.values():
        each.add_argument("--home", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    return {"init": init, "join": join, "token": token, "list": show, "remove": remove, "recover": recovery.recover, "set": settle, "consumer": consumers.run, "notifications": consumers.tell}[args.doing](args)


def init(args: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise HostError("Only root can set up a controller.")
    places = Places(args.home)
    if args.provider_interface:
        provider.check_card(args.provider_interface)
    machine = controller(args)
    promoting.check(places, machine, database=bool(args.database_url), replace=args.replace_gateway)
    begin(places, machine)
    if args.database_url or machine.postgresql:
        give_database(places, args.database_url or postgresql.url(places, machine))
    return start(args)


def start(args: argparse.Namespace) -> int:
    wanted = {"listen": args.listen, "port": args.port, "tls": True, "detach": args.detach, "demo": False, "simulate": None, "nodes": None}
    return up.run(argparse.Namespace(home=args.home, **wanted))


def checked_address(text: str) -> str:
    """Raises: HostError."""
    try:
        address = ip_address(text)
    except ValueError:
        raise HostError(f"{text} is no address; nodes and clients reach this machine by --listen.") from None
    if address.is_unspecified or address.is_loopback:
        raise HostError(f"{address} reaches no other machine; --listen wants this machine's address on the management network.")
    return str(address)


def controller(args: argparse.Namespace) -> Machine:
    """What the machine is to be. Raises: HostError."""
    address = checked_address(args.listen)
    if bool(args.ovn_nb) != bool(args.ovn_sb):
        raise HostError("OVN's two databases are given together: --ovn-nb and --ovn-sb")
    return Machine(Role.CONTROLLER, args.name or socket.gethostname(), address, args.provider_interface, guests=args.guests and not args.ha,
                   postgresql=args.ha and not args.database_url, runs_etcd=args.ha and not args.etcd, nats=tuple(args.nats), etcd=tuple(args.etcd), ovn=(args.ovn_nb, args.ovn_sb) if args.ovn_nb else None,
                   clusters=clusters(args), ntp=tuple(args.ntp), tls=proofs.tls(Places(args.home)))  # fmt: skip


def clusters(args: argparse.Namespace) -> tuple[str, ...]:
    """Engines of which this controller has the first member: with --ha those that were not given. NATS stays alone where it keeps notifications already."""
    from moln.kernel.controllers import clusters as clustered

    given = {"ovn": args.ovn_nb, "etcd": args.etcd, "nats": args.nats or (notifications.wanted(args.home) and "nats" not in clustered.names(args.home))}
    return tuple(name for name in clustered.NAMES if args.ha and not given[name])


def begin(places: Places, machine: Machine) -> None:
    """Write down what the machine is. Raises: HostError, when it is something else already."""
    there = roles.read(places)
    if there != ALONE and (there.role, there.name, there.address) != (machine.role, machine.name, machine.address):
        raise HostError(f"{places.home} is {there.role} {there.called} at {there.address} already; choose another --home, or: moln down --purge")
    if there.clusters != machine.clusters and running(places):
        raise HostError(f"{places.home} runs; its engines become clusters while they are down: moln down, then the same again. To have it as it was: moln up")
    make_directories(places)
    roles.write(places, machine)


def give_database(places: Places, url: str) -> None:
    """Into moln.toml, before anything is in a file. Raises: HostError."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise HostError(f"{url} is no database: --database-url postgresql://USER@HOST/NAME")
    if (places.home / "cloud.db").exists():
        raise HostError(f"The cloud in {places.home} has its rows in SQLite; move them: moln grow --to {url}")
    write_database_url(places, url)


def join(args: argparse.Namespace) -> int:
    from moln.kernel.controllers import clusters as clustered
    from moln.kernel.controllers import joining  # its library costs time that no other command should take

    if args.again:
        return take_again(args)
    if not args.listen:
        raise HostError("--listen is missing: this machine's address on the management network")
    places, name = Places(args.home), args.name or socket.gethostname()
    address = args.listen if args.join_only else checked_address(args.listen)
    if not args.join_only:
        if os.geteuid() != 0:
            raise HostError("Only root can set up a controller.")
        if roles.read(places) != ALONE or places.choices.exists():
            raise HostError(f"{places.home} holds a cloud already; choose another --home, or: moln down --purge")
        make_directories(places)
    with files.private():
        places.home.mkdir(parents=True, exist_ok=True)
        given = joining.join(args.url, args.token, places.home, name=name, own_url=f"https://{bracketed(address)}:{args.port or 5000}")
    print(f"This machine is controller {name} of the cloud at {args.url}; what controllers share is in {places.home}.")
    if args.join_only:
        return 0
    give_to_controller(places)
    host = urlsplit(args.url).hostname or ""
    members = clustered.names(places.home)
    roles.write(places, Machine(Role.CONTROLLER, name, address, guests=False, joined=host, postgresql=(places.home / HOSTS).exists(),
                                runs_etcd="etcd" in members, clusters=members, peers=tuple(given.members) if members else (), tls=proofs.tls(places)))  # fmt: skip
    if members:
        print(f"It gets its own members of {', '.join(members)}. {TWO if len(given.members) == 1 else MORE}")
    return start(args)


def take_again(args: argparse.Namespace) -> int:
    """What controllers have in common, when it has changed: keys, authorities, policies, programs. Settings stay. Raises: HostError."""
    places = Places(args.home)
    machine = roles.read(places)
    if os.geteuid() != 0 or machine.role != Role.CONTROLLER:
        raise HostError(f"Only root, and only where {places.home} is a controller's, can take anew what controllers have in common.")
    taking.take(places, name=machine.called, url=args.url, token=args.token)
    print(f"What controllers have in common is as {args.url} has it.")
    if running(places):
        with Progress()("Engines and controller anew"):
            rereading.reread(places, machine, dropped=True, anew=True)
            rereading.begin_anew(places, ["controller"])
    return 0


def give_to_controller(places: Places) -> None:
    """What was fetched is the controller's user's; moln.toml it may read only. Raises: HostError."""
    from moln.kernel.controllers import heritage

    users.ensure_users()
    for path in [p for name in (*heritage.FOLDERS, "tls", "nats", "controllers") for p in
                 [places.home / name, *(places.home / name).rglob("*")] if p.exists()] + [places.admin_password]:  # fmt: skip
        users.own(path, USER, USER, 0o700 if path.is_dir() or os.access(path, os.X_OK) else 0o600)
    users.own(places.settings, None, USER, 0o640)


def token(args: argparse.Namespace) -> int:
    print(admin.ask(Places(args.home), "controllers", method="POST", expires_s=seconds(args.expires))["token"])
    return 0


def show(args: argparse.Namespace) -> int:
    for found in admin.ask(Places(args.home), "controllers"):
        print(f"{found['name']}\t{found['url']}\t{'up' if found['up'] else 'down'}\tsince {found['joined']}")
    return 0


def remove(args: argparse.Namespace) -> int:
    if args.stolen:
        return stolen.remove(args)
    places = Places(args.home)
    url = next((found["url"] for found in admin.ask(places, "controllers") if found["name"] == args.name), "")
    admin.ask(places, "controllers", args.name, method="DELETE")
    print(f"Controller {args.name} is forgotten. It still has the keys of the cloud: destroy its disk, or run this again with --stolen.")
    stolen.tell_of_url(places, url)
    return 0


def settle(args: argparse.Namespace) -> int:
    places = Places(args.home)
    if args.name:
        value = {} if args.value is None else {"value": args.value}
        admin.ask(places, "settings", method="POST", name=args.name, **value)
        return 0
    for name, found in admin.ask(places, "settings").items():
        print(f"{name} = {found['value']}\t{'of all controllers' if found['shared'] else 'of moln.toml here'}")
    return 0
