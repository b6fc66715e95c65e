"""The sandbox follows the host: a resolver, certificates and AWS files that move while a mount serves are found."""
# pylint: disable=redefined-outer-name

import signal
import socket
import subprocess

import boxed
import mounting
import pytest
from aws_fakes import Fakes, keys_for
from dns_fake import Dns, Nscd
from mounting import HANG, children_of, kill, until
from netns import Network
from resolver import ACCESS_KEY, SECRET_KEY, Resolver

pytestmark = [
    pytest.mark.skipif(boxed.why_not() is not None, reason=f"NOTHING OF A MOVED HOST WAS TESTED: {boxed.why_not()}"),
    pytest.mark.skipif(mounting.SANITIZED, reason="the sanitizers' build is run without the sandbox")]

SERVICE = "10.9.8.7"
OLD_DNS, NEW_DNS = "10.53.0.1", "10.53.0.2"
NAME = "api.test"


class Host:
    """A box in a network of its own, with a mount."""

    def __init__(self, box, network, directory, service):
        self.box = box
        self.network = network
        self.service = service
        self.path = directory / "mnt"
        self.home = directory / "home"
        self.log_path = directory / "log"
        self.process = None
        self.path.mkdir()
        self.home.mkdir()
        self.environ = {"HOME": str(self.home)}
        self.sh("for place in /run /var /opt; do mount -t tmpfs none $place; done")

    def sh(self, script, **more):
        """Runs a script in the box."""
        return self.box.run("sh", "-ec", script, **more)

    def program(self, *words, **more):
        """Runs the program in box and network."""
        return self.box.run(*self.network.prefix, "tokenfs", *words, environ=self.environ, **more)

    def start(self, *options):
        """Mounts; comes back when it serves."""
        pid = str(self.box.process.pid)
        before = self.log().count("serving")
        command = ["nsenter", "-t", pid, "-m", "--", *self.network.prefix, "tokenfs", "-f",
                   *[word for option in options for word in ("-o", option)], str(self.path)]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, env={**self.box.environ, **self.environ}, cwd="/", stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        until(lambda: self.log().count("serving") > before or self.process.poll() is not None, "the mount")
        assert self.process.poll() is None, self.log()
        return self

    def stop(self):
        """Ends the mount, which must end well."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                assert self.process.wait(HANG) == 0
            finally:
                kill(self.process.pid)

    def log(self):
        """What it said."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    @property
    def worker(self):
        """The pid of the worker."""
        return until(lambda: children_of(self.process.pid), "the worker")[0]

    def read(self, token, field="value", check=True):
        """A field, by cat in the box; (its text, what cat said)."""
        done = self.box.run("cat", str(self.path / token["id"] / field), check=False)
        assert not check or done.returncode == 0, (done.stderr, self.log())
        return done.stdout if check else (done.stdout, done.stderr)

    def new_token(self):
        """A token that the mount knows nothing of."""
        return self.service.add_token()

    def wait_for_worker_after(self, old):
        """Until another worker serves."""
        until(lambda: self.worker != old, "the next worker")


def host_with(directory, service, *addresses):
    """Box, network and mount of a test, as a generator."""
    with Network(SERVICE, OLD_DNS, NEW_DNS, *addresses) as network, boxed.Box(directory, {}) as box:
        host = Host(box, network, directory, service)
        network.inside(service.start)
        key = f"aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        (host.home / ".aws").mkdir()
        (host.home / ".aws/credentials").write_text(f"[default]\n{key}")
        host.environ["AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER"] = service.url.replace(SERVICE, NAME)
        try:
            yield host
        finally:
            host.stop()
            service.stop()
            print(f"---- log\n{host.log()}")


@pytest.fixture
def host(directory):
    """A host whose /etc/resolv.conf is a file and names the old server; the endpoint is a name, over plain http."""
    made = host_with(directory, Resolver(host=SERVICE))
    host = next(made)
    host.sh(f"rm -f /etc/resolv.conf; echo nameserver {OLD_DNS} >/etc/resolv.conf; echo 'hosts: files dns' >/etc/nsswitch.conf")
    yield host
    next(made, None)


@pytest.fixture
def tls_host(directory):
    """A host whose service has a certificate of an authority that nobody trusts yet."""
    made = host_with(directory, Resolver(tls="good"))
    host = next(made)
    host.sh(f"mkdir /etc/tls; cp {host.service.ca_file} /etc/tls/ca.pem")
    yield host
    next(made, None)


