"""--check: each of its steps when it works and when it doesn't, what it says to do, and that it tells no secret."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest
from mounting import BINARY, HANG, until
from resolver import ACCESS_KEY, SECRET_KEY, Resolver

import aws_fakes

STEPS = ["options", "fuse", "configuration", "credentials", "endpoint", "lookup", "connection", "tls", "clock", "call"]
PLANTED = "PLANTEDSECRET"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing was tested of namespaces and other users")


class Outcome:
    """What a check said: its steps by name, as (ok, detail, remedy)."""

    def __init__(self, done):
        self.status = done.returncode
        self.output = done.stdout
        self.log = done.stderr
        document = json.loads(done.stdout)
        self.steps = {step["name"]: (step["ok"], step["detail"], step["remedy"]) for step in document["steps"]}
        self.names = [step["name"] for step in document["steps"]]
        assert set(document) == {"ok", "steps"} and len(self.steps) == len(self.names)
        assert document["ok"] is (self.status == 0) is not any(ok is False for ok, *_ in self.steps.values())

    def ok(self, name, *words):
        """This step succeeded, and says so in these words; gives its remedy."""
        return self._is(True, name, words)

    def failed(self, name, *words):
        """This step failed, so does the whole; gives what is to be done, which there is."""
        assert self.status == 1 and self.steps[name][2]
        return self._is(False, name, words)

    def skipped(self, *names):
        """These steps were skipped, for a reason."""
        for name in names:
            self._is(None, name, ())
            assert self.steps[name][1]

    def _is(self, expected, name, words):
        ok, detail, remedy = self.steps[name]
        assert ok is expected, (name, self.output)
        for word in words:
            assert word in detail, (name, detail, word)
        return remedy

    @property
    def all_failed(self):
        """The names of the failed steps."""
        return [name for name in self.names if self.steps[name][0] is False]


class Checker:
    """Runs checks against a stand-in, with an environment and a home of their own."""

    def __init__(self, directory, resolver):
        self.resolver = resolver
        self.home = directory / "home"
        self.home.mkdir(mode=0o755)
        self.binary = BINARY
        self.environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.home), "LC_ALL": "C.UTF-8",
                        "AWS_EC2_METADATA_DISABLED": "true", **resolver.environ()}
        for name in ("ASAN", "UBSAN", "LSAN"):
            if options := os.environ.get(f"TOKENFS_{name}_OPTIONS"):
                self.environ[f"{name}_OPTIONS"] = options

    def run(self, *words, prefix=(), environ=None, **more):
        """Runs it; no secret is in what it says."""
        full = {**self.environ, **(environ or {})}
        full = {name: value for name, value in full.items() if value is not None}
        done = subprocess.run([*prefix, self.binary, "--check", *words], env=full, capture_output=True, text=True,
                              timeout=HANG, check=False, stdin=subprocess.DEVNULL, **more)
        said = done.stdout + done.stderr
        secrets = {PLANTED} | {key.secret for key in self.resolver.verifier.keys.values()}
        secrets |= {key.session_token for key in self.resolver.verifier.keys.values() if key.session_token}
        secrets |= {document["value"] for document in self.resolver.model.tokens.values()}
        assert not [secret for secret in secrets if secret in said], said
        assert "Sanitizer" not in said, said
        return done

    def __call__(self, *words, prefix=(), **environ):
        """A check for machines."""
        done = self.run("--json", *words, prefix=prefix, environ=environ)
        outcome = Outcome(done)
        assert done.stderr == "" or "log_level=debug" in " ".join(words), done.stderr
        return outcome

    def write(self, path, text, mode=0o600):
        """A file in the home directory."""
        path = self.home / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return str(path)


@pytest.fixture
def check(resolver, directory):
    """A Checker for the stand-in."""
    return Checker(directory, resolver)


NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
KEYS = f"aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"


# --- All is well

@pytest.mark.core
def test_all_is_well(check, resolver):
    """Without a token everything is listed; each step is told in its order."""
    outcome = check()
    assert outcome.status == 0, outcome.output
    assert outcome.names == [*STEPS, "listing"]
    assert all(ok is True for ok, *_ in outcome.steps.values())
    outcome.ok("options", "ttl 60 s", "timeout 10 s", "all tokens")
    outcome.ok("credentials", "AKID…IN01", "environment")
    outcome.ok("endpoint", resolver.url, "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER", "us-east-2")
    outcome.ok("call", "ListGlobalResolvers")
    assert ACCESS_KEY not in outcome.output
    assert resolver.count("ListGlobalResolvers") == 1 and resolver.count("GetAccessToken") == 0


@pytest.mark.core
def test_a_token_is_named(check, resolver, token):
    """That one is asked for and nothing else; its status and end are told, its value isn't."""
    outcome = check(token["id"])
    assert outcome.status == 0 and outcome.names == [*STEPS, f"token={token['id']}"]
    outcome.ok("call", "GetAccessToken")
    outcome.ok(f"token={token['id']}", "OPERATIONAL", "expires", "days")
    assert resolver.count("GetAccessToken", result="ok") == 1 and resolver.count("ListGlobalResolvers") == 0


