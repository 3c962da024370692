"""Key pairs over HTTP."""

from __future__ import annotations

from tests.compute.test_flavors import call

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@here"


async def test_a_key_is_imported_shown_listed_and_removed(api):
    made = await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "k@home.1", "public_key": ED25519}})
    assert made.status_code == 201, made.text
    key = made.json()["keypair"]
    assert key["fingerprint"] == "65:96:2d:fc:e8:d5:a9:11:64:0c:0f:ea:00:6e:5b:bd"  # as ssh-keygen -E md5 -l says
    assert "private_key" not in key and key["type"] == "ssh"
    shown = (await call(api.member, "GET", "/os-keypairs/k@home.1")).json()["keypair"]
    assert (shown["public_key"], shown["deleted"], shown["user_id"]) == (ED25519, False, key["user_id"])
    assert [k["keypair"]["name"] for k in (await call(api.member, "GET", "/os-keypairs")).json()["keypairs"]] == ["k@home.1"]
    assert (await call(api.admin, "GET", "/os-keypairs")).json()["keypairs"] == []
    assert len((await call(api.admin, "GET", f"/os-keypairs?user_id={key['user_id']}")).json()["keypairs"]) == 1
    assert (await call(api.member, "DELETE", "/os-keypairs/k@home.1")).status_code == 204
    assert (await call(api.member, "GET", "/os-keypairs/k@home.1")).status_code == 404


async def test_a_key_made_here_is_told_once_and_old_versions_only(api):
    made = await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "k"}}, at="2.1")
    assert made.status_code == 200
    assert made.json()["keypair"]["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "private_key" not in (await call(api.member, "GET", "/os-keypairs/k")).json()["keypair"]
    assert (await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "k2"}})).status_code == 400
    assert (await call(api.member, "DELETE", "/os-keypairs/k", at="2.1")).status_code == 202


async def test_bad_keys_are_refused(api):
    for bad in ("", "ssh-rsa", "ssh-rsa notbase64", ED25519.replace("ssh-ed25519", "ssh-rsa", 1)):
        answer = await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "k", "public_key": bad}})
        assert answer.json()["badRequest"]["message"] == "Keypair data is invalid: failed to generate fingerprint"
    for name in ("a/b", "ü", "", "x" * 256):
        assert (await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": name, "public_key": ED25519}})).status_code == 400
    first = await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "k", "public_key": ED25519}})
    assert first.status_code == 201
    again = await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "k", "public_key": ED25519}})
    assert again.json()["conflictingRequest"]["message"] == "Key pair 'k' already exists."


async def test_another_users_keys_are_theirs(api):
    bob = await api.add_user("bob", project="demo")
    await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "k", "public_key": ED25519}})
    owner = (await call(api.member, "GET", "/os-keypairs/k")).json()["keypair"]["user_id"]
    assert (await call(bob, "GET", "/os-keypairs/k")).status_code == 404
    assert (await call(bob, "GET", f"/os-keypairs/k?user_id={owner}")).status_code == 403
    assert (await call(bob, "DELETE", f"/os-keypairs/k?user_id={owner}")).status_code == 403


async def test_there_are_at_most_so_many(api):
    projects = (await api.admin.get("/identity/v3/projects")).json()["projects"]
    demo = next(p["id"] for p in projects if p["name"] == "demo")
    assert (await call(api.admin, "PUT", f"/os-quota-sets/{demo}", {"quota_set": {"key_pairs": 1}})).status_code == 200
    assert (await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "a", "public_key": ED25519}})).status_code == 201
    over = await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "b", "public_key": ED25519}})
    assert over.json()["forbidden"]["message"] == "Quota exceeded, too many key pairs."


async def test_a_certificate_made_here_belongs_to_its_private_key(api):
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    made = await call(api.member, "POST", "/os-keypairs", {"keypair": {"name": "win", "type": "x509"}}, at="2.91")
    assert made.status_code == 201, made.text
    key = made.json()["keypair"]
    certificate = x509.load_pem_x509_certificate(key["public_key"].encode())
    private = serialization.load_pem_private_key(key["private_key"].encode(), None)
    assert certificate.public_key() == private.public_key() and key["type"] == "x509"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert f"{key['user_id']}@localhost".encode() in names[0].value
