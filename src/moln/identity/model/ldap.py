"""What a domain's configuration says of its LDAP server (Keystone's options `[ldap]`), and what an entry there means here. Pure."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from moln.identity.model.directory import Circle, Person
from moln.identity.model.domain_configs import DEFAULTS

MAX_NAME = 255
TRUE = frozenset({"true", "yes", "on", "1"})
NESTED = ":1.2.840.113556.1.4.1941:"  # Active Directory's rule that follows groups in groups
Attributes = dict[str, list[bytes]]  # by names in lower case


class LdapOptions(Struct, frozen=True):
    """The options that we act on; the others are kept. Names and defaults are Keystone's. password: of `user`, who reads."""

    url: str
    user: str | None
    suffix: str
    query_scope: Literal["one", "sub"]
    page_size: int
    user_tree_dn: str | None
    user_filter: str | None
    user_objectclass: str
    user_id_attribute: str
    user_name_attribute: str
    user_mail_attribute: str | None
    user_description_attribute: str | None
    user_enabled_attribute: str
    user_enabled_invert: bool
    user_enabled_mask: int
    user_enabled_default: str
    user_attribute_ignore: list[str]
    user_default_project_id_attribute: str | None
    user_enabled_emulation: bool
    user_enabled_emulation_dn: str | None
    user_enabled_emulation_use_group_config: bool
    user_additional_attribute_mapping: list[str]
    group_tree_dn: str | None
    group_filter: str | None
    group_objectclass: str
    group_id_attribute: str
    group_name_attribute: str
    group_members_are_ids: bool
    group_member_attribute: str
    group_desc_attribute: str | None
    group_attribute_ignore: list[str]
    group_additional_attribute_mapping: list[str]
    group_ad_nesting: bool
    tls_cacertfile: str | None
    tls_cacertdir: str | None
    use_tls: bool
    tls_req_cert: Literal["demand", "try", "allow", "never"]
    pool_size: int
    pool_connection_timeout: float
    password: str | None = None

    @property
    def urls(self) -> list[str]:
        return [url.strip() for url in self.url.split(",") if url.strip()]

    @property
    def users_dn(self) -> str:
        return self.user_tree_dn or f"ou=Users,{self.suffix}"

    @property
    def groups_dn(self) -> str:
        return self.group_tree_dn or f"ou=UserGroups,{self.suffix}"

    @property
    def emulation_dn(self) -> str:
        return self.user_enabled_emulation_dn or f"cn=enabled_users,{self.users_dn}"

    @property
    def emulation_attribute(self) -> str:
        return self.group_member_attribute if self.user_enabled_emulation_use_group_config else "member"


def options_of(given: dict[str, Any]) -> LdapOptions:
    """Raises: ValueError, saying what cannot be."""
    values = DEFAULTS["ldap"] | given
    for name in ("user_attribute_ignore", "user_additional_attribute_mapping", "group_attribute_ignore", "group_additional_attribute_mapping"):
        if isinstance(values[name], str):
            values = values | {name: [part.strip() for part in values[name].split(",") if part.strip()]}
    try:
        found: LdapOptions = msgspec.convert(values, LdapOptions, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    schemes = {urlsplit(url).scheme for url in found.urls}
    if not schemes or not schemes <= {"ldap", "ldaps"}:
        raise ValueError("url has to begin with ldap:// or ldaps://")
    if found.use_tls and "ldaps" in schemes:
        raise ValueError("use_tls and ldaps:// are one too many: the first is StartTLS")
    if found.tls_req_cert in ("allow", "never"):
        raise ValueError("tls_req_cert has to be demand: passwords go to nobody who has not proved who they are (name the authority in tls_cacertfile)")
    if found.user and not found.password:
        raise ValueError("user needs a password: a server takes a bind without one for nobody's")
    return found


def escaped(value: str | bytes) -> str:
    """A value inside a filter (RFC 4515): all that is no letter or digit, as its bytes. Nothing in it can end the filter."""
    raw = value.encode() if isinstance(value, str) else value
    return "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:02x}" for byte in raw)


def both(*filters: str | None) -> str:
    """All of them."""
    return "(&" + "".join(f if f.startswith("(") else f"({f})" for f in filters if f) + ")"