def test_for_people(check, token):
    """Marks, aligned labels, an arrow before what to do, and a verdict."""
    done = check.run(token["id"])
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == ""
    assert lines[-1] == "A mount would work." and lines[-2] == ""
    assert all(line.startswith("✓ ") and line[16] == " " != line[17] for line in lines[:-2]), done.stdout
    done = check.run("-o", f"token={token['id']}", "at-unknown", environ={"AWS_SECRET_ACCESS_KEY": "wrong"})
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and lines[-1] == "A mount would not work: 1 step failed."
    failed = next(i for i, line in enumerate(lines) if line.startswith("✗ "))
    assert lines[failed].startswith("✗ signed call") and lines[failed + 1].startswith(" " * 17 + "→ check the access key")
    assert [line for line in lines[failed + 2:-2] if not line.startswith("– ")] == []


@pytest.mark.parametrize("environ", [{"LC_ALL": "C"}, {"LC_ALL": None, "LANG": "POSIX"}])
def test_in_ascii(check, environ):
    """Where the locale is C or POSIX, nothing else than ASCII is printed."""
    done = check.run("at-unknown", environ=environ)
    assert done.returncode == 1 and done.stdout.isascii()
    assert "+ FUSE " in done.stdout and "x token " in done.stdout and " -> " in done.stdout
    assert "AKID...IN01" in done.stdout


def test_wrapped_on_a_terminal(check):
    """On a terminal lines aren't longer than it is wide."""
    script = f"stty cols 60; {BINARY} --check at-unknown"
    done = subprocess.run(["script", "-qec", script, "/dev/null"], env=check.environ, capture_output=True, text=True,
                          timeout=HANG, check=False, stdin=subprocess.DEVNULL)
    lines = done.stdout.replace("\r", "").splitlines()
    assert any(line.startswith("✗ token") for line in lines), done.stdout
    words = [line for line in lines if "/" not in line]     # a path is a word that can't be broken
    assert max(map(len, words)) <= 60, done.stdout
    assert any(line.startswith(" " * 17) and "→" not in line for line in lines), done.stdout


def test_nothing_is_changed(check, token):
    """No mount, no file, no process is left."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    assert check(token["id"]).status == 0
    assert pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8") == mounts
    assert list(check.home.rglob("*")) == []


# --- Options

@pytest.mark.parametrize("words, said", [
    (["-o", "ttl=never"], ["ttl", "never"]), (["-o", "tttl=1"], ["tttl", "ttl"]), (["-x"], ["-x"]),
    (["one", "two"], ["one token id"]), (["not/an/id"], ["not/an/id"]), (["-o", "ca_bundle="], ["ca_bundle"])])
def test_options_are_refused(check, resolver, words, said):
    """What is wrong with the command line is the first step, for machines too; nothing else is tried."""
    outcome = check(*words)
    assert outcome.failed("options", *said) and outcome.names == ["options"]
    done = check.run(*words)
    assert done.returncode == 1 and done.stdout.startswith("✗ options ") and done.stderr == ""
    assert resolver.counters()["accepted"] == 0


def test_scopes_are_told(check, token):
    """The options' step says which tokens would exist."""
    check("-o", f"token={token['id']},ttl=5,stale=0").ok("options", "ttl 5 s", "stale 0 s", "scopes")


# --- FUSE

