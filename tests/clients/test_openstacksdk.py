"""openstacksdk, unmodified: a server with everything around it, from the first call to the last."""

from __future__ import annotations

from collections.abc import Iterator

import openstack
import pytest
from openstack.connection import Connection
from tests.clients.conftest import Running


@pytest.fixture(scope="module")
def sdk(running: Running) -> Iterator[Connection]:
    found = openstack.config.OpenStackConfig(config_files=[str(running.home / "clouds.yaml")], load_envvars=False)
    connection = openstack.connection.Connection(config=found.get_one("moln"))
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def network(sdk: Connection):
    network = sdk.network.create_network(name="sdk-net")
    subnet = sdk.network.create_subnet(network_id=network.id, name="sdk-subnet", ip_version=4, cidr="10.9.0.0/24")
    yield network
    sdk.network.delete_subnet(subnet)
    sdk.network.delete_network(network)


@pytest.fixture(scope="module")
def image(sdk: Connection):
    image = sdk.image.create_image("sdk-image", data=b"\0" * (1 << 20), disk_format="raw", container_format="bare", validate_checksum=True)
    yield image
    sdk.image.delete_image(image)


@pytest.fixture(scope="module")
def flavor(sdk: Connection):
    flavor = sdk.compute.create_flavor(name="sdk-small", vcpus=1, ram=128, disk=1)
    yield flavor
    sdk.compute.delete_flavor(flavor)


def test_the_catalogue_leads_to_every_service(sdk: Connection) -> None:
    for kind in ("identity", "image", "placement", "compute", "network", "block-storage"):
        assert sdk.endpoint_for(kind), kind
    assert sdk.compute.get_endpoint_data().max_microversion


def test_an_image_comes_back_as_it_went(sdk: Connection, image) -> None:
    found = sdk.image.get_image(image)
    assert (found.status, found.size) == ("active", 1 << 20)
    assert sdk.image.download_image(found).content == b"\0" * (1 << 20)


def test_a_server_lives_with_a_volume_and_goes(sdk: Connection, image, flavor, network) -> None:
    keypair = sdk.compute.create_keypair(name="sdk-key")
    assert keypair.private_key
    server = sdk.compute.create_server(name="sdk-server", image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}],
                                       key_name=keypair.name, metadata={"a": "b"})  # fmt: skip
    server = sdk.compute.wait_for_server(server, wait=60, interval=0.5)
    assert server.status == "ACTIVE"
    [address] = server.addresses["sdk-net"]
    assert address["addr"].startswith("10.9.0.")
    volume = sdk.block_storage.create_volume(size=1, name="sdk-volume")
    sdk.block_storage.wait_for_status(volume, "available", wait=60, interval=0.5)
    sdk.compute.create_volume_attachment(server, volume_id=volume.id)
    sdk.block_storage.wait_for_status(volume, "in-use", wait=60, interval=0.5)
    assert [a.volume_id for a in sdk.compute.volume_attachments(server)] == [volume.id]
    sdk.compute.stop_server(server)
    sdk.compute.wait_for_server(server, "SHUTOFF", wait=60, interval=0.5)
    sdk.compute.start_server(server)
    sdk.compute.wait_for_server(server, wait=60, interval=0.5)
    sdk.compute.delete_volume_attachment(server, volume.id)
    sdk.block_storage.wait_for_status(volume, "available", wait=60, interval=0.5)
    sdk.compute.delete_server(server)
    sdk.compute.wait_for_delete(server, wait=60, interval=0.5)
    sdk.block_storage.delete_volume(volume)
    sdk.block_storage.wait_for_delete(volume, wait=60, interval=0.5)
    sdk.compute.delete_keypair(keypair)
    assert not [p for p in sdk.network.ports(network_id=network.id) if p.device_owner.startswith("compute:")]


def test_a_snapshot_of_a_volume_makes_another(sdk: Connection) -> None:
    volume = sdk.block_storage.create_volume(size=1, name="first")
    sdk.block_storage.wait_for_status(volume, "available", wait=60, interval=0.5)
    snapshot = sdk.block_storage.create_snapshot(volume_id=volume.id, name="moment")
    sdk.block_storage.wait_for_status(snapshot, "available", wait=60, interval=0.5)
    copy = sdk.block_storage.create_volume(size=1, snapshot_id=snapshot.id, name="second")
    sdk.block_storage.wait_for_status(copy, "available", wait=60, interval=0.5)
    for thing, delete in ((copy, sdk.block_storage.delete_volume), (snapshot, sdk.block_storage.delete_snapshot), (volume, sdk.block_storage.delete_volume)):
        delete(thing)
        sdk.block_storage.wait_for_delete(thing, wait=60, interval=0.5)


def test_people_and_projects(sdk: Connection) -> None:
    project = sdk.identity.create_project(name="sdk-project", domain_id="default")
    user = sdk.identity.create_user(name="sdk-user", password="a-Secret-1", domain_id="default")
    role = sdk.identity.find_role("member")
    sdk.identity.assign_project_role_to_user(project, user, role)
    auth = dict(sdk.config.config["auth"], username="sdk-user", password="a-Secret-1", project_name="sdk-project")
    theirs = openstack.connect(load_yaml_config=False, load_envvars=False, auth=auth, region_name=sdk.config.region_name)
    assert list(theirs.compute.servers()) == []
    assert theirs.current_project_id == project.id
    sdk.identity.delete_user(user)
    sdk.identity.delete_project(project)


def test_what_is_not_there_is_not_found(sdk: Connection) -> None:
    for find in (sdk.compute.get_server, sdk.network.get_network, sdk.image.get_image, sdk.block_storage.get_volume, sdk.identity.get_user):
        with pytest.raises(openstack.exceptions.NotFoundException):
            find("00000000-0000-4000-8000-000000000000")
