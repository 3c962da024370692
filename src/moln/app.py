"""The composition root: settings in, a running cloud out. The areas are listed by hand; nothing is discovered."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

import moln
import moln.compute.module as compute
import moln.identity.module as identity
import moln.image.module as image
import moln.network.module as network
import moln.placement.module as placement
import moln.volume.module as volume
from moln.compute.api.console_pages import serve_consoles
from moln.compute.settings import ComputeSettings
from moln.host.settings import HostSettings, NodeSettings
from moln.identity.settings import IdentitySettings
from moln.image.settings import ImageSettings
from moln.kernel import config, notifications
from moln.kernel.audit import Audit
from moln.kernel.clock import Clock, Ids
from moln.kernel.cloud import Cloud
from moln.kernel.controllers import clusters
from moln.kernel.controllers.clusters import Cluster
from moln.kernel.controllers.heritage import HOSTS
from moln.kernel.db import Database
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.db.traced import TracedDatabase
from moln.kernel.errors import Failure, Invalid
from moln.kernel.http import Route, build_app
from moln.kernel.http.describing import OpenApi
from moln.kernel.http.legacy import ASGI, legacy_root, without_json
from moln.kernel.http.tls import Tls
from moln.kernel.http.watching import Metrics, Source, watch
from moln.kernel.link import NodeLinks, SeveralLinks
from moln.kernel.metrics import Family
from moln.kernel.module import Module
from moln.kernel.nodes import declare_tables
from moln.kernel.policy_files import PolicyFiles, load_policy
from moln.kernel.tracing import tracer_of
from moln.kernel.work import Workers
from moln.kernel.work.claims import Claims
from moln.kernel.work.housekeeping import HOUSEKEEPING
from moln.network.settings import NetworkSettings
from moln.placement.settings import PlacementSettings
from moln.volume.settings import VolumeSettings

if TYPE_CHECKING:
    from moln.kernel.etcd.shared import SharedEtcd
    from moln.kernel.nodes.remote import RemoteNodes
    from moln.kernel.notifications.publisher import Publisher

Hook = Callable[[str, str], None]
MARK = "grown.json"  # in the home of a cloud that grew, until moln.toml says where its database is
declare_tables()


class Settings(config.Settings, frozen=True, forbid_unknown_fields=True):
    """The whole of moln.toml: what every process reads, and a table for each area."""

    host: HostSettings = field(default_factory=HostSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    placement: PlacementSettings = field(default_factory=PlacementSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    volume: VolumeSettings = field(default_factory=VolumeSettings)
    node: NodeSettings = field(default_factory=NodeSettings)


class Grown(Struct, frozen=True):
    """The decision of `moln grow`: the cloud is on this database, whatever became of the command."""

    database_url: str


def load_settings(home: Path, **overrides: Any) -> Settings:
    """`moln.toml` of a home, what the command line says on top. Raises: Invalid."""
    settings: Settings = config.load(home / "moln.toml", Settings, **overrides)
    if not settings.database_url and (home / MARK).exists():
        grown = msgspec.json.decode((home / MARK).read_bytes(), type=Grown)
        settings = msgspec.structs.replace(settings, database_url=grown.database_url)
    return settings


def modules(settings: Settings) -> list[Module]:
    """The areas, lower ones first."""
    return [
        identity.module(settings),
        placement.module(settings),
        image.module(settings),
        network.module(settings),
        volume.module(settings),
        compute.module(settings),
    ]


class App(Struct):
    """A cloud put together: its areas, its work and its HTTP application. start() before serving, stop() at the end.

    again: the same cloud put together anew, by other settings. remote: nodes on other machines; etcd; notices: what tells others of changes;
    None, where settings name no way to them. lenders: what nodes have of images, from when they may come (controller.py).
    """

    cloud: Cloud
    areas: list[Module]
    workers: Workers
    asgi: ASGI
    metrics: Metrics
    again: Callable[[Settings], App]
    policy_files: PolicyFiles
    tls: Tls | None = None
    remote: RemoteNodes | None = None
    etcd: SharedEtcd | None = None
    notices: Publisher | None = None
    lenders: Any = None

    @property
    def routes(self) -> list[Route]:
        return all_routes(self.areas)

    async def set_up(self) -> None:
        """Set the areas up, lower ones first; no work begins yet (tests settle it themselves)."""
        await self.cloud.db.open()
        if self.remote:
            await self.remote.start()
        for area in self.areas:
            if area.setup:
                await area.setup(self.cloud)

    async def start(self) -> None:
        """Set the areas up, then begin the work."""
        await self.set_up()
        await self.work()

    async def work(self) -> None:
        """Begin the work of what is set up."""
        if self.cloud.claims is not None:
            await self.cloud.claims.start()
        if self.cloud.leaders is not None:
            await self.cloud.leaders.start()
        if self.etcd is not None:
            await self.etcd.settings.start()
        self.workers.start()

    async def rest(self) -> None:
        """No more work; it answers still."""
        await self.workers.stop()
        if self.notices is not None:
            await self.notices.close()
        if self.etcd is not None:
            await self.etcd.settings.stop()
        if self.cloud.leaders is not None:
            await self.cloud.leaders.stop()
        if self.cloud.claims is not None:
            await self.cloud.claims.stop()

    async def stop(self) -> None:
        await self.rest()
        await self._close_areas()
        await self.cloud.links.close()
        if self.remote:
            await self.remote.close()
        await self._let_go()

    async def retire(self) -> None:
        """The end of one that another took the place of: it neither works nor reaches nodes any more."""
        await self._close_areas()
        await self._let_go()

    async def _close_areas(self) -> None:
        for area in reversed(self.areas):
            if area.close:
                await area.close(self.cloud)

    async def _let_go(self) -> None:
        await self.cloud.db.close()
        if self.cloud.audit:
            self.cloud.audit.close()
        if self.cloud.tracer:
            await asyncio.to_thread(self.cloud.tracer.close)


def all_routes(areas: list[Module]) -> list[Route]:
    return [route for area in areas for routes in area.routes for route in routes.all]


def render_description(areas: list[Module], server: str = "") -> bytes:
    """The API in OpenAPI 3.1. server: where it answers."""
    from moln.kernel.http import openapi  # needed by few, once

    described = {area.name: area.describe() for area in areas if area.describe}
    return openapi.render(all_routes(areas), described, server=server, release=moln.__version__)


def databases(home: Path, settings: config.Settings, clock: Clock, ids: Ids, hook: Hook | None = None) -> tuple[Database, Claims | None]:
    """The one of the settings, and how several controllers share its work. open() comes first. Raises: Invalid, Failure."""
    url = settings.database_url
    if not url:
        return SqliteDatabase(home / "cloud.db", now_us=clock.now_us, hook=hook), None
    if not url.startswith(("postgresql://", "postgres://")):
        raise Invalid("database_url has to begin with postgresql://", field="database_url")
    try:
        from moln.kernel.db.postgres import PostgresDatabase  # its driver comes with the extra `scale`
        from moln.kernel.db.postgres_claims import PostgresClaims
    except ModuleNotFoundError as missing:
        raise Failure(f"PostgreSQL needs the Python package {missing.name}: pip install 'moln[scale]'.") from None
    db = PostgresDatabase(url, now_us=clock.now_us, hook=hook, hosts=home / HOSTS)
    return db, PostgresClaims(db, ids.uuid, settings.link.controller or socket.gethostname())


def compose(home: Path, settings: Settings, links: Callable[[Clock], NodeLinks], *, clock: Clock | None = None, ids: Ids | None = None,
            hook: Hook | None = None) -> App:  # fmt: skip
    """Put a cloud together over the database in `home`. links: how nodes are reached. hook: sees every statement (fault tests)."""
    clock, ids = clock or Clock(), ids or Ids()
    areas = modules(settings)
    tracer = tracer_of(settings.tracing, "moln-controller")
    db, claims = databases(home, settings, clock, ids, hook)
    if settings.link.nats and notifications.wanted(home):
        db = _notified(db, settings, clock, ids)
    if tracer is not None:
        db = TracedDatabase(db, tracer)
    cloud = Cloud(settings=settings, db=db, policy=load_policy(home), links=links(clock), home=home, clock=clock, ids=ids, tracer=tracer)
    cloud.claims = claims
    if settings.audit_mib > 0:
        cloud.audit = Audit(home / "log/audit", clock, cloud.ids, settings.audit_mib << 20)
    tls = Tls(home, settings, clock, settings.identity.federation.client_ca) if settings.serves_tls else None
    etcd = _etcd(cloud)
    remote = _remote(cloud, etcd, _clusters(cloud, etcd))
    notices = _publisher(cloud, remote)
    policy_files = PolicyFiles(cloud)
    cloud.links.tracer = tracer
    periodics = [HOUSEKEEPING, *(own.periodic for own in (tls, notices, policy_files) if own), *(p for a in areas for p in a.periodics)]
    periodics += remote.periodics if remote else []
    workers = Workers(cloud, [*(r for a in areas for r in a.reconcilers), *([notices.reconciler] if notices else [])], periodics)
    asgi = build_app(cloud, all_routes(areas))
    serve_consoles(asgi, cloud)
    watch(asgi, cloud, {area.name: area.ready for area in areas if area.ready})
    metrics = Metrics(cloud, [_own(workers), *(part.measure for part in (remote, etcd, notices, *areas) if part and part.measure)])
    asgi.add_route("/openapi.json", OpenApi(lambda: render_description(areas, settings.public_url)))
    if remote:
        remote.serve(asgi)
    if settings.metrics:
        asgi.add_route("/metrics", metrics)
    again = functools.partial(compose, home, links=links, clock=clock, ids=ids, hook=hook)
    served = without_json(legacy_root(asgi, "/compute/v2", "/compute/v2.1"), "/network/v2.0/")
    return App(cloud, areas, workers, served, metrics, again, policy_files, tls, remote, etcd, notices)


def _etcd(cloud: Cloud) -> SharedEtcd | None:
    """What controllers share there. Raises: Failure."""
    if not cloud.settings.link.etcd:
        return None
    from moln.kernel.etcd.shared import SharedEtcd  # its library of certificates costs memory and time at the start

    shared = SharedEtcd(cloud, cloud.settings.link.controller or socket.gethostname())
    cloud.leaders = shared.leaders
    return shared


def _notified(db: Database, settings: Settings, clock: Clock, ids: Ids) -> Database:
    """The same, whose writes note what others are told of."""
    from moln.compute.work.notifications import KINDS as SERVERS
    from moln.identity.ops.notifications import KINDS as IDENTITIES
    from moln.image.work.notifications import KINDS as IMAGES
    from moln.kernel.notifications.noting import NotifiedDatabase
    from moln.network.work.notifications import KINDS as NETWORKS
    from moln.volume.work.notifications import KINDS as VOLUMES

    kinds = [*IDENTITIES, *IMAGES, *NETWORKS, *VOLUMES, *SERVERS]
    return NotifiedDatabase(db, kinds, settings.link.controller or socket.gethostname(), ids.uuid, clock.now_us)


def _publisher(cloud: Cloud, remote: RemoteNodes | None) -> Publisher | None:
    if remote is None or not notifications.wanted(cloud.home):
        return None
    from moln.kernel.notifications.publisher import Publisher

    return Publisher(cloud, remote)


def _clusters(cloud: Cloud, etcd: SharedEtcd | None) -> list[Cluster]:
    """Engines of which this controller has a member beside it."""
    names = clusters.names(cloud.home)
    found: list[Cluster] = []
    if "ovn" in names and not cloud.settings.simulate:
        from moln.host.ovn_cluster import remotes
        from moln.network.drivers.ovn_cluster import OvnClusters

        found.append(OvnClusters(cloud.home / "ovn", remotes))
    if "etcd" in names and etcd is not None:
        from moln.kernel.etcd.members import EtcdMembers

        found.append(EtcdMembers(etcd.etcd))
    if "nats" in names:
        from moln.kernel.link.nats_servers import NatsServers

        found.append(NatsServers())
    return found


def _remote(cloud: Cloud, etcd: SharedEtcd | None = None, each: Sequence[Cluster] = ()) -> RemoteNodes | None:
    """Nodes on other machines, beside those of this one. Raises: Failure, when what they need is not there."""
    if not cloud.settings.link.nats:
        return None
    if not cloud.settings.serves_tls:
        raise Failure("Nodes on other machines (settings: link.nats) need APIs with TLS: moln up --tls")
    try:
        from moln.kernel.nodes.remote import RemoteNodes
    except ModuleNotFoundError as error:
        raise Failure(f"Nodes on other machines need the package {error.name}: pip install 'moln[scale]'") from None
    remote = RemoteNodes(cloud, etcd.leases if etcd else None, each)
    cloud.links = SeveralLinks([cloud.links, remote.links], cloud.clock.now_us)
    return remote


def _own(workers: Workers) -> Source:
    async def source(cloud: Cloud) -> list[Family]:
        return [*workers.families(), *cloud.links.families(), *cloud.db.families(), *cloud.fairness.families(),
                *(cloud.audit.families() if cloud.audit else [])]  # fmt: skip

    return source
