"""Hashes that Keystone 30 itself made verify, and a sign-in renews them."""

from __future__ import annotations

import pytest
from tests.identity.conftest import Keystone, Someone, password_auth

from moln.identity.ops import foreign_hashes
from moln.identity.store import users as store
from moln.identity.store.users import USERS
from moln.kernel.db import Transaction

OF_OLD_SECRET = {
    "bcrypt": "$2b$04$zud9kZ9pKtZKSuPa9zMs7Oytq7IZ54JWIlvBvqFd8615cNysASqVG",
    "bcrypt-sha256": "$bcrypt-sha256$v=2,t=2b,r=4$//.A7QKkBpLVOiUTPJD/yO$0UZgu4JJh03/./LAOH99AKy.cxk2u1.",
    "scrypt": "$scrypt$ln=10,r=8,p=1$ho1crgXbO6vrCSo1N7WTSQ$dUE3xX/LVQWS2tsr+pDvG6SG9AU/5g4SCkxVan4TN+s",
    "pbkdf2-sha512": "$pbkdf2-sha512$100$Tadeb8JPQyGyMV6EqjpNwA$"
    "JU9dpTwHuBnjSEd2VkYFv6dI5KnOnJLqVwmdzuL2ipsZP6Dacx8Il8WlhF4YcXu/QeHZPLLjBKsUIVBYpsIakw",
}


@pytest.mark.parametrize("hashed", OF_OLD_SECRET.values(), ids=OF_OLD_SECRET.keys())
def test_a_hash_fits_its_password_alone(hashed: str) -> None:
    assert foreign_hashes.is_foreign(hashed)
    assert foreign_hashes.verify(hashed, "old secret")
    assert not foreign_hashes.verify(hashed, "old secret ")


@pytest.mark.parametrize("hashed", ["", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "$2b$04$short", "$scrypt$ln=10,r=8,p=1$$",
                                    "$scrypt$ln=40,r=8,p=1$ho1crgXbO6vrCSo1N7WTSQ$dUE3xX/LVQWS2tsr+pDvG6SG9AU"])  # fmt: skip
def test_what_is_no_hash_of_keystones_or_asks_for_too_much_fits_nothing(hashed: str) -> None:
    assert not foreign_hashes.verify(hashed, "old secret")


async def put(tx: Transaction, user_id: str, hashed: str) -> None:
    await tx.update(USERS, {"password_hash": hashed}, id=user_id)


@pytest.mark.parametrize("hashed", OF_OLD_SECRET.values(), ids=OF_OLD_SECRET.keys())
async def test_signing_in_renews_the_hash_and_voids_no_token(keystone: Keystone, alice: Someone, hashed: str) -> None:
    await keystone.cloud.db.write(put, alice.id, hashed)
    assert (await keystone.ask(password_auth("alice", "another"))).status_code == 401
    assert await store.password_hash(keystone.cloud.db, alice.id) == hashed
    assert (await keystone.ask(password_auth("alice", "old secret"))).status_code == 201
    renewed = await store.password_hash(keystone.cloud.db, alice.id)
    assert renewed is not None and renewed.startswith("$argon2id$")
    assert (await keystone.ask(password_auth("alice", "old secret"))).status_code == 201
    assert await keystone.works(alice.token)
