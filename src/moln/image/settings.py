"""The settings of the image area (`[image]` in moln.toml)."""

from __future__ import annotations

from msgspec import Struct, field

from moln.image.model.protections import Protection


class S3Store(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="s3"):
    """A bucket. endpoint: http(s)://host[:port]; secret_key: of the access key; prefix: what the names of our objects begin with; ca: a file
    with the authority of the server's certificate, empty: the system's; timeout_s: how long the server may say nothing.
    """

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    prefix: str = ""
    ca: str = ""
    timeout_s: float = 30.0


class RbdStore(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="rbd"):
    """A pool of Ceph. user: without `client.`; conf: ceph.conf; keyring: a file with the user's key, empty: where ceph.conf says; both must be
    the controller's to read. timeout_s: how long the cluster may do nothing.
    """

    pool: str = "images"
    user: str = "glance"
    conf: str = "/etc/ceph/ceph.conf"
    keyring: str = ""
    timeout_s: float = 30.0


class ImageSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """folder: where images lie, below the cloud's home or absolute; the node reads `base` there and writes `incoming`, and booting is
    fast when it is on the volumes' file system. max_size_gib: the largest image; max_virtual_gib: the largest disk inside one;
    page: images per page unless asked; conversions: children that look into images at a time.
    quota_images, quota_size_mib, quota_staged_mib: what a project may store, or have waiting for an import, unless an operator says
    otherwise; quota_uploading: images that may be on their way in at once; -1: no bound.
    import_unpack: whether what is imported as a gzip, bzip2, xz or zip file is unpacked; import_format: raw or qcow2, what imported disks
    are converted to, empty: none is; signed images stay as they are.
    import_properties: what every imported image has besides; import_properties_except: the roles whose imports have not.
    import_methods: of glance-direct, web-download, copy-image and glance-download. import_allow: from where images may be fetched besides the public
    internet at the ports 80 and 443: hosts by name, addresses (both with `:port` or without) and networks. stores: further
    stores by name, beside `pool`: a folder, or `{type = "s3", endpoint, bucket, access_key, secret_key}`, or
    `{type = "rbd", pool, user}`. default_store: where data lies that names no store. cache_gib: how much of what lies in stores on other
    machines is cached on this controller's disk; 0: nothing is, nor where all stores are folders. certificates: the folder with what signed
    images are checked by, `<img_signature_certificate_uuid>.pem`. protected_properties: by the beginning of their names (regular expressions),
    the roles that may create, read, update and delete them; the first that matches decides, and what none matches is nobody's.
    """

    folder: str = "pool/images"
    max_size_gib: int = 1024
    max_virtual_gib: int = 16384
    page: int = 25
    conversions: int = 2
    quota_images: int = -1
    quota_size_mib: int = -1
    quota_staged_mib: int = -1
    quota_uploading: int = -1
    import_methods: list[str] = field(default_factory=lambda: ["glance-direct", "web-download", "copy-image", "glance-download"])
    import_allow: list[str] = []
    import_unpack: bool = False
    import_format: str = ""
    import_properties: dict[str, str] = {}
    import_properties_except: list[str] = field(default_factory=lambda: ["admin"])
    stores: dict[str, str | S3Store | RbdStore] = {}
    default_store: str = "pool"
    cache_gib: int = 10
    certificates: str = "certificates"
    protected_properties: dict[str, Protection] = {}