def is_id(attribute: str, local_id: str) -> str:
    """The filter that finds an entry by its id; Active Directory's objectGUID is written as a uuid and kept as bytes."""
    raw: str | bytes = local_id
    if attribute.lower() == "objectguid":
        with contextlib.suppress(ValueError):
            raw = uuid.UUID(local_id).bytes_le
    return f"({attribute}={escaped(raw)})"


def text(attribute: str, raw: bytes) -> str | None:
    """Raises nothing: what is no text is none."""
    if attribute.lower() == "objectguid" and len(raw) == 16:
        return str(uuid.UUID(bytes_le=raw))
    try:
        found = raw.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in found else found


def first(attributes: Attributes, name: str | None) -> str | None:
    values = attributes.get(name.lower(), []) if name else []
    return (text(name or "", values[0]) or None) if values else None


def is_enabled(options: LdapOptions, attributes: Attributes) -> bool:
    """What is no clear yes is a no. A mask names the bits of which none may be set (Active Directory's userAccountControl: 2)."""
    said = (first(attributes, options.user_enabled_attribute) or options.user_enabled_default).strip()
    number = int(said) if said.isascii() and said.isdigit() and len(said) < 20 else None
    if options.user_enabled_mask:
        return number is not None and number & options.user_enabled_mask != options.user_enabled_mask
    yes = said.lower() in TRUE or bool(number)
    return yes != options.user_enabled_invert


def person(options: LdapOptions, dn: str, attributes: Attributes) -> Person | None:
    """None, when it has no id or no name that can be one."""
    local_id, name = first(attributes, options.user_id_attribute), first(attributes, options.user_name_attribute)
    if not _fit(local_id, name) or local_id is None or name is None:
        return None
    more = {"email": options.user_mail_attribute, "description": options.user_description_attribute} | _more(options.user_additional_attribute_mapping)
    extra = _extra(attributes, more, options.user_attribute_ignore)
    project = None if "default_project_id" in options.user_attribute_ignore else first(attributes, options.user_default_project_id_attribute)
    enabled = True if options.user_enabled_emulation else is_enabled(options, attributes)
    return Person(local_id, name, dn, enabled, project, extra)


def circle(options: LdapOptions, dn: str, attributes: Attributes) -> Circle | None:
    """None, when it has no id or no name that can be one."""
    local_id, name = first(attributes, options.group_id_attribute), first(attributes, options.group_name_attribute)
    if not _fit(local_id, name) or local_id is None or name is None:
        return None
    description = None if "description" in options.group_attribute_ignore else first(attributes, options.group_desc_attribute)
    extra = _extra(attributes, _more(options.group_additional_attribute_mapping), options.group_attribute_ignore)
    return Circle(local_id, name, dn, description or "", extra)


def _fit(*names: str | None) -> bool:
    return all(name and name.strip() and len(name) <= MAX_NAME for name in names)


def _more(mapping: list[str]) -> dict[str, str | None]:
    """`ldap_attribute:attribute` pairs, by ours."""
    return {ours: theirs for theirs, colon, ours in (pair.partition(":") for pair in mapping) if colon and ours not in ("id", "name", "domain_id", "enabled")}


def _extra(attributes: Attributes, names: dict[str, str | None], ignored: list[str]) -> dict[str, Any]:
    found = {ours: first(attributes, theirs) for ours, theirs in names.items() if ours not in ignored}
    return {ours: value for ours, value in found.items() if value is not None}


def wanted(options: LdapOptions) -> list[str]:
    """The attributes of people that are asked for."""
    names = [options.user_id_attribute, options.user_name_attribute, options.user_enabled_attribute, options.user_mail_attribute,
             options.user_description_attribute, options.user_default_project_id_attribute, *_more(options.user_additional_attribute_mapping).values()]  # fmt: skip
    return sorted({name for name in names if name})


def wanted_of_groups(options: LdapOptions) -> list[str]:
    names = [options.group_id_attribute, options.group_name_attribute, options.group_desc_attribute,
             *_more(options.group_additional_attribute_mapping).values()]  # fmt: skip
    return sorted({name for name in names if name})