def namespace(script):
    """Runs what follows in a mount namespace of its own, after a script."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"set -e; {script}; exec \"$@\"", "sh"]


BARE_DEV = "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9"
OPEN_DEV = f"{BARE_DEV}; mknod -m 666 /dev/fuse c 10 229"


@pytest.fixture
def nobody(check, directory):
    """A Checker whose program another user can start."""
    check.binary = shutil.copy(BINARY, directory / "tokenfs")
    os.chmod(check.binary, 0o755)
    return check


@needs_root
def test_no_device(check):
    """No /dev/fuse: the module, or the container. All else is checked, and works."""
    outcome = check(prefix=namespace(BARE_DEV))
    assert "modprobe fuse" in outcome.failed("fuse", "/dev/fuse", "No such file")
    assert outcome.all_failed == ["fuse"]
    outcome.ok("listing")


@needs_root
def test_another_device(check):
    """Something else lies there."""
    outcome = check(prefix=namespace("mount --bind /dev/null /dev/fuse"))
    assert "10:229" in outcome.failed("fuse", "isn't the FUSE device")


@needs_root
def test_root_without_the_right_to_mount(check):
    """As in a container without CAP_SYS_ADMIN."""
    outcome = check(prefix=["setpriv", "--bounding-set=-sys_admin"])
    assert "--cap-add SYS_ADMIN" in outcome.failed("fuse", "CAP_SYS_ADMIN")


@needs_root
def test_mounting_directly(check):
    """Root needs no helper."""
    check().ok("fuse", "directly")
    check("-o", "auto_unmount").ok("fuse", "fusermount3")


@needs_root
def test_users_mount_through_the_helper(nobody):
    """Another user has fusermount3 do it."""
    outcome = nobody(prefix=namespace(OPEN_DEV) + NOBODY)
    outcome.ok("fuse", "/usr/bin/fusermount3")
    assert outcome.status == 0


@needs_root
def test_device_is_not_for_all(nobody):
    """Its mode leaves the user out."""
    outcome = nobody(prefix=namespace(f"{OPEN_DEV}; chmod 600 /dev/fuse") + NOBODY)
    assert "0666" in outcome.failed("fuse", "Permission denied")


@needs_root
@pytest.mark.parametrize("option", ["allow_other", "allow_root"])
def test_allow_other_is_for_root(nobody, directory, option):
    """Unless /etc/fuse.conf says user_allow_other; root may always."""
    nobody("-o", option).ok("fuse")
    conf = directory / "fuse.conf"
    bind = f"{OPEN_DEV}; mount --bind {conf} /etc/fuse.conf"
    conf.write_text("# user_allow_other\nmount_max = 7\n")
    outcome = nobody("-o", option, prefix=namespace(bind) + NOBODY)
    assert "user_allow_other" in outcome.failed("fuse", option, "/etc/fuse.conf")
    conf.write_text("mount_max = 7\n  user_allow_other # all of them\n")
    nobody("-o", option, prefix=namespace(bind) + NOBODY).ok("fuse")


@needs_root
def test_no_helper(nobody, directory):
    """fusermount3 isn't installed (here: nothing that can be started lies there)."""
    empty = directory / "empty"
    empty.write_text("")
    outcome = nobody(prefix=namespace(f"{OPEN_DEV}; mount --bind {empty} /usr/bin/fusermount3") + NOBODY)
    assert "apt install fuse3" in outcome.failed("fuse", "fusermount3", "isn't there")


@needs_root
def test_helper_without_rights(nobody, directory):
    """fusermount3 has lost its setuid bit."""
    copy = shutil.copy("/usr/bin/fusermount3", directory / "copy")
    os.chmod(copy, 0o755)
    outcome = nobody(prefix=namespace(f"{OPEN_DEV}; mount --bind {copy} /usr/bin/fusermount3") + NOBODY)
    assert "setuid" in outcome.failed("fuse", "/usr/bin/fusermount3")


@needs_root
def test_helper_that_gains_nothing(nobody):
    """no_new_privs, as containers and services set it."""
    outcome = nobody(prefix=namespace(OPEN_DEV) + [*NOBODY, "--no-new-privs"])
    assert "no_new_privs" in outcome.failed("fuse", "no_new_privs")


# --- The user

@needs_root
def test_user(check):
    """user=NAME is tried: what it can't read, the mount couldn't either."""
    outcome = check("-o", "user=nobody")
    outcome.ok("user", "nobody")
    assert outcome.status == 0
    keys = check.write("keys", "[default]\n" + KEYS)
    check(AWS_SHARED_CREDENTIALS_FILE=keys, **NO_KEYS).ok("credentials", "shared credentials file")
    outcome = check("-o", "user=nobody", AWS_SHARED_CREDENTIALS_FILE=keys, **NO_KEYS)
    outcome.failed("configuration", keys, "Permission denied")


