"""What the newest botocore here finds as credentials: a program that answers questions, one JSON document a line.

It runs under the interpreter that has that release (lib/newest_botocore.py), so apart from the tests. A question has
`environ`, `profile`, `home` and `url` (of the fakes); an answer has `provider` and `keys`, or `error`. The first line
that it prints tells the release, and whether it knows `aws login`.

botocore takes the elliptic curve for `aws login` from awscrt, which few have; where the package `cryptography` is there,
the same is made of it.
"""

import json
import os
import sys
import types
from unittest import mock

import botocore
import botocore.credentials
import botocore.session
import botocore.tokens

METHODS = {
    "env": "environment", "assume-role": "assume role", "assume-role-with-web-identity": "web identity",
    "sso": "IAM Identity Center", "shared-credentials-file": "shared credentials file", "login": "login",
    "custom-process": "credential_process", "config-file": "config file", "container-role": "container",
    "iam-role": "instance metadata",
}


def curve():
    """What botocore wants of awscrt's EC, or None."""
    try:
        from cryptography.hazmat.primitives import hashes, serialization             # pylint: disable=C0415
        from cryptography.hazmat.primitives.asymmetric import ec, utils              # pylint: disable=C0415
    except ImportError:
        return None

    class Key:
        """A private key."""

        def __init__(self, der):
            self.key = serialization.load_der_private_key(der, None)

        def get_public_coords(self):
            """x and y."""
            numbers = self.key.public_key().public_numbers()
            return numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")

        def sign(self, digest):
            """In DER."""
            return self.key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))

    def padded_pair(signature, pad_to):
        r, s = utils.decode_dss_signature(signature)
        return r.to_bytes(pad_to, "big") + s.to_bytes(pad_to, "big")

    return types.SimpleNamespace(new_key_from_der_data=Key, decode_der_signature_to_padded_pair=padded_pair)


def has_login():
    """It can be asked about `aws login`."""
    known = hasattr(botocore.credentials, "LoginProvider")
    if known and botocore.credentials.EC is None:
        botocore.credentials.EC = curve()
    return known and botocore.credentials.EC is not None


def ask(question):
    """The answer to one."""
    create_client = botocore.session.Session.create_client

    def create_client_here(self, name, *arguments, **named):
        named["endpoint_url"] = question["url"]
        return create_client(self, name, *arguments, **named)

    cache = os.path.join(question["home"], ".aws/sso/cache")
    with mock.patch.dict(os.environ, question["environ"], clear=True), \
            mock.patch.object(botocore.session.Session, "create_client", create_client_here), \
            mock.patch.object(botocore.credentials.SSOProvider, "_SSO_TOKEN_CACHE_DIR", cache), \
            mock.patch.object(botocore.tokens.SSOTokenProvider, "_SSO_TOKEN_CACHE_DIR", cache):
        try:
            found = botocore.session.Session(profile=question["profile"]).get_credentials()
            if found is None:
                return {"error": "none"}
            frozen = found.get_frozen_credentials()
        except Exception as error:                              # pylint: disable=broad-except
            return {"error": f"{type(error).__name__}: {error}"}
        return {"provider": METHODS[found.method], "keys": (frozen.access_key, frozen.secret_key, frozen.token)}


def main():
    """Answers until its input ends."""
    print(json.dumps({"release": botocore.__version__, "has_login": has_login()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(ask(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
