"""The image area as app.py takes it."""

from __future__ import annotations

import re
import shutil
import socket
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from moln.image.api import cache as cache_api
from moln.image.api import data, discovery, images, imports, metadef_schemas, metadefs, tasks
from moln.image.api.metadef_bodies import to_spec
from moln.image.drivers.base import Backend
from moln.image.drivers.cache import ImageCache
from moln.image.drivers.files import DEFAULT, FileStore
from moln.image.drivers.sandbox import Sandbox
from moln.image.drivers.web import Allowed, Web
from moln.image.model.protections import Protections
from moln.image.ops import metadefs as metadefs_ops
from moln.image.ops import replicas
from moln.image.ops.quotas import QUOTA
from moln.image.ops.rendering import AREA
from moln.image.settings import ImageSettings, RbdStore, S3Store
from moln.image.work import replicas as replicas_work
from moln.image.work.cache import IMAGE_CACHE
from moln.image.work.files import FILES_MATCH_ROWS, LOST_UPLOADS, QUOTA_MATCHES_ROWS, files_of
from moln.image.work.tasks import IMAGE_TASKS, OLD_TASKS
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Invalid, Unavailable
from moln.kernel.http.schemas import Described
from moln.kernel.module import Module

if TYPE_CHECKING:
    from moln.image.drivers.peers import Peers

GIB = 1 << 30
CATALOGUE = Path(__file__).with_name("catalogue")  # a namespace in each file, as POST /v2/metadefs/namespaces takes it
RESOURCE_TYPES = ("OS::Cinder::Volume", "OS::Glance::Image", "OS::Nova::Aggregate", "OS::Nova::Flavor", "OS::Nova::Server")
OUTPUTS = ("", "raw", "qcow2")
NAME = re.compile("[A-Za-z0-9_-]{1,64}")


def module(settings: Any) -> Module:
    """A simulated cloud sniffs what is uploaded as any other; it boots nothing real, so it converts nothing and needs no qemu-img."""

    several = settings.database_url and settings.link.nats  # else no other controller can join
    here = replicas.Here(settings.link.controller or socket.gethostname()) if several else None
    caches = settings.image.cache_gib > 0 and not all(isinstance(place, str) for place in settings.image.stores.values())

    async def setup(cloud: Cloud) -> None:
        if not settings.simulate and not shutil.which("qemu-img"):
            raise Unavailable("qemu-img is missing: install qemu-utils (Debian, Ubuntu) or qemu-img (RHEL).")
        QUOTA.defaults |= {
            "image_count_total": settings.image.quota_images,
            "image_size_total": settings.image.quota_size_mib,
            "image_stage_total": settings.image.quota_staged_mib,
            "image_count_uploading": settings.image.quota_uploading,
        }
        check(settings.image)
        sandbox = Sandbox(at_once=settings.image.conversions, max_virtual=settings.image.max_virtual_gib * GIB)
        try:
            allowed = Allowed(settings.image.import_allow)
            cloud.areas["image-protections"] = Protections(settings.image.protected_properties)
        except ValueError as error:
            raise Invalid(f"[image] {error}") from None
        store = _store(cloud, settings, sandbox, caches=caches)
        cloud.areas["image"] = store
        if not here:
            await store.start()
        else:
            store.peers = peers_of(cloud, here)
            cloud.areas[replicas.AREA] = here
            await replicas_work.look(cloud)
        cloud.areas[AREA] = OrderedDict()
        cloud.areas["image-web"] = Web(allowed)
        specs = [to_spec(msgspec.json.decode(path.read_bytes())) for path in sorted(CATALOGUE.glob("*.json"))]
        await cloud.db.write(metadefs_ops.bootstrap_in, cloud.system_context(), specs, RESOURCE_TYPES)

    async def close(cloud: Cloud) -> None:
        await cloud.areas["image-web"].stop()
        await cloud.areas["image"].stop()

    return Module(
        "image",
        routes=(
            cache_api.routes,
            discovery.routes,
            images.routes,
            data.routes,
            imports.routes,
            tasks.routes,
            metadefs.routes,
            metadef_schemas.routes,
        ),  # fmt: skip
        reconcilers=(files_of(here), LOST_UPLOADS, IMAGE_TASKS, *([replicas_work.reconciler(here)] if here else [])),
        periodics=(OLD_TASKS, *([IMAGE_CACHE] if caches else []), *([replicas_work.FORGET] if here else [])),
        invariants=(FILES_MATCH_ROWS, QUOTA_MATCHES_ROWS),
        setup=setup,
        close=close,
        describe=_describe,
    )


def _store(cloud: Cloud, settings: Any, sandbox: Sandbox, *, caches: bool) -> FileStore:
    """Where images lie. Raises: Invalid."""
    named = settings.image.stores
    further = {name: cloud.home / place for name, place in named.items() if isinstance(place, str)}
    remote = {name: backend_of(cloud.home, name, place) for name, place in named.items() if not isinstance(place, str)}
    pool = cloud.home / settings.image.folder
    cache = ImageCache(pool / "cache", settings.image.cache_gib * GIB) if caches else None
    return FileStore(
        pool, sandbox, convert=not settings.simulate, further=further, remote=remote, default=settings.image.default_store, cache=cache
    )


def peers_of(cloud: Cloud, here: replicas.Here) -> Peers:
    """The other controllers. Imported only where there may be some."""
    from moln.image.drivers.peers import GatePeers
    from moln.kernel.nodes.passport import Passport

    passport = Passport(cloud.home / "tls/controller.pem", cloud.home / "tls/ca.crt")
    return GatePeers(passport, cloud.clock.now_us, replicas.holders_of(cloud, here))


def check(settings: ImageSettings) -> None:
    """Raises: Invalid."""
    if settings.import_format not in OUTPUTS:
        raise Invalid(f"[image] import_format is one of {', '.join(OUTPUTS[1:])}, or empty.")
    if settings.default_store not in {DEFAULT, *settings.stores} or DEFAULT in settings.stores or not all(map(NAME.fullmatch, settings.stores)):
        raise Invalid(f"[image] default_store is one of {DEFAULT} and `stores`, whose names hold letters, digits, - and _ only.")


def backend_of(home: Path, name: str, place: S3Store | RbdStore) -> Backend:
    """What asks a store on other machines. Imported only where there is one. Raises: Invalid."""
    if isinstance(place, RbdStore):
        from moln.image.drivers.rbd import Cluster, RbdBackend

        keyring = str(home / place.keyring) if place.keyring else ""
        return RbdBackend(Cluster(str(home / place.conf), place.user, keyring, place.pool, place.timeout_s))
    from moln.image.drivers.s3 import S3Backend
    from moln.image.drivers.s3_requests import Bucket

    if not re.fullmatch(r"https?://[^/?#@]+(/[^?#]*)?", place.endpoint):
        raise Invalid(f"[image] the endpoint of the store {name} is http(s)://host[:port].")
    ca = str(home / place.ca) if place.ca else ""
    bucket = Bucket(place.endpoint, place.bucket, place.access_key, place.secret_key, place.region, ca, place.timeout_s)
    return S3Backend(bucket, prefix=place.prefix)


def _describe() -> Described:
    from moln.image.api.description import described

    return described()