@needs_root
def test_user_that_it_cannot_become(check):
    """Root whose right to change users was taken away; nothing is tried as another user than the one that is meant."""
    outcome = check("-o", "user=nobody", prefix=["setpriv", "--bounding-set=-setuid"])
    assert "root" in outcome.failed("user")
    outcome.skipped("configuration", "credentials", "endpoint", "lookup", "tls", "clock", "call", "listing")


# --- Configuration

def test_files_that_are_not_there(check):
    """Paths, and that nothing is there; which is no failure."""
    home = check.home
    check().ok("configuration", f"{home}/.aws/config (not there)", f"{home}/.aws/credentials (not there)",
               "profile default")


def test_files_that_are_there(check):
    """Paths and profile, with where the profile was named."""
    config = check.write("my config", "[profile web]\nregion = eu-west-1\n")
    check.write(".aws/credentials", "[default]\n")
    outcome = check(AWS_CONFIG_FILE=config, AWS_PROFILE="web")
    outcome.ok("configuration", f"{config}, ", f"{check.home}/.aws/credentials; profile web")
    assert "not there" not in outcome.steps["configuration"][1]


@needs_root
def test_files_that_may_not_be_read(nobody):
    """At the usual place they are passed over, and that is told; one that was named is an error."""
    path = nobody.write(".aws/credentials", "[default]\n" + KEYS)
    prefix = namespace(OPEN_DEV) + NOBODY
    nobody(prefix=prefix).ok("configuration", f"{path} (may not be read)")
    outcome = nobody(prefix=prefix, AWS_SHARED_CREDENTIALS_FILE=path)
    assert outcome.failed("configuration", path, "Permission denied")
    outcome.skipped("credentials", "endpoint", "lookup", "call", "listing")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_missing_profile(check, how):
    """A profile that was named and isn't there."""
    check.write(".aws/config", "[profile other]\n")
    outcome = check(*(["-o", "profile=web"] if how == "option" else []),
                    AWS_PROFILE="web" if how == "environment" else None)
    assert "profile=" in outcome.failed("configuration", "profile web", "in neither")
    outcome.failed("credentials", "web")
    outcome.ok("clock")


def test_broken_file(check):
    """File and line are named, the line isn't quoted."""
    path = check.write(".aws/config", f"[default]\nregion = x\n[profile web\nsecret = {PLANTED}\n")
    outcome = check()
    assert outcome.failed("configuration", path, "3")
    outcome.skipped(*STEPS[3:], "listing")


# --- Credentials

def test_no_credentials(check, resolver, token):
    """Where they were looked for, and what to do; the way to the service is checked all the same."""
    outcome = check(token["id"], **NO_KEYS)
    assert "AWS_ACCESS_KEY_ID" in outcome.failed("credentials", ".aws/credentials", "default")
    outcome.ok("clock")
    outcome.skipped("call", f"token={token['id']}")
    assert outcome.all_failed == ["credentials"] and resolver.count("GetAccessToken") == 0


def test_half_of_the_keys(check):
    """A provider that is configured wrongly is named."""
    outcome = check(AWS_SECRET_ACCESS_KEY=None)
    assert outcome.failed("credentials", "environment", "AWS_SECRET_ACCESS_KEY") == "set both or neither"


def test_provider_and_profile_are_named(check):
    """A profile's keys; profile= outdoes the environment."""
    check.write(".aws/credentials", "[web]\n" + KEYS)
    outcome = check("-o", "profile=web", AWS_ACCESS_KEY_ID="AKIDANOTHER000000000", AWS_SECRET_ACCESS_KEY=PLANTED)
    outcome.ok("credentials", "AKID…IN01", "shared credentials file (profile web)", "until they are replaced")
    assert outcome.status == 0


def test_expired_before_use(check):
    """Their end is known here already."""
    outcome = check(AWS_CREDENTIAL_EXPIRATION="2020-01-01T00:00:00Z")
    assert "renew" in outcome.failed("credentials", "expired")
    outcome.skipped("call", "listing")


