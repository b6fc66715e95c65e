"""Monitoring as it is set up at a user's: promtool, a real node_exporter, a real Prometheus with the rules, the dashboard."""

import json
import pathlib
import socket
import subprocess
import urllib.parse
import urllib.request

from mounting import HANG, TREE, until
from tools import need

EXAMPLES = TREE / "src/dist/examples"
RULES = EXAMPLES / "tokenfs.rules.yml"
HERE = pathlib.Path(__file__).resolve().parent


def promtool(*arguments, text=None):
    """Runs promtool; gives all it says."""
    done = subprocess.run(["promtool", *map(str, arguments)], input=text, capture_output=True, text=True, check=False,
                          timeout=HANG)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def token_ok(fs, id):
    """(value, error) of a token's series; None if there is none."""
    found = [(value, labels["error"]) for labels, value in fs.metrics().get("tokenfs_token_ok", []) if labels["id"] == id]
    assert len(found) < 2
    return found[0] if found else None


def test_rules():
    """Each alert fires when it should, and not when it shouldn't."""
    need("promtool")
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", HERE / "rules_test.yml")


def test_rules_are_all_tested():
    """An alert that nobody ever saw firing isn't one."""
    need("promtool")
    names = [line.split()[-1] for line in RULES.read_text().splitlines() if "- alert:" in line]
    tested = (HERE / "rules_test.yml").read_text()
    assert len(names) == len(set(names)) > 5
    for name in names:
        part = tested.split(f"alertname: {name}\n")[1:]
        assert any("exp_labels" in text.split("alertname:")[0] for text in part), name


def test_conventions(mount, resolver, token):
    """`promtool check metrics` has nothing to say, whatever has happened."""
    need("promtool")
    resolver.add_token(name="it's/a name")
    fs = mount()
    fs.ls(".by_name")
    for name in fs.ls(".by_name"):
        fs.read(".by_name", name, "value")
    resolver.deny(token=token["id"])
    fs.forget()
    assert fs.read_error(token["id"], "value") == "EACCES"
    assert promtool("check", "metrics", text=fs.text(".service_metrics")) == ""


def test_denied_and_gone(mount, resolver, token):
    """A token that can't be read any more shows, with the reason; a mistyped id has no series."""
    other = resolver.add_token(name="other")
    fs = mount(ttl=0.1, negative_ttl=0.1)
    fs.read(token["id"], "value")
    fs.read(other["id"], "value")
    assert fs.read_error("at-typo", "value") == "ENOENT"
    assert token_ok(fs, token["id"]) == (1, "")
    assert token_ok(fs, "at-typo") is None
    rule = resolver.deny(token=token["id"], operation="GetAccessToken")
    until(lambda: fs.read_error(token["id"], "value") == "EACCES", "the denial")
    assert token_ok(fs, token["id"]) == (0, "access_denied")
    assert fs.metric("tokenfs_reads_total", result="access_denied") >= 1
    assert fs.metric("tokenfs_reads_total", result="not_found") >= 1
    assert fs.metric("tokenfs_credentials_ok") == 1
    status = fs.status()
    assert status["cache"]["failing"] == {"access_denied": 1, "not_found": 1}
    assert status["tokens"][0]["id"] == token["id"] and status["tokens"][0]["state"] == "failing"
    resolver.allow(rule)
    until(lambda: fs.read_error(token["id"], "value") == "OK", "the access")
    assert token_ok(fs, token["id"]) == (1, "")
    expiry = [value for labels, value in fs.metrics()["tokenfs_token_expiry_timestamp_seconds"] if labels["id"] == token["id"]]
    assert len(expiry) == 1 and expiry[0] > 1e9


def test_refused_keys(mount, resolver, token):
    """Credentials that the API refuses aren't ok, though they were found and the endpoint answers."""
    fs = mount(ttl=0.1)
    fs.read(token["id"], "value")
    assert fs.metric("tokenfs_credentials_ok") == 1 and fs.status()["credentials"]["error"] is None
    for key in list(resolver.verifier.keys):
        resolver.remove_key(key)
    until(lambda: fs.read_error(token["id"], "value") == "EKEYREJECTED", "the refusal")
    assert fs.metric("tokenfs_credentials_ok") == 0
    assert fs.metric("tokenfs_api_up") == 1
    assert fs.status()["credentials"]["error"] == "the API refuses them"
    assert token_ok(fs, token["id"]) == (0, "credentials_rejected")


def test_mountpoint_is_absolute(mount, directory):
    """The label says which mount it is, however that was named."""
    fs = mount(start=False)
    fs.run(fs.command({})[0], "-o", "ttl=30", "m0/mnt", env=fs.environ, cwd=directory)
    try:
        assert fs.metrics()["tokenfs_start_time_seconds"][0][0] == {"mountpoint": fs.path}
    finally:
        fs.run("umount", fs.path)
        fs.ended = True


