"""What providers that talk to services leave in memory: nothing, once other keys have taken their place."""
# pylint: disable=redefined-outer-name

import json
import os

import pytest
from mounting import SANITIZED, until
from resolver import ACCESS_KEY, SECRET_KEY

import login_fake
from aws_fakes import Fakes, keys_for
from credential_world import LOGIN, ROLE, SSO_SESSION, World
from memory_search import family, search
from test_hygiene import check_gone, forms, planted

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing was searched"),
    pytest.mark.skipif(bool(SANITIZED), reason="a sanitizer keeps what was freed"),
]
ARN = "arn:aws:iam::123456789012:role/"


def web_identity(world):
    """A token file, and STS' answer."""
    token = planted("web-token")
    world.fakes.identity_tokens[token] = "subject"
    path = world.write("token", token)
    world.config("[default]\n" + ROLE.format("w") + f"web_identity_token_file = {path}\n")
    return keys_for(ARN + "w", "subject"), {"web token": token}


def role(world):
    """Static keys, and STS' answer."""
    secret, session = planted("base-secret"), planted("base-session")
    world.fakes.known_keys["ASIABASE"] = (secret, session)
    world.config("[default]\n" + ROLE.format("r") + "source_profile = base\n[profile base]\naws_access_key_id = ASIABASE\n"
                 f"aws_secret_access_key = {secret}\naws_session_token = {session}\n")
    return keys_for(ARN + "r", "ASIABASE", "", ""), {"base secret": secret, "base session": session}


def sso(world):
    """A sign-in that is refreshed first."""
    names = ("access-1", "access-2", "refresh-1", "refresh-2", "client-secret")
    access1, access2, refresh1, refresh2, client = texts = [planted(name) for name in names]
    world.sign_in("corp", token=access1, seconds=-60, refresh=refresh1, clientSecret=client)
    world.fakes.refresh_tokens[refresh1] = (access2, refresh2)
    world.config(SSO_SESSION)
    return keys_for("sso", "000012345678", "Reader+All"), dict(zip(names, texts))


def instance(world):
    """The instance metadata service."""
    world.set(AWS_EC2_METADATA_DISABLED=None)
    return keys_for("imds", "machine"), {"imds token": "imds-session-token=="}


def login(world):
    """A sign-in that is renewed first, with a private key."""
    first = planted("refresh-1")
    world.log_in(-60, refreshToken=first)
    document = json.loads(world.login_cache().read_text(encoding="utf-8"))
    world.fakes.logins[first] = world.fakes.logins.pop("refresh-1")
    world.config("[default]\n" + LOGIN)
    key, number = document["dpopKey"].splitlines(), login_fake.private_number(document["dpopKey"])
    return keys_for("login", "refresh-2"), {"refresh token": first, "private key": key[1], "its end": key[-2],
                                            "its number": number, "the same, as OpenSSL has it": number[::-1]}


@pytest.mark.parametrize("provider", [web_identity, role, sso, instance, login])
def test_nothing_is_left(mount, resolver, token, directory, provider):
    """Keys, tokens that were sent for them, and answers."""
    with Fakes() as fakes:
        world = World(directory, fakes)
        keys, more = provider(world)
        resolver.add_key(keys["id"], keys["secret"], session_token=keys["token"])
        fs = mount(start=False, environ={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None,
                                         "AWS_EC2_METADATA_DISABLED": None, **world.environ})
        (world.home / ".aws").mkdir(exist_ok=True)      # the sandbox doesn't reach one that is made later
        fs.start({"ttl": 0.2, "log_level": "debug"})
        assert fs.text(token["id"], "value") == token["value"]
        needles = forms(secret=keys["secret"], session=keys["token"],
                        **{name: value for name, value in more.items() if isinstance(value, str)})
        needles.update((name, value) for name, value in more.items() if isinstance(value, bytes))
        assert search(fs.worker, forms(secret=keys["secret"])), "the search finds nothing: it proves nothing"
        assert not search(fs.pid, needles), "the supervisor has none"
        (world.home / ".aws/config").unlink(missing_ok=True)
        world.credentials(f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
        # The same worker goes on, with other keys.
        until(lambda: fs.text(token["id"], "value") and resolver.calls("GetAccessToken")[-1].key == ACCESS_KEY,
              "the other keys")
        check_gone(lambda: family(fs.pid), needles)
        assert not [needle for needle in needles.values() if needle.decode("latin-1") in fs.log()]