def test_end_is_told(check, resolver):
    """When they end, in both forms."""
    with aws_fakes.Fakes() as fakes:
        fakes.lifetime = 7200
        keys = aws_fakes.keys_for("container", "/keys")
        resolver.add_key(keys["id"], keys["secret"], session_token=keys["token"])
        outcome = check(AWS_CONTAINER_CREDENTIALS_FULL_URI=fakes.url + "/keys", **NO_KEYS)
    outcome.ok("credentials", "container", "Z (in ", f"{keys['id'][:4]}…{keys['id'][-4:]}")
    assert outcome.status == 0


def test_provider_that_fails_for_now(check):
    """It is asked again while there is time; then its trouble is told."""
    with aws_fakes.Fakes() as fakes:
        fakes.faults["container"] = [(500, "", "text/plain")] * 100
        outcome = check("-o", "timeout=5", AWS_CONTAINER_CREDENTIALS_FULL_URI=fakes.url + "/keys", **NO_KEYS)
        assert len(fakes.of("container")) >= 2
    outcome.failed("credentials", "container", "500")


def test_provider_that_hangs(check):
    """timeout= bounds it; the other steps don't wait for it."""
    with aws_fakes.Fakes() as fakes:
        fakes.delay["container"] = 5
        outcome = check("-o", "timeout=1", AWS_CONTAINER_CREDENTIALS_FULL_URI=fakes.url + "/keys", **NO_KEYS)
    assert outcome.failed("credentials")
    outcome.ok("clock")
    outcome.skipped("call", "listing")


def test_provider_refuses(check):
    """STS says no."""
    check.write(".aws/config", "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n")
    check.write(".aws/credentials", f"[base]\naws_access_key_id = AKIDX\naws_secret_access_key = {PLANTED}\n")
    with aws_fakes.Fakes() as fakes:
        outcome = check(AWS_ENDPOINT_URL_STS=fakes.url, **NO_KEYS)
    outcome.failed("credentials", "assume role", "InvalidClientTokenId")


@pytest.mark.parametrize("what, environ", [
    ("SignatureDoesNotMatch", {"AWS_SECRET_ACCESS_KEY": "another+secret/key+of/forty+characters+0"}),
    ("UnrecognizedClient", {"AWS_ACCESS_KEY_ID": "AKIDUNKNOWN000000001"})])
def test_rejected(check, token, what, environ):
    """The service doesn't accept them: the signed call fails, what follows from it is skipped."""
    outcome = check(token["id"], **environ)
    outcome.ok("credentials")
    assert "access key" in outcome.failed("call", what)
    outcome.skipped(f"token={token['id']}")


def test_expired_by_the_service(check, resolver):
    """A session that is over."""
    resolver.add_key("ASIAEXPIRED000000001", SECRET_KEY, session_token=PLANTED + "-session", expires_in=-10)
    outcome = check(AWS_ACCESS_KEY_ID="ASIAEXPIRED000000001", AWS_SESSION_TOKEN=PLANTED + "-session")
    assert "renewed" in outcome.failed("call", "ExpiredToken")


# --- Endpoint

def test_endpoint_and_region(check, resolver):
    """What chose it."""
    resolver.set(regions=None)
    outcome = check("-o", f"endpoint_url={resolver.url},region=eu-north-1", AWS_ENDPOINT_URL=None,
                    AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER="http://127.0.0.1:1", AWS_REGION="us-west-2")
    outcome.ok("endpoint", resolver.url, "endpoint_url=", "region eu-north-1")
    assert outcome.status == 0
    config = check.write(".aws/config", f"[default]\nendpoint_url = {resolver.url}\n")
    outcome = check(AWS_ENDPOINT_URL=None, AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER=None, AWS_CONFIG_FILE=config)
    outcome.ok("endpoint", resolver.url, "of the profile", "region us-east-2")


@pytest.mark.parametrize("words, environ, said", [
    (["-o", "use_fips"], {}, ["use_fips", "exclude"]),
    ([], {"AWS_USE_FIPS_ENDPOINT": "true"}, ["AWS_USE_FIPS_ENDPOINT", "exclude"]),
    (["-o", "region=no region"], {}, ["no region"]),
    (["-o", "endpoint_url=ftp://x"], {}, ["endpoint_url="]),
    (["-o", "endpoint_url=http://192.0.2.1"], {}, ["unencrypted"])])