@pytest.mark.parametrize("target", ["/run/systemd/resolve/stub-resolv.conf", "/run/NetworkManager/resolv.conf",
                                    "/run/connman/resolv.conf", "/run/resolv.conf", "/var/of-its-own/dir/resolv.conf"])
def test_resolver_that_takes_over(host, target):
    """/etc/resolv.conf becomes a link to where nothing was at the start: a new worker follows, readers notice nothing; after
    that the target is replaced, by renaming as network managers do. --check agrees."""
    with host.network.inside(Dns, OLD_DNS, SERVICE) as old:
        host.start("allow_plain_http", "ttl=1")
        assert host.read(token := host.new_token()) == token["value"]
        assert old.asked
    worker = host.worker
    with host.network.inside(Dns, NEW_DNS, SERVICE):
        host.sh(f"mkdir -p $(dirname {target}); ln -s {target} /etc/new; mv -T /etc/new /etc/resolv.conf")
        host.sh(f"echo nameserver {NEW_DNS} >{target}.new; mv {target}.new {target}")
        host.wait_for_worker_after(worker)
        assert host.read(token := host.new_token()) == token["value"], host.log()
    worker = host.worker
    with host.network.inside(Dns, OLD_DNS, SERVICE):
        host.sh(f"echo nameserver {OLD_DNS} >{target}.new; mv {target}.new {target}")
        if target.count("/") == 2:      # in a directory that isn't open to the worker, so that the new file isn't
            host.wait_for_worker_after(worker)
        host.process.send_signal(signal.SIGHUP)
        until(lambda: "SIGHUP: done" in host.log(), "the reload")
        assert host.read(token := host.new_token()) == token["value"], host.log()
        assert host.program("--check", "-o", "allow_plain_http", token["id"]).returncode == 0


def test_link_before_its_target(host):
    """The link is there at the start and leads nowhere, as before a network manager's first start."""
    host.sh("ln -sf /run/manager/resolv.conf /etc/resolv.conf")
    host.start("allow_plain_http", "timeout=5")
    worker = host.worker
    with host.network.inside(Dns, NEW_DNS, SERVICE):
        host.sh(f"mkdir /run/manager; echo nameserver {NEW_DNS} >/run/manager/resolv.conf")
        host.wait_for_worker_after(worker)
        assert host.read(token := host.new_token()) == token["value"], host.log()


def test_name_service_daemon(host):
    """Names that only a daemon of this machine knows, which is asked by a UNIX socket, as nscd, systemd-resolved and Avahi are."""
    host.sh("mkdir /run/nscd; ln -s /run /var/run; echo 'hosts: files' >/etc/nsswitch.conf")
    path = f"/proc/{host.box.process.pid}/root/run/nscd/socket"
    with Nscd(path, SERVICE) as nscd:
        host.start("allow_plain_http")
        assert host.read(token := host.new_token()) == token["value"], host.log()
        assert nscd.asked == [NAME]


def test_silent_name_server(host):
    """The first of two name servers is dead: a look-up takes five seconds, and each service that is needed is found."""
    def silent():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((OLD_DNS, 53))
        return made

    host.sh(f"printf 'nameserver {OLD_DNS}\nnameserver {NEW_DNS}\n' >/etc/resolv.conf")
    (host.home / ".aws/credentials").unlink()
    (host.home / "identity").write_text("token")
    role = "arn:aws:iam::123456789012:role/reader"
    with host.network.inside(silent), host.network.inside(Dns, NEW_DNS, SERVICE), \
            host.network.inside(Fakes, (SERVICE, 0)) as fakes:
        fakes.identity_tokens["token"] = "pod"
        host.environ.update({"AWS_ENDPOINT_URL_STS": fakes.url.replace(SERVICE, NAME), "AWS_ROLE_ARN": role,
                             "AWS_WEB_IDENTITY_TOKEN_FILE": str(host.home / "identity"), "AWS_ROLE_SESSION_NAME": "one"})
        keys = keys_for(role, "pod")
        host.service.add_key(keys["id"], keys["secret"], session_token=keys["token"])
        host.start("allow_plain_http", "timeout=40")
        assert host.read(token := host.new_token()) == token["value"], host.log()
        assert len(fakes.of("sts")) == 1


