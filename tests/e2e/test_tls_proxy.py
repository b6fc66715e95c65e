"""How a mount reaches the service: whom it trusts, through which proxy, over which addresses, with which clock; and that
whatever fails on the way, no secret is told."""
# pylint: disable=redefined-outer-name

import os
import pathlib
import re
import shutil
import time

import pytest
from mounting import Mount, MountFailed, mounts_at, until
from resolver import ACCESS_KEY, SECRET_KEY, Resolver

import aws_fakes
from connect_proxy import Proxy
from netns import Network

NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
NAMED = "elsewhere.example"     # the stand-in's certificate "wrong-host" is for this name
PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing was tested of networks of their own")


def write_home(fs, path, text):
    """A file in the mount's home directory, renamed into place."""
    path = pathlib.Path(fs.home) / path
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o600)
    new.rename(path)
    return str(path)


def keys_text(key_id=ACCESS_KEY, secret=SECRET_KEY, profile="default"):
    """A profile of the shared credentials file."""
    return f"[{profile}]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n"


def read_anew(fs, id):
    """The value, by a read that an earlier answer isn't fresh enough for, with ttl=0 (it is for 50 ms)."""
    time.sleep(0.1)
    return fs.text(id, "value")


def lines_with(fs, *words):
    """The log's lines that hold all of these words."""
    return [line for line in fs.log().splitlines() if all(word in line for word in words)]


# --- Whom it trusts

@pytest.fixture
def tls():
    """A stand-in with a good certificate, and a token."""
    with Resolver(tls="good") as service:
        service.token = service.add_token(name="web")
        yield service


def test_ca_bundle_of_the_profile(mount, tls):
    """ca_bundle in the config file counts as the AWS tools have it: for the profile in use, behind the variable."""
    environ = {**tls.environ(), "AWS_CA_BUNDLE": None}
    fs = mount(environ=environ, start=False)
    write_home(fs, ".aws/config", f"[default]\nca_bundle = {tls.ca_file}\n[profile web]\nregion = x\n")
    assert fs.start({}).text(tls.token["id"], "value") == tls.token["value"]
    other = mount(environ={**environ, "AWS_PROFILE": "web", "AWS_CONFIG_FILE": f"{fs.home}/.aws/config"}, timeout=3)
    assert other.read_error(tls.token["id"], "value") == "EPROTO"


def test_option_variable_profile(mount, tls, directory):
    """Of several bundles ca_bundle= counts, then AWS_CA_BUNDLE, then the profile's; the others aren't even read."""
    wrong = directory / "wrong.pem"
    wrong.write_text("no certificates\n")
    fs = mount(environ={**tls.environ(), "AWS_CA_BUNDLE": str(wrong)}, start=False)
    write_home(fs, ".aws/config", f"[default]\nca_bundle = {wrong}\n")
    assert fs.start({"ca_bundle": tls.ca_file}).text(tls.token["id"], "value") == tls.token["value"]
    fs = mount(environ=tls.environ(), start=False)
    write_home(fs, ".aws/config", f"[default]\nca_bundle = {wrong}\n")
    assert fs.start({}).text(tls.token["id"], "value") == tls.token["value"]


def test_relative_ca_bundle(mount, tls, directory):
    """A path that was right where the program was started stays right."""
    shutil.copy(tls.ca_file, directory / "ca.pem")
    fs = mount(environ={**tls.environ(), "AWS_CA_BUNDLE": "ca.pem"}, start=False)
    command = fs.command
    fs.command = lambda *words: ["env", "-C", str(directory), *command(*words)]
    assert fs.start({}).text(tls.token["id"], "value") == tls.token["value"]


REASONS = {"untrusted": "unable to get local issuer certificate", "expired": "certificate has expired",
           "wrong-host": "no alternative certificate subject name matches"}


