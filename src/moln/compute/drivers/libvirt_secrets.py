"""The key of a user of Ceph as a secret of libvirt: in its memory only, and told to nobody but QEMU, to which it is sent encrypted."""

from __future__ import annotations

import base64
import uuid
from xml.etree.ElementTree import Element, SubElement, tostring

import libvirt

from moln.kernel.errors import BackendRefused, Invalid
from moln.kernel.rbd import Access

NAMESPACE = uuid.UUID("4d2e5a0c-7d0f-4c1a-9a3e-0f5d3a8c6b21")


def id_of(access: Access) -> str:
    """The same on each node: a running server takes it along when it moves. Raises: Invalid."""
    return str(uuid.uuid5(NAMESPACE, f"{access.fsid}/client.{access.user}"))


def ensure(connection: libvirt.virConnect, access: Access) -> None:
    """libvirt has the key as it is now. Raises: BackendRefused; libvirtError."""
    try:
        id, key = id_of(access), base64.b64decode(access.key)
    except Invalid as error:
        raise BackendRefused("The host has no key for Ceph.", detail=error.message) from error
    try:
        secret = connection.secretLookupByUUIDString(id)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise
        secret = connection.secretDefineXML(_xml(id, access))
    secret.setValue(key)


def _xml(id: str, access: Access) -> str:
    element = Element("secret", ephemeral="yes", private="yes")
    SubElement(element, "uuid").text = id
    usage = SubElement(element, "usage", type="ceph")
    SubElement(usage, "name").text = f"client.{access.user} {access.fsid}"
    return tostring(element, encoding="unicode")
