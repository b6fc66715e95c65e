"""The manifests of src/dist/examples: Kubernetes' schema takes them, and their commands do what they say, as they stand, in
containers with the mounts that they describe."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest
from mounting import TREE, error_of, read_file, until
from pod import READ, SHARED, WRITE
from tools import need, run

yaml = pytest.importorskip("yaml", reason="NOT INSTALLED: apt-get install python3-yaml")
EXAMPLES = TREE / "src/dist/examples"
MANIFESTS = [EXAMPLES / name for name in ("kubernetes.yaml", "kubernetes-sidecar.yaml")]
MODELS = ("kubernetes-models@4.5", "@kubernetes/client-node@2", "js-yaml@4")


def documents(name):
    """{kind: document} of a file."""
    return {one["kind"]: one for one in yaml.safe_load_all((EXAMPLES / name).read_text())}


def test_schema():
    """Every field is one of the API's, and has its type. A wrong field, a wrong type and a lacking field are found."""
    need("node", "npm")
    place = pathlib.Path(tempfile.mkdtemp(prefix="tokenfs-schema-", dir="/tmp"))
    try:
        got = subprocess.run(["npm", "install", "--prefix", place, "--no-audit", "--no-fund", "--ignore-scripts", "--silent",
                              *MODELS], capture_output=True, text=True, check=False, timeout=120, cwd=place)
        if got.returncode != 0:
            pytest.skip(f"npm CAN'T BE ASKED FOR KUBERNETES' SCHEMA HERE: {got.stderr[-300:]}")

        def faults(*files):
            return run("node", TREE / "tests/containers/manifests.mjs", *files, check=False, cwd=place)

        assert faults(*MANIFESTS).returncode == 0, faults(*MANIFESTS).stdout
        text = MANIFESTS[0].read_text()
        for old, new, word in (("periodSeconds: 2\n", "periodSecond: 2\n", "no such field"),
                               ("privileged: true ", 'privileged: "yes" ', "must be boolean"),
                               ("  selector:\n    matchLabels:\n      app.kubernetes.io/name: tokenfs\n", "", "selector")):
            assert old in text
            (place / "broken.yaml").write_text(text.replace(old, new))
            found = faults("broken.yaml")
            assert found.returncode == 1 and word in found.stdout, (old, found.stdout, found.stderr)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def token(resolver):
    """The token that the pods read, of the view that the manifest names."""
    resolver.load([{"id": "at-1a2b3c4d", "name": "web", "dnsViewId": "dnsv-1a2b3c4d", "value": "the-first-value",
                    "createdAt": time.time() - 3600}])
    return {"id": "at-1a2b3c4d", "value": "the-first-value"}


def environ_of(resolver):
    """In place of what the cluster injects."""
    return {"PATH": "/usr/sbin:/usr/bin", "HOME": "/", "AWS_EC2_METADATA_DISABLED": "true", **resolver.environ()}


def hardened(container):
    """True for what the level "restricted" of Pod Security asks of a container."""
    context = container["securityContext"]
    return context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]} and \
        context["readOnlyRootFilesystem"] is True


def binds_of(container, places):
    """A container's volumeMounts as binds: {place: (path, options)}. `places` has the volumes' paths here."""
    return {mount["mountPath"]: (places[mount["name"]],
                                 READ if mount.get("readOnly") else
                                 SHARED if mount.get("mountPropagation") == "Bidirectional" else WRITE)
            for mount in container.get("volumeMounts", [])}


def command_of(container):
    """Its words, by path: no image's PATH is asked."""
    words = container["command"]
    return ["/usr/sbin/tokenfs", *words[1:]] if words[0] == "tokenfs" else [shutil.which(words[0]), *words[1:]]