def test_no_new_worker_without_need(host):
    """What is made in watched directories, and changes that the sandbox already covers, replace no worker."""
    with host.network.inside(Dns, OLD_DNS, SERVICE):
        host.start("allow_plain_http")
        assert host.read(token := host.new_token()) == token["value"]
        worker = host.worker
        host.sh("mkdir /run/other; echo >/etc/unrelated; echo 127.0.0.1 x >/etc/new-hosts; mv /etc/new-hosts /etc/hosts; "
                f"echo nameserver {OLD_DNS} >/etc/new; mv /etc/new /etc/resolv.conf; touch $HOME/other", environ=host.environ)
        # This one is a reason, and comes last: what was before it has been looked at.
        host.sh("mkdir -p $HOME/.aws/sso/cache", environ=host.environ)
        host.wait_for_worker_after(worker)
        assert host.log().count("a new worker follows") == 1
        assert f"{host.home}/.aws/sso/cache" in host.log()


@pytest.mark.parametrize("place", ["file", "directory", "chain"])
def test_certificates_out_of_etc(tls_host, place):
    """The system's bundle is a link out of /etc, or lies in a directory that is one, as on NixOS: TLS works, and works on when
    the link leads elsewhere later."""
    host = tls_host
    host.sh("mkdir -p /var/store/one /var/store/two; cp /etc/tls/ca.pem /var/store/one/ca.crt; echo >/var/store/two/ca.crt")
    host.sh({
        "file": "ln -sf /var/store/one/ca.crt /etc/ssl/certs/ca-certificates.crt",
        "directory": "mv /var/store/one/ca.crt /var/store/one/ca-certificates.crt; rm -rf /etc/ssl/certs; "
                     "ln -s /var/store/one /etc/ssl/certs",
        "chain": "ln -s /var/store/one /etc/static; ln -sf ../../static/ca.crt /etc/ssl/certs/ca-certificates.crt",
    }[place])
    host.start("timeout=5")
    assert host.read(token := host.new_token()) == token["value"], host.log()
    assert host.program("--check", token["id"]).returncode == 0
    worker = host.worker
    host.sh("mkdir /opt/three; cp /etc/tls/ca.pem /opt/three/ca.crt; cp /etc/tls/ca.pem /opt/three/ca-certificates.crt")
    host.sh({
        "file": "ln -s /opt/three/ca.crt /etc/new; mv -T /etc/new /etc/ssl/certs/ca-certificates.crt",
        "directory": "ln -s /opt/three /etc/new; mv -T /etc/new /etc/ssl/certs",
        "chain": "ln -s /opt/three /etc/new; mv -T /etc/new /etc/static",
    }[place])
    host.wait_for_worker_after(worker)
    assert host.read(token := host.new_token()) == token["value"], host.log()


@pytest.mark.parametrize("variable, put", [("SSL_CERT_FILE", "cp"), ("SSL_CERT_DIR", "cp"), ("SSL_CERT_DIR", "ln -s")])
def test_openssl_variables(tls_host, variable, put):
    """They name the trusted certificates, as they do for the curl program; a directory may hold links to files elsewhere;
    AWS_CA_BUNDLE comes before them."""
    host = tls_host
    host.sh(f"mkdir -p /var/mine /var/none /opt/ca; cp /etc/tls/ca.pem /opt/ca/; {put} /opt/ca/ca.pem /var/mine/; "
            "echo >/var/none/ca.pem; openssl rehash /var/mine")
    host.start("timeout=2")
    assert "Protocol error" in host.read(host.new_token(), check=False)[1]
    host.stop()
    host.environ[variable] = "/var/mine/ca.pem" if variable == "SSL_CERT_FILE" else "/var/none:/var/mine"
    host.start("timeout=5")
    assert host.read(token := host.new_token()) == token["value"], host.log()
    checked = host.program("--check", token["id"])
    assert variable in checked.stdout, checked.stdout
    host.stop()
    host.environ["AWS_CA_BUNDLE"] = "/var/none/ca.pem"
    host.start("timeout=2")
    assert "Protocol error" in host.read(host.new_token(), check=False)[1]


def test_aws_directory_that_is_made_later(host):
    """No ~/.aws at the start: the credentials that are put there later are found, without a signal."""
    with host.network.inside(Dns, OLD_DNS, SERVICE):
        token = host.new_token()
        text = (host.home / ".aws/credentials").read_text()
        (host.home / ".aws/credentials").unlink()
        (host.home / ".aws").rmdir()
        host.start("allow_plain_http", "timeout=2")
        worker = host.worker
        assert host.read(token, check=False)[0] == ""
        (host.home / ".aws").mkdir()
        (host.home / ".aws/credentials").write_text(text)
        host.wait_for_worker_after(worker)
        assert host.read(token) == token["value"], host.log()


def test_landlock_is_in_force(host):
    """These tests would prove nothing without it."""
    host.start("allow_plain_http")
    assert '"seccomp, landlock"' in host.box.run("cat", str(host.path / ".service_status")).stdout