def test_endpoint_is_refused(check, words, environ, said):
    """As before a mount; credentials are checked all the same."""
    outcome = check(*words, **environ)
    # What an option can't be is refused with the options already.
    step = "options" if outcome.names == ["options"] else "endpoint"
    outcome.failed(step, *said)
    if step == "endpoint":
        outcome.ok("credentials")
        outcome.skipped("lookup", "connection", "tls", "clock", "call", "listing")


# --- The way to the service

def test_no_such_host(check):
    """.invalid never exists."""
    outcome = check("-o", "timeout=5,endpoint_url=https://no-such-host.invalid")
    assert "endpoint_url=" in outcome.failed("lookup", "no-such-host.invalid")
    outcome.skipped("connection", "tls", "clock", "call", "listing")


def test_refused_connection(check, resolver, token):
    """Nobody listens."""
    resolver.stop()
    outcome = check("-o", "timeout=2", token["id"])
    assert "firewall" in outcome.failed("connection", str(resolver.port))
    outcome.ok("lookup")
    outcome.skipped("tls", "clock", "call", f"token={token['id']}")


def test_connection_that_comes_late(check, resolver, token):
    """A refusal or two are tried again."""
    resolver.stop()
    process = subprocess.Popen([BINARY, "--check", "--json", token["id"]], env=check.environ, text=True,
                               stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    time.sleep(0.3)         # the first try is over, the last isn't: or none was made yet
    resolver.start()
    output, _ = process.communicate(timeout=HANG)
    assert json.loads(output)["ok"] is True, output


def test_name_of_this_host(check, resolver):
    """A name is told with its address."""
    check("-o", f"endpoint_url=http://localhost:{resolver.port}").ok("lookup", "localhost is 127.0.0.1")


REASONS = {"untrusted": ("issuer", "ca_bundle="), "expired": ("expired", "renewed"), "wrong-host": ("subject name", "endpoint_url=")}


@pytest.mark.core
@pytest.mark.parametrize("kind", REASONS)
def test_certificates(directory, kind):
    """What is wrong with the certificate, whose authority was trusted, and what to do."""
    with Resolver(tls=kind) as service:
        check = Checker(directory, service)
        outcome = check()
        reason, remedy = REASONS[kind]
        assert remedy in outcome.failed("tls", reason, service.ca_file, "AWS_CA_BUNDLE")
        outcome.ok("connection", "127.0.0.1")
        outcome.skipped("clock", "call", "listing")
        assert service.counters()["calls"] == 0


@pytest.mark.parametrize("how", ["ca_bundle=", "AWS_CA_BUNDLE", "ca_bundle of the profile"])
def test_ca_bundle(directory, how):
    """Each way to name the authorities works, and is told."""
    with Resolver(tls="good") as service:
        check = Checker(directory, service)
        words = ["-o", f"ca_bundle={service.ca_file}"] if how == "ca_bundle=" else []
        if how == "ca_bundle of the profile":
            check.write(".aws/config", f"[default]\nca_bundle = {service.ca_file}\n")
        outcome = check(*words, AWS_CA_BUNDLE=service.ca_file if how == "AWS_CA_BUNDLE" else None)
        assert outcome.status == 0, outcome.output
        outcome.ok("tls", service.ca_file, f"({how})")


def test_ca_bundle_is_none(directory):
    """The bundle isn't there, or holds no certificates."""
    with Resolver(tls="good") as service:
        check = Checker(directory, service)
        for path in ("/no/such/bundle.pem", check.write("text", "no certificates\n")):
            assert "PEM" in check(AWS_CA_BUNDLE=path).failed("tls", path)


@pytest.mark.parametrize("offset, words, is_hinted", [
    (1200, ["1200 s behind", "corrected"], True), (-1200, ["s ahead of", "corrected"], True),
    (60, ["s behind", "tolerated"], False), (0, ["as the service's"], False)])
def test_clock(check, resolver, token, offset, words, is_hinted):
    """A clock that is off is reported; the call is corrected for it, with one call more."""
    resolver.clock_offset = offset
    outcome = check(token["id"])
    if abs(offset) == 1200:     # a second may pass in between
        words = [word.replace("1200 s", " s") for word in words]
    remedy = outcome.ok("clock", *words)
    assert (remedy is not None) == is_hinted
    assert outcome.status == 0
    assert resolver.count("GetAccessToken") == (2 if is_hinted else 1)


# --- What the credentials may see

def test_unknown_token(check):
    """No such token: the call was accepted, the token isn't there."""
    outcome = check("at-unknown")
    outcome.ok("call")
    assert "region=" in outcome.failed("token=at-unknown", "at-unknown")


def test_denied_token(check, resolver, token):
    """AccessDenied names the IAM action."""
    resolver.deny(operation="GetAccessToken")
    outcome = check(token["id"])
    outcome.ok("call")
    assert "route53globalresolver:GetAccessToken" in outcome.failed(f"token={token['id']}", "AccessDenied")


def test_denied_listing(check, resolver, token):
    """Without a token nothing tells that anything could be read; with one, it doesn't matter."""
    resolver.deny(operation=["ListGlobalResolvers", "ListDNSViews", "ListAccessTokens"])
    outcome = check()
    remedy = outcome.failed("listing", "AccessDenied")
    assert "route53globalresolver:ListGlobalResolvers" in remedy and "name one" in remedy
    assert check(token["id"]).status == 0


def test_tokens_that_are_over(check, resolver):
    """Expired ones can be read, but it is told."""
    token = resolver.add_token(expires_in=-60)
    outcome = check(token["id"])
    assert "new one" in outcome.ok(f"token={token['id']}", "expired", "ago")
    assert outcome.status == 0


def test_scopes(check, resolver, token):
    """Each is tried with its own call, once."""
    view, owner = token["dnsViewId"], token["globalResolverId"]
    outcome = check("-o", f"token={token['id']},dns_view={view},resolver={owner}")
    assert outcome.status == 0
    outcome.ok(f"token={token['id']}", "OPERATIONAL")
    outcome.ok(f"dns_view={view}", "1 token")
    outcome.ok(f"resolver={owner}", "1 DNS view")
    assert resolver.counters()["operations"] == {"GetAccessToken": 1, "ListAccessTokens": 1, "ListDNSViews": 1, "Unknown": 1}


@pytest.mark.parametrize("scope, operation", [
    ("token", "GetAccessToken"), ("dns_view", "ListAccessTokens"), ("resolver", "ListDNSViews")])
def test_scopes_that_fail(check, resolver, token, scope, operation):
    """Denied, and not there: that step alone fails."""
    ids = {"token": token["id"], "dns_view": token["dnsViewId"], "resolver": token["globalResolverId"]}
    words = ["-o", ",".join(f"{name}={id}" for name, id in ids.items())]
    rule = resolver.deny(operation=operation)
    outcome = check(*words)
    assert f":{operation}" in outcome.failed(f"{scope}={ids[scope]}", "AccessDenied")
    assert outcome.all_failed == [f"{scope}={ids[scope]}"]
    resolver.allow(rule)
    outcome = check(*words, "-o", f"{scope}=unknown-one")
    outcome.failed(f"{scope}=unknown-one")
    assert outcome.all_failed == [f"{scope}=unknown-one"]


def test_token_and_scopes(check, resolver, token):
    """The token named is tried first, and must be in one of the scopes."""
    other = resolver.add_token()
    outcome = check("-o", f"token={token['id']}", token["id"])
    assert outcome.status == 0 and resolver.count("GetAccessToken") == 1
    outcome = check("-o", f"token={token['id']}", other["id"])
    assert outcome.names.index(f"token={other['id']}") < outcome.names.index(f"token={token['id']}")
    assert "token=" in outcome.failed(f"token={other['id']}", "scopes")
    assert check("-o", f"dns_view={other['dnsViewId']}", other["id"]).status == 0


def test_many_scopes(check, resolver):
    """More than can be in flight at once."""
    ids = [token["id"] for token in resolver.add_tokens(50)]
    outcome = check("-o", ",".join(f"token={id}" for id in ids))
    assert outcome.status == 0 and outcome.names[len(STEPS):] == [f"token={id}" for id in ids]
    assert resolver.counters()["max_concurrent"] <= 16


# --- Trouble of the service

def test_a_blip(check, resolver, token):
    """A failure that passes isn't told."""
    resolver.add_fault("status", status=503, count=1)
    outcome = check(token["id"])
    assert outcome.status == 0
    assert outcome.ok(f"token={token['id']}") is None and resolver.count("GetAccessToken") == 2


@pytest.mark.parametrize("effect, parameters, words", [
    ("status", {"status": 500}, ["500"]), ("throttle", {}, ["Throttling"]), ("hang", {}, ["GetAccessToken"]),
    ("body", {"status": 200, "body": "<html>Log in first</html>"}, ["GetAccessToken"]),
    ("redirect", {}, ["302"]), ("reset", {}, ["GetAccessToken"])])
def test_trouble_that_stays(check, resolver, token, effect, parameters, words):
    """It is told after the tries that fit into timeout=; all ends in time."""
    resolver.add_fault(effect, **parameters)
    outcome = check("-o", "timeout=1", token["id"])
    outcome.failed("call", *words)
    outcome.skipped(f"token={token['id']}")


def test_something_else_answers(check, resolver):
    """A web server that isn't the API, without a Date."""
    with aws_fakes.Fakes() as fakes:
        outcome = check("-o", f"endpoint_url={fakes.url},timeout=2")
    outcome.ok("connection")
    assert "endpoint_url=" in outcome.failed("call")


# --- What it says is true

WORLDS = {
    "good": {}, "no keys": NO_KEYS, "wrong secret": {"AWS_SECRET_ACCESS_KEY": "wrong"},
    "missing profile": {"AWS_PROFILE": "nobody"}, "nobody listens": {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": "http://127.0.0.1:1"},
    "no such host": {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": "https://no-such-host.invalid"},
    "no region": {"AWS_REGION": "nonsense!"}, "plain http": {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": "http://192.0.2.1"},
    "fips": {"AWS_USE_FIPS_ENDPOINT": "1"}, "skewed": {}, "denied": {}, "gone": {},
}


@pytest.mark.parametrize("world", WORLDS)
def test_mount_agrees(check, mount, resolver, token, world):
    """Where it says that a mount works, one does, and only there."""
    if world == "skewed":
        resolver.clock_offset = -3600
        token = resolver.add_token()
    elif world == "denied":
        resolver.deny(token=token["id"])
    elif world == "gone":
        resolver.delete_token(token["id"])
    says = check("-o", "timeout=2", token["id"], **WORLDS[world]).status == 0
    try:
        works = mount(environ=WORLDS[world], timeout=2).read_error(token["id"], "value") == "OK"
    except Exception as error:      # pylint: disable=broad-except
        assert "MountFailed" in type(error).__name__
        works = False
    assert says is works is (world in ("good", "no region", "skewed"))


# --- Secrets

def test_no_secret_at_debug(check, resolver, token):
    """With everything logged, over good and bad paths: none of the secrets (Checker.run looks for them)."""
    session = PLANTED + "/session+token=="
    resolver.add_key("ASIASESSION000000001", PLANTED + "/secret", session_token=session)
    environ = {"AWS_ACCESS_KEY_ID": "ASIASESSION000000001", "AWS_SECRET_ACCESS_KEY": PLANTED + "/secret",
               "AWS_SESSION_TOKEN": session}
    words = ["-o", f"log_level=debug,timeout=1,token={token['id']}"]
    outcome = check(*words, **environ)
    assert outcome.status == 0 and "GetAccessToken" in outcome.log
    assert check(*words, **{**environ, "AWS_SECRET_ACCESS_KEY": PLANTED}).status == 1
    assert check(*words, **{**environ, "AWS_SESSION_TOKEN": PLANTED}).status == 1
    assert check(*words, **environ, HTTPS_PROXY=f"http://{PLANTED}:{PLANTED}@127.0.0.1:1",
                 AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER="https://elsewhere.example").status == 1
    assert check(*words, **environ, AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER=f"https://u:{PLANTED}@elsewhere.example").status == 1
    for effect in ("malformed", "wrong_id", "duplicate", "nul", "status"):
        fault = resolver.add_fault(effect, **({"status": 403, "message": token["value"][:0]} if effect == "status" else {}))
        assert check(*words, **environ).status == 1
        resolver.remove_fault(fault)


def test_process_is_hidden(check, resolver, token):
    """Its memory isn't for others of the same user: not dumpable, no core."""
    resolver.add_fault("hang")
    process = subprocess.Popen([BINARY, "--check", token["id"]], env=check.environ, stdout=subprocess.DEVNULL,
                               stdin=subprocess.DEVNULL)
    try:
        resolver.wait_for(1, "GetAccessToken")
        limits = until(lambda: pathlib.Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii"), "limits")
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[-3:-1] == ["0", "0"]
    finally:
        process.kill()
        process.wait(HANG)
