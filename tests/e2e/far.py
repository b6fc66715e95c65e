"""A host of its own for a mount: a network namespace with addresses that answer, refuse or swallow, and its own
/etc/hosts. The mount is seen by the test as any other."""

import contextlib
import subprocess

from mounting import Mount, until
from netns import Network
from resolver import Resolver

HOST = "named.test"       # a name of the stand-in's certificate
GOOD, GOOD_V6 = "10.9.8.7", "fd00:98::7"
DEAD, DEAD_V6 = "10.9.8.6", "fd00:98::6"
# The program's mount namespace differs by /etc/hosts alone: "/" is private there, the mount's own place isn't.
SETUP = 'mount --make-private / && mount --bind "$1" /etc/hosts && shift && exec "$@"'


class FarHost:
    """Stand-ins at GOOD and GOOD_V6, one port for both; mounts reach them as HOST. In `with`."""

    def __init__(self, directory, tls=None):
        self.directory = directory
        self.tls = tls
        self.network = Network()
        self.mounts = []
        self.services = []
        self.hosts = directory / "hosts"
        self.hosts.touch()

    def __enter__(self):
        try:
            # Whatever is sent into `hole` is lost without a word: its other end has no such address.
            self.ip("link", "add", "hole", "type", "veth", "peer", "name", "bottom")
            for name in ("hole", "bottom"):
                self.ip("link", "set", name, "arp", "off", "up")
            self.ip("address", "add", "10.9.8.1/32", "dev", "hole")
            self.ip("address", "add", "fd00:98::1/128", "dev", "hole", "nodad")
            for address in (GOOD, GOOD_V6):
                self._add(address)
            first = Resolver(host=GOOD, tls=self.tls)
            self.network.inside(first.start)
            self.services.append(first)
            subprocess.run(["mount", "--bind", self.directory, self.directory], check=True, timeout=60)
            subprocess.run(["mount", "--make-shared", self.directory], check=True, timeout=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.ExitStack() as stack:
            stack.callback(self.network.__exit__)
            stack.callback(subprocess.run, ["umount", "-l", self.directory], check=False, capture_output=True, timeout=60)
            for service in self.services:
                stack.callback(service.stop)
            for fs in self.mounts:
                stack.callback(fs.destroy)
                stack.callback(fs.stop)

    @property
    def service(self):
        """The stand-in."""
        return self.services[0]

    def ip(self, *words, check=True):
        """Changes the network; gives ip's status."""
        family = ["-6"] if any(":" in word for word in words) else []
        return subprocess.run([*self.network.prefix, "ip", *family, *words], check=check, capture_output=True,
                              timeout=60).returncode

    def _add(self, address):
        """An address of this host, reached from the same source as all others: else glibc would sort by the source."""
        length, source = ("128", "fd00:98::1") if ":" in address else ("32", "10.9.8.1")
        self.ip("address", "add", f"{address}/{length}", "dev", "lo", *(["nodad"] if ":" in address else []))
        # The kernel adds the route a moment after the address.
        until(lambda: self.ip("route", "del", "table", "local", "local", address, "dev", "lo", check=False) == 0, "the route")
        self.ip("route", "add", "table", "local", "local", address, "dev", "lo", "src", source)

    def swallow(self, address):
        """From now on what is sent to the address is lost, on connections that exist, too."""
        length, source = ("128", "fd00:98::1") if ":" in address else ("32", "10.9.8.1")
        if address in (GOOD, GOOD_V6):
            self.ip("route", "del", "table", "local", "local", address, "dev", "lo")
            self.ip("address", "del", f"{address}/{length}", "dev", "lo")
        self.ip("route", "add", f"{address}/{length}", "dev", "hole", "src", source)

    def refuse(self, address):
        """The address is there, and nothing listens at it."""
        self._add(address)

    def name(self, *addresses):
        """The addresses that HOST has from now on, in the order in which they are tried within a family."""
        self.hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {HOST}\n" for address in addresses))

    @property
    def prefix(self):
        """Runs a program on this host."""
        return [*self.network.prefix, "unshare", "--mount", "--propagation", "unchanged", "sh", "-ec", SETUP, "sh",
                str(self.hosts)]

    def order(self):
        """The addresses of HOST as a program there is given them."""
        done = subprocess.run([*self.prefix, "getent", "ahosts", HOST], check=True, capture_output=True, text=True, timeout=60)
        return [line.split()[0] for line in done.stdout.splitlines() if "STREAM" in line]

    def also_at(self, address):
        """Has the stand-in's state be served at another address, too, at the same port."""
        other = Resolver(host=address, port=self.service.port, key=None, tls=self.tls)
        for name in ("model", "verifier", "log", "faults"):
            setattr(other, name, getattr(self.service, name))
        other.__dict__["_api"] = type(self.service.__dict__["_api"])(other)
        self.network.inside(other.start)
        self.services.append(other)

    def mount(self, environ=None, **options):
        """A mount that reaches HOST."""
        place = self.directory / f"far{len(self.mounts)}"
        place.mkdir(mode=0o755)
        url = f"{'https' if self.tls else 'http'}://{HOST}:{self.service.port}"
        fs = Mount(place, self.service, {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": url, **(environ or {})})
        command = fs.command
        fs.command = lambda *words: [*self.prefix, *command(*words)]
        self.mounts.append(fs)
        return fs.start({"allow_plain_http": True, **options})
