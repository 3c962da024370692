"""Reading a Keystone's database: dumps as mysqldump and mariadb-dump write them, URLs, keys."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from moln.cli.commands.import_ import lines
from moln.cli.keystone import dump, keys, live
from moln.kernel.errors import Invalid

DUMP = r"""/*M!999999\- enable the sandbox mode */
-- MariaDB dump
CREATE DATABASE /*!32312 IF NOT EXISTS*/ `other`;
USE `other`;
CREATE TABLE `user` (
  `id` varchar(64) NOT NULL
);
INSERT INTO `user` VALUES ('not this one');
USE `keystone`;
DROP TABLE IF EXISTS `user`;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `user` (
  `id` varchar(64) NOT NULL,
  `extra` text DEFAULT NULL,
  `enabled` tinyint(1) DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `ix` (`enabled`)
) ENGINE=InnoDB;
LOCK TABLES `user` WRITE;
INSERT INTO `user` VALUES ('a','{\"email\": \"it''s\\n(1);\"}',1),('b',NULL,-2),('Å',_binary 'x\'y\Z\0',0x41);
INSERT INTO `user` VALUES
('c','VALUES (',3),
('d',');\n',NULL);
INSERT INTO `user` (`enabled`, `id`) VALUES (4,'e');
INSERT INTO `secret` VALUES ('unwanted');
UNLOCK TABLES;
"""
ROWS = [
    {"id": "a", "extra": '{"email": "it\'s\\n(1);"}', "enabled": 1}, {"id": "b", "extra": None, "enabled": -2},
    {"id": "Å", "extra": "x'y\x1a\0", "enabled": "A"}, {"id": "c", "extra": "VALUES (", "enabled": 3},
    {"id": "d", "extra": ");\n", "enabled": None}, {"enabled": 4, "id": "e"},
]  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_a_dump_is_read_row_by_row(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("k.sql.gz" if packed else "k.sql")
    path.write_bytes(gzip.compress(DUMP.encode()) if packed else DUMP.encode())
    assert dump.read(path, "keystone", frozenset({"user"})) == {"user": ROWS}


@pytest.mark.parametrize("text", ["INSERT INTO `user` VALUES ('a','b'", "INSERT INTO `user` VALUES (now());\n", "INSERT INTO `user` VALUES ('a');\n"])
def test_a_dump_that_is_broken_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k.sql"
    path.write_text(DUMP.partition("LOCK")[0] + text)
    with pytest.raises(Invalid, match="dump"):
        dump.read(path, "keystone", frozenset({"user"}))


def test_a_url_is_read_as_keystone_writes_it() -> None:
    found = live.where("mysql+pymysql://key%40stone:se%3Acret@db.example:3307/keystone?charset=utf8&unix_socket=/run/s")
    assert found == {"host": "db.example", "port": 3307, "database": "keystone", "user": "key@stone", "password": "se:cret", "unix_socket": "/run/s"}
    with pytest.raises(Invalid):
        live.where("mysql+pymysql://root@localhost")


def test_credentials_are_opened_by_any_of_the_keys(tmp_path: Path) -> None:
    made = [Fernet.generate_key() for _ in range(2)]
    for number, key in enumerate(made):
        (tmp_path / str(number)).write_bytes(key)
    rows = [{"encrypted_blob": Fernet(key).encrypt(b"blob").decode()} for key in (*made, Fernet.generate_key())]
    keys.open_credentials(rows, keys.load(tmp_path))
    assert rows == [{"blob": "blob"}, {"blob": "blob"}, {"blob": None}]
    with pytest.raises(Invalid):
        keys.load(tmp_path / "nowhere")


def test_the_report_is_a_table_with_a_line_for_each_reason() -> None:
    left = {"kind": "user", "id": "x", "name": "x", "why": "LDAP", "count": 1}
    report = {"brought": {"user": 3}, "there": {"role": 2}, "differing": [{"kind": "role", "id": "r", "columns": ["name"]}], "left": [left, left],
              "conflicts": [], "notes": ["mind this"]}  # fmt: skip
    said = lines(report)
    assert said[1].split() == ["user", "3", "0", "0", "2"] and said[2].split() == ["role", "0", "2", "1", "0"]
    assert said[3:] == ["left: user, 2: LDAP", "differs, and stays as it is here: role r (name)", "mind this"]
