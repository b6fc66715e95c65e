"""Certificates for the TLS of the stand-in and of the unit tests' servers, made by the openssl command in a directory:

    good        signed by our CA, for 127.0.0.1 and localhost
    expired     the same, but its time is over
    wrong-host  signed by our CA, for another host
    untrusted   for 127.0.0.1 and localhost, signed by a CA that nobody knows
"""

import atexit
import os
import shutil
import ssl
import subprocess
import tempfile
import threading

KINDS = ("good", "expired", "wrong-host", "untrusted")
_LOCAL = "IP:127.0.0.1,DNS:localhost,DNS:named.test"
_CONFIG = """
[ca]
default_ca = default
[default]
dir = {dir}
database = {dir}/{ca}.index
new_certs_dir = {dir}
rand_serial = yes
certificate = {dir}/{ca}.pem
private_key = {dir}/{ca}.key
default_md = sha256
policy = policy
unique_subject = no
[policy]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
authorityKeyIdentifier = keyid
keyUsage = critical,digitalSignature
subjectAltName = {san}
extendedKeyUsage = serverAuth
"""


class Certificates:
    """A directory with two CAs and the certificates made so far: the caller's, or one of its own that ends with it."""

    def __init__(self, directory=None):
        self.dir = directory or tempfile.mkdtemp(prefix="resolver-tls-")
        self._owner = os.getpid()
        self._lock = threading.Lock()
        if directory is None:
            atexit.register(self.remove)

    @property
    def ca_file(self):
        """The CA that a client should trust (PEM)."""
        with self._lock:
            return self._ca("ca")

    def remove(self):
        """Deletes the directory; a forked child leaves it to its parent."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.dir, ignore_errors=True)

    def _path(self, name):
        return os.path.join(self.dir, name)

    def _openssl(self, *arguments):
        done = subprocess.run(("openssl", *arguments), cwd=self.dir, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr}")

    def _ca(self, name):
        path = self._path(f"{name}.pem")
        if not os.path.exists(path):
            # Python 3.13 refuses a CA whose certificate doesn't name this use.
            self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                          "-nodes", "-subj", f"/CN=resolver test {name}", "-days", "30",
                          "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                          "-keyout", f"{name}.key", "-out", path)
            open(self._path(f"{name}.index"), "w").close()
        return path

    def make(self, kind):
        """Makes (once) a certificate; gives (certificate file, key file)."""
        if kind not in KINDS:
            raise ValueError(f"unknown certificate {kind!r}")
        with self._lock:
            cert, key = self._path(f"{kind}.crt"), self._path(f"{kind}.crt.key")
            if os.path.exists(cert):
                return cert, key
            ca = "other" if kind == "untrusted" else "ca"
            self._ca(ca)
            san = "DNS:elsewhere.example" if kind == "wrong-host" else _LOCAL
            with open(self._path(f"{kind}.cnf"), "w", encoding="ascii") as config:
                config.write(_CONFIG.format(dir=self.dir, ca=ca, san=san))
            self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                          "-nodes", "-subj", "/CN=resolver", "-keyout", key, "-out", f"{kind}.csr")
            span = ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
            self._openssl("ca", "-batch", "-notext", "-config", f"{kind}.cnf", "-extensions", "leaf",
                          "-in", f"{kind}.csr", "-out", cert,
                          *(span if kind == "expired" else ("-days", "20")))
            return cert, key

    def server_context(self, kind):
        """An SSLContext for a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self.make(kind))
        return context


_shared = None
_shared_lock = threading.Lock()


def shared():
    """One set of certificates for the whole process."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Certificates()
        return _shared