@pytest.mark.core
@pytest.mark.parametrize("kind", REASONS)
def test_bad_certificates(mount, directory, kind):
    """EPROTO, the log says once what is wrong and what to check; and once that it is over, without a restart."""
    with Resolver(tls=kind) as service:
        ids = [service.add_token(id=f"at-{n}")["id"] for n in range(3)]
        fs = mount(environ=service.environ(), timeout=2, negative_ttl=0, log_level="info")
        for _ in range(5):
            for id in ids:
                assert fs.read_error(id, "value") == "EPROTO"
        assert service.counters()["calls"] == 0
        port = service.port
    assert len(lines_with(fs, REASONS[kind])) == 1, fs.log()
    assert len(lines_with(fs, REASONS[kind], "tls", "ca_bundle=")) == 1, fs.log()
    with Resolver(port=port, tls="good") as service:
        token = service.add_token(id=ids[0])
        until(lambda: fs.read_error(ids[0], "value") == "OK", "the good certificate")
        assert fs.text(ids[0], "value") == token["value"]
        assert len(lines_with(fs, "works again")) == 1, fs.log()


def test_bundle_is_mended(mount, tls, directory):
    """A bundle that was wrong is read anew when it is replaced: the next reads work without a signal."""
    bundle = directory / "bundle.pem"
    bundle.write_text("no certificates yet\n")
    fs = mount(environ={**tls.environ(), "AWS_CA_BUNDLE": None}, ca_bundle=bundle, timeout=2, negative_ttl=0)
    assert fs.read_error(tls.token["id"], "value") == "EPROTO"
    assert len(lines_with(fs, str(bundle))) == 1, fs.log()
    new = shutil.copy(tls.ca_file, directory / "new.pem")
    os.rename(new, bundle)
    until(lambda: fs.read_error(tls.token["id"], "value") == "OK", "the new bundle")


def test_bundle_that_is_a_fifo(mount, tls, directory):
    """It is refused; reading it would wait for a writer, and with it everything else."""
    bundle = directory / "bundle.pem"
    os.mkfifo(bundle)
    fs = mount(environ={**tls.environ(), "AWS_CA_BUNDLE": None}, ca_bundle=bundle, timeout=2, negative_ttl=0)
    assert fs.read_error(tls.token["id"], "value") == "EPROTO"
    assert lines_with(fs, f"{bundle} is no regular file"), fs.log()
    new = shutil.copy(tls.ca_file, directory / "new.pem")
    os.rename(new, bundle)
    until(lambda: fs.read_error(tls.token["id"], "value") == "OK", "the new bundle")


# --- Through which proxy

def proxy_environ(service, proxy, *names, **more):
    """Variables of a mount that reaches the service by its certificate's name, through a proxy."""
    return {**service.environ(), "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": f"https://{NAMED}:{service.port}",
            **{name: proxy.url for name in names}, **more}


@pytest.fixture
def named():
    """A stand-in whose certificate is for a name that only the proxy knows, and the proxy."""
    with Resolver(tls="wrong-host") as service, Proxy(("127.0.0.1", service.port)) as proxy:
        service.token = service.add_token(name="web")
        service.proxy = proxy
        yield service


@pytest.mark.core
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_proxy_for_the_api(mount, named, name):
    """The service's name is the proxy's to look up; TLS goes through to the service, and nothing else is told to it."""
    fs = mount(environ=proxy_environ(named, named.proxy, name))
    assert fs.text(named.token["id"], "value") == named.token["value"]
    assert set(named.proxy.asked) == {f"CONNECT {NAMED}:{named.port}"}
    assert not [line for line in named.proxy.headers if re.match("(?i)authorization|x-amz", line)]


def test_proxy_with_a_password(mount, named):
    """It is sent to the proxy, and not logged."""
    secret = "PLANTED-proxy-password"
    url = named.proxy.url.replace("http://", f"http://user:{secret}@")
    fs = mount(environ=proxy_environ(named, named.proxy, HTTPS_PROXY=url), log_level="debug")
    assert fs.text(named.token["id"], "value") == named.token["value"]
    assert [line for line in named.proxy.headers if line.startswith("Proxy-Authorization: Basic ")]
    assert secret not in fs.log() and secret not in fs.text(".service_status")


@pytest.mark.parametrize("exception", [NAMED, ".example", "example", "*", f"other.example,{NAMED}"])
def test_no_proxy(mount, named, exception):
    """NO_PROXY is respected: the proxy isn't asked, so that the name isn't found here."""
    fs = mount(environ=proxy_environ(named, named.proxy, "HTTPS_PROXY", NO_PROXY=exception), timeout=3)
    assert fs.read_error(named.token["id"], "value") in ("EHOSTUNREACH", "ETIMEDOUT")
    assert named.proxy.asked == []


