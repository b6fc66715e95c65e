"""The sign-in service of `aws login`: keys made, and DPoP proofs (RFC 9449) verified, by the openssl program."""

import base64
import json
import subprocess
import tempfile
import uuid

# SubjectPublicKeyInfo of an uncompressed point of P-256, up to its coordinates (RFC 5480).
POINT = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
CLIENT = "arn:aws:signin:::devtools/same-device"


def openssl(*words, data=None):
    """Runs it; gives its output, or None if it fails."""
    done = subprocess.run(["openssl", *words], input=data, capture_output=True, timeout=60, check=False)
    return done.stdout if done.returncode == 0 else None


def make_key(form="pkcs8", curve="prime256v1"):
    """A private key as PEM, and its public point: x and y."""
    pem = openssl("ecparam", "-name", curve, "-genkey", "-noout")
    if form == "pkcs8":
        pem = openssl("pkcs8", "-topk8", "-nocrypt", data=pem)
    return pem.decode(), openssl("pkey", "-pubout", "-outform", "DER", data=pem)[-64:]


def private_number(pem):
    """The private key itself: 32 bytes, out of its SEC 1 form (RFC 5915)."""
    return openssl("pkey", "-traditional", "-outform", "DER", data=pem.encode())[7:39]


def encode(data):
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    """The other way; refuses what isn't written so."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(data) != text:
        raise ValueError("not base64url without padding")
    return data


def number(data):
    """A DER integer."""
    data = data.lstrip(b"\0") or b"\0"
    data = b"\0" + data if data[0] & 0x80 else data
    return bytes([2, len(data)]) + data


def is_signed(text, signature, point):
    """The signature (r and s) is of the holder of this key, says openssl."""
    pair = number(signature[:32]) + number(signature[32:])
    with tempfile.NamedTemporaryFile() as der, tempfile.NamedTemporaryFile() as key:
        der.write(bytes([0x30, len(pair)]) + pair)
        key.write(POINT + point)
        der.flush()
        key.flush()
        return openssl("dgst", "-sha256", "-verify", key.name, "-keyform", "DER", "-signature", der.name,
                       data=text) is not None


def problem_with(proof, url, point, used, now):
    """What is wrong with a proof for a POST of this URL by the holder of this key; None: nothing. `used`: ids so far."""
    try:
        header, payload, signature = (decode(part) for part in proof.split("."))
        header, payload = json.loads(header), json.loads(payload)
        jwk = header["jwk"]
        if (header["typ"], header["alg"], jwk["kty"], jwk["crv"]) != ("dpop+jwt", "ES256", "EC", "P-256"):
            return "header"
        if set(jwk) != {"kty", "crv", "x", "y"} or decode(jwk["x"]) + decode(jwk["y"]) != point:
            return "another key"
        if (payload["htm"], payload["htu"]) != ("POST", url):
            return "another request"
        if abs(payload["iat"] - now) > 60 or not isinstance(payload["iat"], int):
            return "time"
        if uuid.UUID(payload["jti"]).version != 4 or payload["jti"] in used:
            return "used before"
        used.add(payload["jti"])
    except (ValueError, KeyError, TypeError) as error:
        return f"malformed: {error}"
    if len(signature) != 64 or not is_signed(proof.rpartition(".")[0].encode(), signature, point):
        return "signature"
    return None
