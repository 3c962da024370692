"""SAML 2.0 as Keystone speaks it to other clouds ("Keystone as an Identity Provider"): a signed assertion of who has a token, and metadata.

lxml and signxml come with the extra `federation`; only what needs this module imports it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from lxml import etree
from msgspec import Struct
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner

SAML, PROTOCOL = "urn:oasis:names:tc:SAML:2.0:assertion", "urn:oasis:names:tc:SAML:2.0:protocol"
METADATA, SIGNATURE = "urn:oasis:names:tc:SAML:2.0:metadata", "http://www.w3.org/2000/09/xmldsig#"
SOAP, ECP = "http://schemas.xmlsoap.org/soap/envelope/", "urn:oasis:names:tc:SAML:2.0:profiles:SSO:ecp"
BEARER, PASSWORD = "urn:oasis:names:tc:SAML:2.0:cm:bearer", "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
ENTITY, TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity", "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
SUCCESS, BY_URI = "urn:oasis:names:tc:SAML:2.0:status:Success", "urn:oasis:names:tc:SAML:2.0:bindings:URI"
NEXT = "http://schemas.xmlsoap.org/soap/actor/next"
_NAMES = {"saml": SAML, "samlp": PROTOCOL, "ds": SIGNATURE, "md": METADATA, "soap": SOAP, "ecp": ECP}


class Said(Struct, frozen=True):
    """What is asserted of somebody. issuer: this cloud; recipient: the other one's address. ids: of the response, assertion and session.

    issued_s, expires_s: seconds UTC. attributes: by Keystone's names.
    """

    issuer: str
    recipient: str
    user: str
    attributes: dict[str, list[str]]
    ids: tuple[str, str, str]
    issued_s: int
    expires_s: int


class Signer(Struct, frozen=True):
    """What signs: both in PEM. elliptic: whether it is a key of ECDSA's."""

    key: bytes
    certificate: bytes
    elliptic: bool = False


def signer_of(key: bytes, certificate: bytes) -> Signer:
    """Raises: ValueError, when one is not what it should be, or they do not belong together."""
    try:
        private = load_pem_private_key(key, None)
        public = load_pem_x509_certificate(certificate).public_key()
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None
    if not isinstance(private, RSAPrivateKey | EllipticCurvePrivateKey) or public != private.public_key():
        raise ValueError("the key has to be RSA's or ECDSA's, and the certificate that key's")
    return Signer(key, certificate, isinstance(private, EllipticCurvePrivateKey))


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _root(name: str, **attributes: str) -> Any:
    prefix, _, local = name.partition(":")
    return etree.Element(f"{{{_NAMES[prefix]}}}{local}", attributes, nsmap={prefix: _NAMES[prefix]})


def _add(parent: Any, name: str, text: str | None = None, **attributes: str) -> Any:
    prefix, _, local = name.partition(":")
    made = etree.SubElement(parent, f"{{{_NAMES[prefix]}}}{local}", attributes, nsmap={prefix: _NAMES[prefix]})
    made.text = text
    return made


def _assertion(said: Said, signer: Signer) -> Any:
    """Signed (RSA or ECDSA with SHA-256, exclusive canonicalisation: it may be put into anything)."""
    root = _root("saml:Assertion", ID=said.ids[1], IssueInstant=_time(said.issued_s), Version="2.0")
    _add(root, "saml:Issuer", said.issuer, Format=ENTITY)
    _add(root, "ds:Signature", Id="placeholder")
    subject = _add(root, "saml:Subject")
    _add(subject, "saml:NameID", said.user)
    confirmed = _add(subject, "saml:SubjectConfirmation", Method=BEARER)
    _add(confirmed, "saml:SubjectConfirmationData", NotOnOrAfter=_time(said.expires_s), Recipient=said.recipient)
    _add(root, "saml:Conditions", NotBefore=_time(said.issued_s), NotOnOrAfter=_time(said.expires_s))
    signed_in = _add(root, "saml:AuthnStatement", AuthnInstant=_time(said.issued_s), SessionIndex=said.ids[2], SessionNotOnOrAfter=_time(said.expires_s))
    context = _add(signed_in, "saml:AuthnContext")
    _add(context, "saml:AuthnContextClassRef", PASSWORD)
    _add(context, "saml:AuthenticatingAuthority", said.issuer)
    attributes = _add(root, "saml:AttributeStatement")
    for name, values in said.attributes.items():
        attribute = _add(attributes, "saml:Attribute", Name=name)
        for value in values:
            _add(attribute, "saml:AttributeValue", value)
    kind = SignatureMethod.ECDSA_SHA256 if signer.elliptic else SignatureMethod.RSA_SHA256
    made = XMLSigner(SignatureConstructionMethod.enveloped, kind, DigestAlgorithm.SHA256, CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0)
    return made.sign(root, key=signer.key, cert=signer.certificate.decode(), reference_uri=said.ids[1], id_attribute="ID")


def response(said: Said, signer: Signer) -> Any:
    """Raises: ValueError, when something cannot be said in XML."""
    root = _root("samlp:Response", Destination=said.recipient, ID=said.ids[0], IssueInstant=_time(said.issued_s), Version="2.0")
    _add(root, "saml:Issuer", said.issuer, Format=ENTITY)
    _add(_add(root, "samlp:Status"), "samlp:StatusCode", Value=SUCCESS)
    root.append(_assertion(said, signer))
    return root


def envelope(inside: Any, relay_state: str) -> Any:
    """For clients that carry it themselves (Enhanced Client or Proxy)."""
    root = _root("soap:Envelope")
    state = _add(_add(root, "soap:Header"), "ecp:RelayState", relay_state)
    state.set(f"{{{SOAP}}}actor", NEXT)
    state.set(f"{{{SOAP}}}mustUnderstand", "1")
    _add(root, "soap:Body").append(inside)
    return root


def metadata(entity_id: str, sign_in_url: str, certificate: bytes) -> Any:
    """What another cloud has to know of this one."""
    root = _root("md:EntityDescriptor", entityID=entity_id)
    descriptor = _add(root, "md:IDPSSODescriptor", protocolSupportEnumeration=PROTOCOL)
    data = _add(_add(_add(descriptor, "md:KeyDescriptor", use="signing"), "ds:KeyInfo"), "ds:X509Data")
    body = certificate.decode().partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
    _add(data, "ds:X509Certificate", "".join(body.split()))
    _add(descriptor, "md:NameIDFormat", TRANSIENT)
    _add(descriptor, "md:SingleSignOnService", Binding=BY_URI, Location=sign_in_url)
    return root


def text(root: Any) -> bytes:
    made: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return made
