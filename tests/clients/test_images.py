"""openstacksdk, python-openstackclient and `moln images`, unmodified: imports, tasks, stores, metadata definitions."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openstack
import pytest
from openstack.connection import Connection
from tests.clients.conftest import Running

DATA = b"\1" * (1 << 20)


@pytest.fixture(scope="module")
def sdk(running: Running) -> Iterator[Connection]:
    found = openstack.config.OpenStackConfig(config_files=[str(running.home / "clouds.yaml")], load_envvars=False)
    connection = openstack.connection.Connection(config=found.get_one("moln"))
    yield connection
    connection.close()


def test_the_sdk_stages_imports_and_takes_over(sdk: Connection) -> None:
    assert [store.id for store in sdk.image.stores()] == ["pool"]
    assert "glance-direct" in sdk.image.get_import_info().import_methods["value"]
    image = sdk.image.create_image("sdk-staged", disk_format="raw", container_format="bare", hw_machine_type="q35")
    sdk.image.stage_image(image, data=DATA)
    assert sdk.image.get_image(image).status == "uploading"
    sdk.image.import_image(image, "glance-direct")
    image = openstack.resource.wait_for_status(sdk.image, image, "active", ["killed"], 0.2, 30)
    assert image.hash_value == hashlib.sha512(DATA).hexdigest()
    [task] = sdk.image.image_tasks(image)
    assert task.status == "success"
    again = sdk.image.create_image("sdk-again", disk_format="iso", container_format="bare")
    sdk.image.import_image(again, "glance-download", remote_region="RegionOne", remote_image_id=image.id,
                           remote_service_interface="public")  # fmt: skip
    again = openstack.resource.wait_for_status(sdk.image, again, "active", ["killed"], 0.2, 30)
    assert (again.disk_format, sdk.image.download_image(again).content) == ("raw", DATA)
    assert any(found.id == task.id for found in sdk.image.tasks())
    for found in (image, again):
        sdk.image.delete_image(found)


def test_the_sdk_reads_and_writes_metadata_definitions(sdk: Connection) -> None:
    assert "OS::Compute::Image" in {n.namespace for n in sdk.image.metadef_namespaces()}
    assert "OS::Glance::Image" in {t.name for t in sdk.image.metadef_resource_types()}
    space = sdk.image.create_metadef_namespace(namespace="sdk-space", visibility="public")
    found = sdk.image.create_metadef_object(space, name="o", description="d", properties={"p": {"title": "P", "type": "string"}})
    assert sdk.image.get_metadef_object(found, space).properties["p"]["title"] == "P"
    sdk.image.create_metadef_property(space, name="q", title="Q", type="integer", minimum=1)
    assert [p.name for p in sdk.image.metadef_properties(space)] == ["q"]
    sdk.image.create_metadef_resource_type_association(space, name="OS::Nova::Server", prefix="x_")
    assert [a.name for a in sdk.image.metadef_resource_type_associations(space)] == ["OS::Nova::Server"]
    sdk.image.delete_metadef_namespace(space)


def test_the_command_line_imports_and_lists(running: Running, tmp_path: Path) -> None:
    openstack = running.openstack
    file = tmp_path / "disk.raw"
    file.write_bytes(DATA)
    created = openstack("image", "create", "cli-import", "--file", str(file), "--disk-format", "raw", "--import")
    assert created["name"] == "cli-import"
    tasks = openstack("image", "task", "list")
    assert "api_image_import" in {task["Type"] for task in tasks}
    assert "pool" in str(openstack("image", "stores", "list"))
    assert "OS::OperatingSystem" in str(openstack("image", "metadef", "namespace", "list"))
    openstack("image", "delete", "cli-import")


def test_an_image_comes_from_a_mirror_by_name(running: Running, tmp_path: Path) -> None:
    assert "debian-12" in running.moln("images").stdout
    file = running.home / "mirror" / "debian-12-genericcloud-amd64.qcow2"
    file.parent.mkdir(exist_ok=True)
    if not shutil.which("qemu-img"):
        pytest.skip("qemu-img makes the image")
    subprocess.run(["qemu-img", "create", "-f", "qcow2", str(file), "1M"], check=True, capture_output=True, timeout=60)
    digest = hashlib.sha512(file.read_bytes()).hexdigest()
    (file.parent / "SHA512SUMS").write_text(f"{digest}  {file.name}\n")
    running.moln("images", "debian-12", "--mirror", str(file.parent), "--as", "mirrored")
    shown = running.openstack("image", "show", "mirrored")
    assert (shown["status"], shown["visibility"], shown["properties"]["os_distro"]) == ("active", "public", "debian")
    running.openstack("image", "delete", "mirrored")
