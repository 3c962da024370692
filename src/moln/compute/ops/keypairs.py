"""Key pairs: each user's own; an administrator may act on others'."""

from __future__ import annotations

import asyncio

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from moln.compute.model.keypairs import SSH, X509, Keypair, ssh_fingerprint
from moln.compute.ops.quotas import QUOTA
from moln.compute.store import keypairs as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound

P = "os_compute_api:os-keypairs"


async def find(db: Reader, user_id: str, name: str) -> Keypair | None:
    return await db.one(store.GET, user_id=user_id, name=name)


async def show(ctx: RequestContext, user_id: str, name: str) -> Keypair:
    """Raises: NotFound."""
    ctx.require("compute", f"{P}:show", {"user_id": user_id})
    found = await find(ctx.db, user_id, name)
    if found is None:
        raise NotFound(f"Keypair {name} not found for user {user_id}")
    return found


async def search(ctx: RequestContext, user_id: str, *, marker: str | None, limit: int | None) -> list[Keypair]:
    """A page, by name. Raises: Invalid, for an unknown marker."""
    ctx.require("compute", f"{P}:index", {"user_id": user_id})
    where = [("user_id", "eq", user_id)]
    if marker is None:
        return await store.LIST.page(ctx.db, where, sort=[("name", "asc")], limit=limit)
    if await find(ctx.db, user_id, marker) is None:
        raise Invalid(f"Marker could not be found: {marker}", field="marker")
    return await store.LIST.page(ctx.db, [*where, ("name", "gt", marker)], sort=[("name", "asc")], limit=limit)


async def create(ctx: RequestContext, user_id: str, name: str, kind: str, public_key: str | None) -> tuple[Keypair, str | None]:
    """(the key pair, the private key where we made it: it is kept nowhere). Raises: Conflict, Invalid, Forbidden."""
    ctx.require("compute", f"{P}:create", {"user_id": user_id})
    private = None
    if public_key is None:
        if kind == X509:
            from moln.compute.ops import certificates  # its library costs memory and time at the start, and few ask for such keys

            public_key, private = await asyncio.to_thread(certificates.generate, user_id, ctx.now_us)
        else:
            public_key, private = _generate()
    fingerprint = _fingerprint(kind, public_key)
    made = Keypair(user_id, name, kind, public_key, fingerprint, ctx.now_us)
    most = (await QUOTA.limits(ctx.db, ctx.project_id or ""))["key_pairs"]
    await ctx.db.write(_create_in, made, most)
    return await show(ctx, user_id, name), private


def _generate() -> tuple[str, str]:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    return f"{public.decode()} Generated-by-Nova", private.decode()


def _fingerprint(kind: str, public_key: str) -> str:
    """Raises: Invalid."""
    try:
        if kind == SSH:
            return ssh_fingerprint(public_key)
        return _certificate_fingerprint(public_key)
    except ValueError:
        raise Invalid("Keypair data is invalid: failed to generate fingerprint", field="public_key") from None


def _certificate_fingerprint(pem: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    digest = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA1()).hex()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


async def _create_in(tx: Transaction, made: Keypair, most: int) -> None:
    if await find(tx, made.user_id, made.name) is not None:
        raise Conflict(f"Key pair '{made.name}' already exists.")
    if 0 <= most <= len(await tx.all(store.NAMES, user_id=made.user_id)):
        raise Forbidden("Quota exceeded, too many key pairs.")
    row = {f: getattr(made, f) for f in made.__struct_fields__ if f != "rowid"}
    if not await tx.insert(store.keypairs, row, if_absent=True):
        raise Conflict(f"Key pair '{made.name}' already exists.")


async def remove(ctx: RequestContext, user_id: str, name: str) -> None:
    """Raises: NotFound."""
    ctx.require("compute", f"{P}:delete", {"user_id": user_id})
    await ctx.db.write(_remove_in, user_id, name)


async def _remove_in(tx: Transaction, user_id: str, name: str) -> None:
    if not await tx.delete(store.keypairs, user_id=user_id, name=name):
        raise NotFound(f"Keypair {name} not found for user {user_id}")