def test_no_proxy_for_others(mount, named):
    """Exceptions that don't fit change nothing."""
    fs = mount(environ=proxy_environ(named, named.proxy, "HTTPS_PROXY", NO_PROXY="else.example,10.0.0.0/8,here.example"))
    assert fs.text(named.token["id"], "value") == named.token["value"]
    assert named.proxy.asked


@pytest.mark.parametrize("owes", [0, 100])
@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
def test_proxy_that_refuses(mount, named, status, owes):
    """EHOSTUNREACH; the log has the proxy's status, and a hint at it. So it does if the answer's body never comes."""
    named.proxy.refuse = status
    named.proxy.owes = owes
    fs = mount(environ=proxy_environ(named, named.proxy, "HTTPS_PROXY"), timeout=2)
    assert fs.read_error(named.token["id"], "value") == "EHOSTUNREACH"
    assert lines_with(fs, status[:3], "proxy"), fs.log()


def test_proxy_that_is_not_there(mount, named):
    """EHOSTUNREACH, without a way around it."""
    environ = proxy_environ(named, named.proxy, HTTPS_PROXY="http://127.0.0.1:1")
    fs = mount(environ=environ, timeout=2)
    assert fs.read_error(named.token["id"], "value") == "EHOSTUNREACH"


@pytest.mark.parametrize("url", [
    "http://user:PLANTEDpassword/1@127.0.0.1:3128", "http://user:PLANTEDpassword#x@127.0.0.1:3128",
    "http://user:PLANTEDpassword x@127.0.0.1:3128", "ftp://user:PLANTEDpassword@127.0.0.1:3128"])
