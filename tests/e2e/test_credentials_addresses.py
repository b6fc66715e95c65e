"""The hosts' own addresses: 169.254.170.2 for a relative URI, EKS' two, and the instance metadata service's over IPv4 and
IPv6. They exist in a network of its own only, so nothing leaves the machine; botocore is asked in the same network."""
# pylint: disable=redefined-outer-name

import os

import pytest
from mounting import Mount, until
from resolver import Resolver

from aws_fakes import Fakes, keys_for
from credential_world import World, ask_new_oracle, essence
from netns import Network

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing was tested of the hosts' own addresses")

INSTANCE, INSTANCE_V6 = "169.254.169.254", "fd00:ec2::254"
TASK, POD, POD_V6 = "169.254.170.2", "169.254.170.23", "fd00:ec2::23"
HERE = "10.9.8.7"
IMDS = {"AWS_EC2_METADATA_DISABLED": None, "AWS_EC2_METADATA_SERVICE_ENDPOINT": None}
RELATIVE = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/12?id=3"}
FAILING_PROXY = {name: "http://127.0.0.1:1" for name in ("http_proxy", "https_proxy", "all_proxy")}
SETTINGS = {
    "instance": (INSTANCE, IMDS, None),
    "instance by mode IPv4": (INSTANCE, {**IMDS, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv4"}, None),
    "instance by mode IPv6": (INSTANCE_V6, {**IMDS, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, None),
    "instance by AWS_IMDS_USE_IPV6": (INSTANCE_V6, {**IMDS, "AWS_IMDS_USE_IPV6": "true"}, None),
    "mode before AWS_IMDS_USE_IPV6": (
        INSTANCE, {**IMDS, "AWS_IMDS_USE_IPV6": "true", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv4"}, None),
    "instance by profile": (INSTANCE_V6, IMDS, "[default]\nec2_metadata_service_endpoint_mode = ipv6\n"),
    "instance by imds_use_ipv6": (INSTANCE_V6, IMDS, "[default]\nimds_use_ipv6 = true\n"),
    "instance by endpoint before mode": (
        INSTANCE, {**IMDS, "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{INSTANCE}",
                   "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, None),
    "task": (TASK, RELATIVE, None),
    "task with a token": (TASK, {**RELATIVE, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "the-token"}, None),
    "task before a full URI": (
        TASK, {**RELATIVE, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/never"}, None),
    "task by full URI": (TASK, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{TASK}/v2/keys"}, None),
}


@pytest.fixture(scope="module")
def network():
    """One with all the addresses."""
    with Network(INSTANCE, INSTANCE_V6, TASK, POD, POD_V6, HERE) as there:
        yield there


@pytest.fixture
def world_at(network, directory):
    """Makes a world whose services are at an address of the network, on port 80."""
    made = []

    def make(address, environ, config=None):
        fakes = network.inside(Fakes, (address, 80))
        made.append(fakes)
        fakes.__enter__()
        world = World(directory, fakes)
        world.set(**environ)
        if config:
            world.config(config)
        return world

    yield make
    for fakes in made:
        fakes.__exit__()


@pytest.mark.core
@pytest.mark.parametrize("name", SETTINGS)
def test_same_as_botocore(network, world_at, name):
    """Same address, same calls, same keys. (botocore would ask a proxy for instances; we don't, so there is none.)"""
    world = world_at(*SETTINGS[name])
    if "AWS_CONTAINER_AUTHORIZATION_TOKEN" in world.environ:
        world.fakes.container_token = world.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    theirs = network.inside(ask_new_oracle, world)
    asked = [(call.kind, call.method, call.path) for call in world.fakes.calls]
    world.fakes.forget()
    ours = network.inside(world.ask_us)
    assert asked and essence(ours) == essence(theirs), (ours, theirs)
    assert [(call.kind, call.method, call.path) for call in world.fakes.calls] == asked
    assert {call.headers["host"] for call in world.fakes.calls} == {world.fakes.url[len("http://"):-len(":80")]}


@pytest.mark.parametrize("address, host", [(POD, POD), (POD_V6, f"[{POD_V6}]")])
def test_pod_identity(network, world_at, address, host):
    """EKS: plain http to these two addresses, with the token of a file; botocore 1.29 doesn't know them."""
    world = world_at(address, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{host}/v1/credentials"})
    world.set(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=world.write("token", "pod-token"), **FAILING_PROXY)
    world.fakes.container_token = "pod-token"
    ours = network.inside(world.ask_us)
    assert ours.get("access_key_id") == keys_for("container", "/v1/credentials")["id"], ours


@pytest.mark.parametrize("uri", ["v2/credentials", "@10.9.8.7/x", ":80/x", "/a b", "/a\nX-Injected: b"])
def test_relative_uri_that_is_none(network, world_at, uri):
    """It can't name another host or bring a header; nobody is asked."""
    world = world_at(TASK, {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": uri})
    ours = network.inside(world.ask_us)
    assert ours.get("error") == "invalid" and "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" in ours["detail"], ours
    assert not world.fakes.calls


@pytest.mark.core
@pytest.mark.parametrize("name", ["instance by mode IPv6", "task with a token"])
def test_mount(network, world_at, directory, name):
    """A whole mount gets its keys there, never by a proxy, and new ones before their end."""
    address, environ, _ = SETTINGS[name]
    world = world_at(address, environ)
    fakes = world.fakes
    fakes.container_token = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    fakes.lifetime = 4
    keys = keys_for("imds", "machine") if address == INSTANCE_V6 else keys_for("container", "/v2/credentials/12?id=3")
    service = Resolver(host=HERE)
    network.inside(service.start)
    place = directory / "far"
    place.mkdir(mode=0o755)
    fs = Mount(place, service, {
        "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": f"http://{HERE}:{service.port}", "AWS_ACCESS_KEY_ID": None,
        "AWS_SECRET_ACCESS_KEY": None, **FAILING_PROXY, "no_proxy": HERE, **environ})
    command = fs.command
    fs.command = lambda *words: [*network.prefix, *command(*words)]
    try:
        service.add_key(keys["id"], keys["secret"], session_token=keys["token"])
        token = service.add_token(name="far")
        fs.start({"allow_plain_http": True, "ttl": 0.2})
        assert fs.text(token["id"], "value") == token["value"]
        assert fs.status()["credentials"]["provider"] == ("container" if "task" in name else "instance metadata")
        if "task" in name:      # keys of an instance that end soon are used on for a while, as botocore does
            until(lambda: fs.text(token["id"], "value") == token["value"] and len(fakes.of("container")) >= 3, "new keys")
        assert not fakes.of("proxy")
        fs.stop()
    finally:
        fs.destroy()
        service.stop()