def test_stale(mount, resolver, token):
    """A token that is served from an old copy is readable, and shows the reason."""
    fs = mount(ttl=0.1)
    fs.read(token["id"], "value")
    resolver.add_fault("status", status=500)
    until(lambda: fs.read(token["id"], "value") and token_ok(fs, token["id"]) == (1, "server"), "the outage")


def test_bounded(mount, resolver):
    """1,000 of many tokens, the failing one first, and the counts of all."""
    tokens = resolver.add_tokens(1100)
    fs = mount(ttl=600)
    for one in tokens:
        fs.read(one["id"], "id")
    resolver.deny(token=tokens[0]["id"])
    fs.metrics()
    status = fs.status()
    assert status["cache"]["tokens"] == 1100 and len(status["tokens"]) == 1000
    assert status["tokens"][0]["id"] == tokens[-1]["id"]
    for name in ("tokenfs_token_ok", "tokenfs_token_expiry_timestamp_seconds", "tokenfs_token_last_success_timestamp_seconds"):
        assert len(fs.metrics()[name]) == 1000, name


# Prometheus and node_exporter, for real.

def free_port():
    """A port of 127.0.0.1 that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Prometheus:
    """A Prometheus with the rules, and a node_exporter that it scrapes each second."""

    def __init__(self, directory, textfiles, scrapes=()):
        self.directory = directory
        self.textfiles = textfiles
        self.url = f"http://127.0.0.1:{free_port()}"
        self.exporter = f"127.0.0.1:{free_port()}"
        self.scrapes = list(scrapes)
        self.processes = []

    def __enter__(self):
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(RULES)],
                  "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": [self.exporter]}]}, *self.scrapes]}
        (self.directory / "prometheus.yml").write_text(json.dumps(config))
        self.start("prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
                   f"--collector.textfile.directory={self.textfiles}", f"--web.listen-address={self.exporter}")
        self.start("prometheus", f"--config.file={self.directory}/prometheus.yml", f"--storage.tsdb.path={self.directory}/data",
                   f"--web.listen-address={self.url.removeprefix('http://')}")
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait(HANG)

    def start(self, *command):
        """Starts a program that logs into the directory."""
        with open(self.directory / f"{command[0]}.log", "ab") as log:
            self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def get(self, path, **arguments):
        """An answer of Prometheus' API; None while it can't answer."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return None
            raise AssertionError(f"{arguments}: {error.read().decode()}") from None
        except OSError:
            return None

    def query(self, expression):
        """The samples of an instant query: [(labels, value)]."""
        data = self.get("query", query=expression)
        return [(one["metric"], float(one["value"][1])) for one in data["result"]] if data else []


def queries():
    """(panel, query) of the dashboard, with the variables as Grafana would fill them in."""
    dashboard = json.loads((EXAMPLES / "tokenfs-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$instance", ".*").replace("$mountpoint", ".*").replace("$__rate_interval", "1m")
            assert "$" not in text
            yield panel["title"], text


def test_dashboard_and_rules_on_the_real_thing(mount, resolver, token, directory):
    """Two mounts in one textfile directory, by links; every query of the dashboard gives something; an alert is pending."""
    need("prometheus", "prometheus-node-exporter")
    mounts = [mount(ttl=0.5), mount(ttl=0.5)]
    textfiles = directory / "textfiles"
    textfiles.mkdir()
    for number, fs in enumerate(mounts):
        (textfiles / f"tokenfs-{number}.prom").symlink_to(fs.at(".service_metrics"))
        fs.read(".by_name", "web", "value")
    denied = resolver.add_token(name="denied")
    resolver.deny(token=denied["id"], operation="GetAccessToken")
    assert mounts[0].read_error(denied["id"], "value") == "EACCES"
    with Prometheus(directory, textfiles) as prometheus:
        until(lambda: len(prometheus.query("tokenfs_build_info")) == 2, "both mounts")
        assert {labels["mountpoint"] for labels, _ in prometheus.query("tokenfs_build_info")} == {fs.path for fs in mounts}
        assert [value for _, value in prometheus.query("node_textfile_scrape_error")] == [0]
        for panel, text in queries():
            until(lambda text=text: prometheus.query(text), f"{panel}: {text}")
        labels = until(lambda: prometheus.query('ALERTS{alertname="TokenfsTokenUnreadable"}'), "the alert")[0][0]
        assert labels["id"] == denied["id"] and labels["alertstate"] == "pending"
        assert not prometheus.query('ALERTS{alertname!~"TokenfsTokenUnreadable|TokenfsReadsFail"}')
