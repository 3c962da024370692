"""This cloud vouches for its users to others: SAML assertions of who has a token ("Keystone to Keystone")."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from moln.identity import settings
from moln.identity.model.federation import ServiceProvider
from moln.identity.model.tokens import OpenToken
from moln.identity.ops import tokens
from moln.identity.ops.access import missing
from moln.identity.ops.state import of
from moln.identity.store import federation as store
from moln.identity.store import groups as group_store
from moln.identity.store import projects as project_store
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Forbidden, NotFound, NotSupported

if TYPE_CHECKING:
    from moln.identity.model.saml import Signer

LASTS_S = 3600  # an assertion, at most; no longer than its token
MOST = 500  # groups that one names


async def assertion(cloud: Cloud, token: str, sp_id: str, issuer: str, *, wrapped: bool) -> tuple[bytes, ServiceProvider]:
    """What a service provider takes for a token, in XML; wrapped: for a client to carry. Raises: Unauthorized, NotFound, Forbidden, NotSupported."""
    signer = await _signer(cloud)
    from moln.identity.model.saml import Said, envelope, response, text

    provider = await store.find_service_provider(cloud.db, sp_id)
    if provider is None:
        raise missing("service provider", sp_id)
    if not provider.enabled:
        raise Forbidden(f"Service Provider {sp_id} is disabled")
    opened = await tokens.open_token(cloud, token)
    payload, project = opened.payload, opened.project
    if project is None or opened.project_domain is None:
        raise Forbidden("Use a project scoped token when attempting to create a SAML assertion")
    if payload.lent or payload.application_credential_id or payload.thumbprint:
        raise Forbidden("A token that was delegated, or is bound to a certificate, is good for this cloud alone.")
    now_s = cloud.clock.now_us() // 1_000_000
    ids = ("_" + cloud.ids.hex(), "_" + cloud.ids.hex(), "_" + cloud.ids.hex())
    said = Said(issuer, provider.sp_url, opened.user.name, await _attributes(cloud, opened), ids, now_s, min(now_s + LASTS_S, payload.expires_at // 1_000_000))
    state = provider.relay_state_prefix + cloud.ids.hex()

    def made() -> bytes:
        inside = response(said, signer)
        return text(envelope(inside, state) if wrapped else inside)

    try:
        return await asyncio.to_thread(made), provider
    except ValueError as error:
        raise Forbidden("A name has characters that XML has no place for.", detail=str(error)) from None


async def _attributes(cloud: Cloud, opened: OpenToken) -> dict[str, list[str]]:
    """Groups are in JSON, each with its domain, as Keystone's mappings read them."""
    groups = []
    for group in (await group_store.of_user(cloud.db, opened.user.id))[:MOST]:
        domain = await project_store.find_domain(cloud.db, group.domain_id)
        groups.append("JSON:" + json.dumps({"name": group.name, "domain": {"name": domain.name if domain else ""}}))
    assert opened.project is not None and opened.project_domain is not None
    found = {
        "openstack_user": [opened.user.name], "openstack_roles": [role.name for role in opened.roles], "openstack_project": [opened.project.name],
        "openstack_project_domain": [opened.project_domain.name], "openstack_user_domain": [opened.user_domain.name],
    }  # fmt: skip
    return found | ({"openstack_groups": groups} if groups else {})


async def metadata(cloud: Cloud, entity_id: str, sign_in_url: str) -> bytes:
    """Raises: NotFound, NotSupported."""
    signer = await _signer(cloud)
    from moln.identity.model import saml

    return saml.text(saml.metadata(entity_id, sign_in_url, signer.certificate))


async def _signer(cloud: Cloud) -> Signer:
    """Raises: NotFound, NotSupported, when there is nothing to sign with."""
    wanted = settings.of(cloud).federation
    if not wanted.saml_certificate:
        raise NotFound("This cloud signs no assertions: identity.federation.saml_certificate and saml_key say with what.")
    try:
        from moln.identity.model.saml import signer_of

        certificate, key = [await asyncio.to_thread(Path(name).read_bytes) for name in (wanted.saml_certificate, wanted.saml_key or wanted.saml_certificate)]
        return signer_of(key, certificate)
    except ModuleNotFoundError as absent:
        raise NotSupported(f"SAML needs the Python package {absent.name}: pip install 'moln[federation]'.") from None
    except (OSError, ValueError) as error:
        raise NotSupported("The certificate or key that signs assertions cannot be used.", detail=str(error)) from None


async def providers(cloud: Cloud) -> list[dict[str, str]]:
    """The other clouds, as tokens name them."""
    state = of(cloud)
    if state.service_providers is None or not cloud.db.feed.fresh:
        generation = state.generation
        found = await store.SERVICE_PROVIDER_LISTING.page(cloud.db, [("enabled", "eq", 1)], limit=1000)
        made = [{"id": p.id, "auth_url": p.auth_url, "sp_url": p.sp_url} for p in found]
        if generation != state.generation:
            return made
        state.service_providers = made
    return state.service_providers
