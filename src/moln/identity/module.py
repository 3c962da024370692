"""Identity as app.py takes it."""

from __future__ import annotations

from moln.identity.api import (  # noqa: F401 (each declares its routes)
    access_rules,
    application_credentials,
    assignments,
    catalog,
    credentials,
    domain_configs,
    domains,
    endpoint_groups,
    endpoint_policies,
    federated_auth,
    federation,
    grants,
    groups,
    keyed_tokens,
    limits,
    oauth1,
    projects,
    revocations,
    roles,
    saml,
    tokens,
    trusts,
    users,
    versions,
    websso,
)
from moln.identity.api.service import at_root, routes
from moln.identity.ops import limits as limits_ops
from moln.identity.ops import rotation
from moln.identity.ops.bootstrap import bootstrap
from moln.identity.ops.invariants import INVARIANTS
from moln.identity.ops.signing_in import look_again
from moln.identity.ops.state import State, of
from moln.identity.ops.tokens import authenticate, authenticate_late
from moln.kernel.cloud import Cloud
from moln.kernel.config import Settings
from moln.kernel.http.schemas import Described
from moln.kernel.module import Module
from moln.kernel.work import Periodic, Work

NAME = "identity"
DIRECTORIES_S = 60.0


async def _set_up(cloud: Cloud) -> None:
    cloud.areas[NAME] = State(cloud)
    cloud.authenticate = authenticate
    cloud.authenticate_late = authenticate_late
    await bootstrap(cloud)
    await limits_ops.choose_model(cloud)
    await rotation.take(cloud)


async def _close(cloud: Cloud) -> None:
    await of(cloud).close()


async def _rotate_keys(work: Work) -> None:
    await rotation.rotate(work.cloud)


async def _look_again(work: Work) -> None:
    """Who was disabled in a directory, or left a group there, has lost their tokens by now."""
    await look_again(work.cloud)


def module(settings: Settings) -> Module:
    return Module(
        NAME,
        routes=(routes, at_root()),
        periodics=(
            Periodic("identity.keys", _rotate_keys, every_s=rotation.LOOK_S, everywhere=True),
            Periodic("identity.directories", _look_again, every_s=DIRECTORIES_S),
        ),
        invariants=INVARIANTS,
        setup=_set_up,
        close=_close,
        describe=_describe,
    )


def _describe() -> Described:
    from moln.identity.api.description import described

    return described()
