"""Which microversion a request asks for, and how the answer says it."""

from __future__ import annotations

from moln.kernel import errors
from moln.kernel.context import Version
from moln.kernel.http.bodies import ANY_VERSION
from moln.kernel.http.routes import Service


def negotiate(service: Service, header: str | None, legacy: str | None) -> Version:
    """The microversion asked for (api-ref, "Microversions"). Raises: Invalid, NotAcceptable."""
    asked = legacy
    for part in (header or "").split(","):
        word, _, number = part.strip().partition(" ")
        if word.lower() == service.header:
            asked = number.strip()
    if asked is None:
        return service.min_version
    if asked == "latest":
        return service.max_version
    major, dot, minor = asked.partition(".")
    if not (dot and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit() and len(asked) < 12):
        raise errors.Invalid(f"API Version String {asked[:40]} is of invalid format. Must be of format MajorNum.MinorNum.")
    found = (int(major), int(minor))
    if not service.min_version <= found <= service.max_version:
        low, high = (".".join(map(str, v)) for v in (service.min_version, service.max_version))
        raise errors.NotAcceptable(
            f"Version {asked} is not supported by the API. Minimum is {low} and maximum is {high}.")
    return found


class Versions:
    """What one service's headers ask for, and the headers that say what was given; each combination worked out once."""

    KEPT = 512  # combinations, at most

    def __init__(self, service: Service):
        self._service = service
        self._legacy = service.legacy_header.lower().encode()
        self._asked: dict[tuple[bytes | None, bytes | None], Version] = {}
        self._given: dict[Version, dict[str, str]] = {}

    def asked(self, headers: dict[bytes, bytes]) -> Version:
        service = self._service
        if not service.header:
            return ANY_VERSION
        key = (headers.get(b"openstack-api-version"), headers.get(self._legacy))
        found = self._asked.get(key)
        if found is None:
            found = negotiate(service, *(None if text is None else text.decode("latin-1") for text in key))
            if len(self._asked) < self.KEPT:
                self._asked[key] = found
        return found

    def headers(self, version: Version) -> dict[str, str]:
        found = self._given.get(version)
        if found is None:
            found = {}
            service = self._service
            if service.header:
                text = f"{version[0]}.{version[1]}"
                found["openstack-api-version"] = f"{service.header} {text}"
                found["vary"] = "OpenStack-API-Version"
                if service.legacy_header:
                    found[service.legacy_header.lower()] = text
                    found["vary"] += ", " + service.legacy_header
            self._given[version] = found
        return found