def test_daemonset(pod, resolver, token, rootfs):
    """Init containers, daemon, probes, metrics, a pod that reads, and the end of it all."""
    kinds = documents("kubernetes.yaml")
    daemonset, reader = kinds["DaemonSet"]["spec"], kinds["Pod"]["spec"]
    assert daemonset["selector"]["matchLabels"].items() <= daemonset["template"]["metadata"]["labels"].items()
    spec = daemonset["template"]["spec"]
    assert spec["serviceAccountName"] == kinds["ServiceAccount"]["metadata"]["name"]
    assert hardened(spec["containers"][1]) and hardened(reader["containers"][0])
    node = pod.directory / "pod/node"
    paths = {"tokens": node / "run/tokens", "metrics": node / "metrics"}
    for path in paths.values():
        path.mkdir(parents=True)
    for container in spec["initContainers"]:
        process, _ = pod.start(command_of(container), {}, binds_of(container, paths),
                               uid=container["securityContext"]["runAsUser"], privileged=True)
        assert process.wait(60) == 0, pod.log()

    daemon = spec["containers"][0]
    assert daemon["securityContext"]["privileged"] is True
    server, label = pod.start(command_of(daemon), environ_of(resolver), binds_of(daemon, paths), uid=0, privileged=True)

    def probe(kind):
        words = daemon[kind]["exec"]["command"]
        return pod.runc("exec", label, shutil.which(words[0]), *words[1:], check=False).returncode

    until(lambda: server.poll() is not None or probe("startupProbe") == 0, "the daemon", pause=0.2)
    assert probe("readinessProbe") == probe("livenessProbe") == 0, pod.log()

    # The metrics container's view: a link of its directory that leads to the mount's file.
    binds = {place: (path, options) for place, (path, options) in binds_of(spec["containers"][1], paths).items()}
    with pod.shell(rootfs_with(rootfs, pod, binds), binds, 65534) as box:
        assert "tokenfs_api_up" in box.ask("cat /metrics/tokenfs.prom")

    # The pod that reads: its volume is a directory of the node that must be there.
    volume, = (one["hostPath"] for one in reader["volumes"])
    assert volume["type"] == "Directory"
    source = paths["tokens"] / pathlib.Path(volume["path"]).relative_to("/run/tokens")
    assert error_of(os.stat, source) == "OK"
    binds = binds_of(reader["containers"][0], {"token": source})
    file = reader["containers"][0]["env"][0]["value"]
    with pod.shell(rootfs_with(rootfs, pod, binds), binds, reader["securityContext"]["runAsUser"]) as box:
        assert box.ask(f"cat {file}") == token["value"]
        assert "only" in box.run(f"touch {file}")[1]
    assert error_of(read_file, source / "value") == "OK", "root of the node reads"

    # The end, as the kubelet does it: first the hook, then SIGTERM.
    words = daemon["lifecycle"]["preStop"]["exec"]["command"]
    pod.runc("exec", label, shutil.which(words[0]), *words[1:])
    pod.runc("kill", label, "15", check=False)
    assert server.wait(60) == 0, pod.log()
    assert os.listdir(paths["tokens"] / "dns") == []


def rootfs_with(rootfs, pod, binds):
    """A copy of the small root directory with places to bind to."""
    root = pod.directory / f"rootfs-{len(list(pod.directory.glob('rootfs-*')))}"
    shutil.copytree(rootfs, root, symlinks=True)
    for place in binds:
        (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return root


def test_sidecar(pod, resolver, token, rootfs):
    """The sidecar's command line as it stands; the application reads, and ends before it."""
    kinds = documents("kubernetes-sidecar.yaml")
    spec = kinds["Pod"]["spec"]
    sidecar, application = spec["initContainers"][0], spec["containers"][0]
    assert sidecar["restartPolicy"] == "Always" and hardened(sidecar) and hardened(application)
    assert spec["serviceAccountName"] == kinds["ServiceAccount"]["metadata"]["name"]
    volumes = {one["name"]: one for one in spec["volumes"]}
    attributes = volumes["tokens"]["csi"]["volumeAttributes"]
    assert attributes["fdPassingEmptyDirName"] == "sockets"
    pod.publish(attributes["fdPassingSocketName"])
    paths = {"sockets": pod.sockets, "tokens": pod.volume}
    server = pod.serve_by(["/usr/sbin/starter", *sidecar["args"]], environ_of(resolver), binds_of(sidecar, paths),
                          uid=sidecar["securityContext"]["runAsUser"])
    words = sidecar["startupProbe"]["exec"]["command"]
    until(lambda: server.poll() is not None or
          pod.runc("exec", pod.label, shutil.which(words[0]), *words[1:], check=False).returncode == 0, "the probe", pause=0.2)
    binds = binds_of(application, paths)
    file = application["env"][0]["value"]
    with pod.shell(rootfs_with(rootfs, pod, binds), binds, application["securityContext"]["runAsUser"]) as box:
        assert box.ask(f"cat {file}") == token["value"]
        assert box.run(" ".join(application["livenessProbe"]["exec"]["command"]))[0] == 0
    pod.signal()
    assert server.wait(60) == 0