def test_proxy_that_is_malformed(mount, token, url):
    """It is told that it is, and never quoted: characters of a password that aren't encoded are a common reason."""
    environ = {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": f"https://{NAMED}", "HTTPS_PROXY": url}
    fs = mount(environ=environ, timeout=1)
    assert fs.read_error(token["id"], "value") == "EHOSTUNREACH"
    assert lines_with(fs, "the proxy's URL is malformed"), fs.log()
    assert "PLANTED" not in fs.log() + fs.text(".service_status")


def test_certificate_behind_a_proxy(mount, tls):
    """A proxy doesn't weaken TLS: the certificate must be for the name that was meant."""
    with Proxy(("127.0.0.1", tls.port)) as proxy:
        fs = mount(environ=proxy_environ(tls, proxy, "HTTPS_PROXY"), timeout=2)
        assert fs.read_error(tls.token["id"], "value") == "EPROTO"
        assert proxy.asked and tls.counters()["calls"] == 0


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("kind", [None, "good"])
def test_never_for_this_machine(mount, directory, kind, name):
    """Loopback endpoints are reached directly, whatever proxies are named."""
    with Resolver(tls=kind) as service, Proxy(("127.0.0.1", 1)) as proxy:
        token = service.add_token()
        url = service.url.replace("127.0.0.1", name)
        fs = mount(environ={**service.environ(), **{name: proxy.url for name in PROXIES}}, endpoint_url=url)
        assert fs.text(token["id"], "value") == token["value"]
        assert proxy.asked == []


@pytest.mark.parametrize("address, host", [
    ("127.0.0.1", "127.1"), ("127.0.0.1", "0x7f.0.0.01"), ("::1", "[::1]"), ("::1", "[0:0:0:0:0:0:0:1]"), ("::1", "[0::01]")])
def test_spellings_of_an_address(mount, directory, address, host):
    """What is signed is what libcurl sends as Host, which is the usual spelling."""
    del directory
    with Resolver(host=address) as service:
        token = service.add_token()
        url = f"http://{host}:{service.port}"
        fs = mount(environ={**service.environ(), "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": url})
        assert fs.text(token["id"], "value") == token["value"]


def test_never_for_container_credentials(mount, resolver, token, named):
    """A container's endpoint isn't asked through a proxy, even where it has a name and https."""
    environ = {**NO_KEYS, "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"https://{NAMED}:{named.port}/keys",
               "AWS_CA_BUNDLE": named.ca_file, **{name: named.proxy.url for name in PROXIES}}
    fs = mount(environ=environ, timeout=2)
    assert fs.read_error(token["id"], "value") in ("EHOSTUNREACH", "ETIMEDOUT")
    assert named.proxy.asked == []


# --- Over which addresses

@pytest.fixture
def network():
    """A network with the metadata services' addresses and a common one."""
    with Network("169.254.169.254", "169.254.170.2", "10.9.8.7") as there:
        yield there


class Far:
    """A stand-in at 10.9.8.7 and what is started in its network."""

    def __init__(self, network, directory):
        self.network = network
        self.directory = directory
        self.service = Resolver(host="10.9.8.7")
        network.inside(self.service.start)
        self.url = f"http://10.9.8.7:{self.service.port}"
        self.token = self.service.add_token(name="far")
        self.mounts = []

    def mount(self, environ=None, **options):
        """A mount whose program runs in the network."""
        place = self.directory / f"far{len(self.mounts)}"
        place.mkdir(mode=0o755)
        fs = Mount(place, self.service, {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": self.url, **(environ or {})})
        command = fs.command
        fs.command = lambda *words: [*self.network.prefix, *command(*words)]
        self.mounts.append(fs)
        return fs.start(options)

    def end(self):
        """All mounts are ended, and looked at."""
        try:
            for fs in self.mounts:
                fs.stop()
        finally:
            for fs in self.mounts:
                fs.destroy()
            self.service.stop()


@pytest.fixture
def far(network, directory):
    """See Far."""
    there = Far(network, directory)
    yield there
    there.end()


@needs_root
def test_plain_http_is_refused(far):
    """http:// beyond this host: refused before the mount, in a sentence that says what to do."""
    with pytest.raises(MountFailed) as failure:
        far.mount()
    assert "unencrypted" in failure.value.text and "allow_plain_http" in failure.value.text
    assert "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER" in failure.value.text and failure.value.status != 0
    assert not mounts_at(far.mounts[0].path) and far.service.counters()["accepted"] == 0


@needs_root
def test_plain_http_is_allowed(far):
    """With allow_plain_http it is used."""
    fs = far.mount(allow_plain_http=True)
    assert fs.text(far.token["id"], "value") == far.token["value"]


@needs_root
def test_plain_http_through_a_proxy(far):
    """http_proxy is used for it (HTTP_PROXY isn't, as curl has it), no_proxy is respected."""
    proxy = far.network.inside(Proxy, ("10.9.8.7", far.service.port))

    def calls():
        # Connections that are made in a thread of the network's are made in the network.
        return [asked for asked in proxy.asked if asked.startswith("GET ")]

    far.network.inside(proxy.__enter__)
    try:
        fs = far.mount({"http_proxy": proxy.url}, allow_plain_http=True)
        assert fs.text(far.token["id"], "value") == far.token["value"]
        assert calls() == [f"GET {far.url}/tokens/{far.token['id']}"]
        for environ in ({"HTTP_PROXY": proxy.url}, {"http_proxy": proxy.url, "no_proxy": "10.9.8.7"},
                        {"http_proxy": proxy.url, "NO_PROXY": "10.0.0.0/8"}):
            fs = far.mount(environ, allow_plain_http=True)
            assert fs.text(far.token["id"], "value") == far.token["value"], environ
        assert len(calls()) == 1
    finally:
        proxy.__exit__()


@needs_root
def test_metadata_services_at_their_addresses(far):
    """An instance's keys from 169.254.169.254, a task's from 169.254.170.2: over plain http, and never by a proxy."""
    with Proxy(("127.0.0.1", 1)) as proxy:
        for kind, address in (("imds", "169.254.169.254"), ("container", "169.254.170.2")):
            fakes = far.network.inside(aws_fakes.Fakes, (address, 80))
            keys = aws_fakes.keys_for(*{"imds": ("imds", "machine"), "container": ("container", "/v2/keys")}[kind])
            far.service.add_key(keys["id"], keys["secret"], session_token=keys["token"])
            environ = {**NO_KEYS, **{name: proxy.url for name in PROXIES if name != "http_proxy"},
                       "http_proxy": "http://127.0.0.1:1", "no_proxy": "10.9.8.7"}
            if kind == "imds":
                environ["AWS_EC2_METADATA_DISABLED"] = None
            else:
                environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/v2/keys"
            with fakes:
                fs = far.mount(environ, allow_plain_http=True)
                assert fs.text(far.token["id"], "value") == far.token["value"]
                assert fakes.calls and not fakes.of("proxy")
        assert proxy.asked == []


# --- With which clock

@pytest.mark.core
@pytest.mark.parametrize("offset", [-1200, 1200])
def test_clock_that_goes_wrong(mount, resolver, token, offset):
    """Clocks part by 20 minutes while mounted: one call more, one line, and from then on no correction is needed."""
    def refused():
        return resolver.count("GetAccessToken") - resolver.count("GetAccessToken", result="ok")

    fs = mount(ttl=0)
    assert fs.text(token["id"], "value") == token["value"]
    resolver.clock_offset = offset
    for _ in range(5):
        assert read_anew(fs, token["id"]) == token["value"]
    assert refused() == 1 and resolver.count("GetAccessToken") >= 7
    assert len(lines_with(fs, "clock")) == 1, fs.log()
    resolver.clock_offset = 0
    assert read_anew(fs, token["id"]) == token["value"]
    assert refused() == 2


# --- Secrets

PLANTED = "PLANTEDSECRET"


def test_no_secret_is_told(mount, resolver, directory):
    """Recognisable secrets everywhere, all that fails, at log_level=debug: none is in the log, the status, the metrics or
    the names of files."""
    session = PLANTED + "/session+token=="
    key = resolver.add_key("ASIASECRET0000000001", PLANTED + "/secret", session_token=session)
    tokens = [resolver.add_token(id=f"at-{n}", value=f"{PLANTED}-value-{n}", clientToken=f"client-{n}") for n in range(12)]
    environ = {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": PLANTED + "/secret", "AWS_SESSION_TOKEN": session,
               "AWS_CONTAINER_AUTHORIZATION_TOKEN": PLANTED + "-authorization"}
    fs = mount(environ=environ, ttl=0, timeout=1, negative_ttl=0, log_level="debug", audit=True)
    effects = ["malformed", "wrong_id", "duplicate", "deep", "nul", "invalid_utf8", "cut", "reset", "hang", "not_http",
               ("status", {"status": 500, "message": PLANTED[:7]}), ("status", {"status": 403, "code": "AccessDeniedException"}),
               ("status", {"status": 403, "code": "SignatureDoesNotMatch"}), ("throttle", {}),
               ("body", {"body": '{"value": "' + PLANTED + '"'}), ("patch", {"fields": {"expiresAt": "2020-13-13"}})]
    for token, effect in zip(tokens * 2, effects):
        name, parameters = effect if isinstance(effect, tuple) else (effect, {})
        assert fs.text(token["id"], "value") == token["value"]
        fault = resolver.add_fault(name, token=token["id"], **parameters)
        fs.read_error(token["id"], "value")
        fs.read_error(token["id"], ".json")
        resolver.remove_fault(fault)
        until(lambda id=token["id"]: fs.read_error(id, "value") == "OK", "recovery")
    told = fs.log() + fs.text(".service_status") + fs.text(".service_metrics")
    resolver.stop()
    fs.read_error("at-0", "value")
    resolver.start()
    fs.forget()
    assert fs.text("at-0", "value") == tokens[0]["value"]
    told += fs.log() + fs.text(".service_status")
    assert "at-0" in told and len(told) > 10000, "the log was written"
    assert PLANTED not in told
    assert not re.search("(?i)signature=|credential=", told)
    assert not [path for path in directory.rglob("*") if PLANTED in path.name and fs.path not in str(path)]
    for pid in (fs.pid, fs.worker):
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
        assert re.search(r"Max core file size +0 +0", limits), limits
        assert PLANTED.encode() not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def test_no_secret_of_files_is_told(mount, token, directory):
    """A credentials file that is broken, half, or wrong: what is in it isn't told, at any level."""
    texts = [f"[default]\naws_access_key_id = {PLANTED}1\naws_secret_access_key = {PLANTED} 2\naws_session_token = {PLANTED}3\n",
             f"[default]\naws_secret_access_key = {PLANTED}\n", f"[default]\naws_access_key_id = {PLANTED}\n",
             f"[default]\ncredential_source = {PLANTED}\nrole_arn = arn:{PLANTED}\n"[:20] + f"\n{PLANTED}\n"]
    for text in texts:
        fs = mount(environ=NO_KEYS, start=False)
        write_home(fs, ".aws/credentials", text)
        try:
            fs.start({"timeout": 2, "log_level": "debug"})
            assert fs.read_error(token["id"], "value") != "OK"
            assert PLANTED not in fs.text(".service_status")
        except MountFailed:
            pass
        assert fs.log() and PLANTED not in fs.log(), fs.log()
