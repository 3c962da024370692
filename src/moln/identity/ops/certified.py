"""Tokens for users who prove themselves by a certificate (RFC 8705), good with that certificate alone.

TLS has verified it; a mapping says from its names which user it is. As Keystone has it, rules read SSL_CLIENT_SUBJECT_DN_CN and so on,
and SSL_CLIENT_ISSUER_DN_…; all that the mapping says of the user has to be so, and it has to say enough to mean one.
"""

from __future__ import annotations

from typing import Any

from moln.identity import settings
from moln.identity.model import mapping as language
from moln.identity.model.mapping import Unmapped
from moln.identity.model.tokens import OpenToken, Scope
from moln.identity.model.users import User
from moln.identity.ops import tokens
from moln.identity.ops.examining import active_domain, active_user, unauthorized
from moln.identity.ops.tokens import Grounds
from moln.identity.store import federation as store
from moln.kernel.cloud import Cloud
from moln.kernel.http.access import thumbprint

METHOD = "oauth2_credential"
_NAMES = {  # object identifiers (RFC 4519, RFC 2985) and how web servers call them
    "2.5.4.3": "CN", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET", "2.5.4.5": "SERIALNUMBER",
    "2.5.4.42": "GN", "2.5.4.4": "SN", "0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID", "1.2.840.113549.1.9.1": "EMAILADDRESS",
}  # fmt: skip


def names_of(der: bytes) -> dict[str, list[str]]:
    """Raises: ValueError, for what is no certificate."""
    from cryptography import x509  # needed by few clouds, and not small

    found: dict[str, list[str]] = {}
    shown = x509.load_der_x509_certificate(der)
    for whose, name in (("SUBJECT", shown.subject), ("ISSUER", shown.issuer)):
        for attribute in name:
            if (short := _NAMES.get(attribute.oid.dotted_string)) and isinstance(attribute.value, str) and attribute.value:
                found.setdefault(f"SSL_CLIENT_{whose}_DN_{short}", []).append(attribute.value)
    return found


async def issue(cloud: Cloud, user_id: str, der: bytes) -> tuple[str, OpenToken]:
    """A token of a user on their default project, for the holder of a certificate. Raises: Unauthorized."""
    mapping = await store.find_mapping(cloud.db, settings.of(cloud).federation.oauth2_mapping)
    if mapping is None:
        raise unauthorized("there is no mapping of certificates")
    try:
        mapped = language.apply(language.rules_of(mapping.rules), names_of(der))
    except (Unmapped, ValueError) as error:
        raise unauthorized(f"the mapping {mapping.id}: {error}") from None
    user = await active_user(cloud.db, user_id)
    domain = await active_domain(cloud.db, user.domain_id)
    if not _is(mapped.user, user, domain.name):
        raise unauthorized(f"the certificate is not that of user {user.id}")
    if user.default_project_id is None or (user.rules and not any(set(rule) <= {METHOD} for rule in user.rules)):
        raise unauthorized(f"user {user.id} has no default project, or needs more than a certificate")
    return await tokens.issue(cloud, Grounds(user, (METHOD,), thumbprint=thumbprint(der)), Scope(project_id=user.default_project_id))


def _is(said: dict[str, Any], user: User, domain_name: str) -> bool:
    """Whether what a mapping says is true of a user, and of no other."""
    domain = said.get("domain", {})
    pairs = [(said.get("id"), user.id), (said.get("name"), user.name), (said.get("email"), user.extra.get("email")),
             (domain.get("id"), user.domain_id), (domain.get("name"), domain_name)]  # fmt: skip
    means_one = bool(said.get("id")) or bool(said.get("name") and (domain.get("id") or domain.get("name")))
    return means_one and all(value == true for value, true in pairs if value)
