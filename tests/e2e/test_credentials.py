"""Which credentials are found: by botocore and by us, in the same environment, with the same files and services.

The table of cases is run through both, and the outcome must be the same: which provider, which keys, or that there is
an error, or nothing, and the same calls. botocore is the newest release on this machine. Where releases differ, or we
differ with reason, the cases stand on their own. No instance's or container's real address is ever called: endpoints are given.
"""

import os
import pathlib
import subprocess

import pytest

import credential_world
from credential_cases_login import CASES, LOGINS
from credential_world import KEYS, essence, oracle

pytest_plugins = ["credential_fixture"]


@pytest.mark.core
@pytest.mark.parametrize("name", CASES)
def test_same_as_botocore(world, name):
    """The table."""
    set_up, expected = CASES[name]
    if name in LOGINS and not oracle().has_login:
        pytest.skip(f"botocore {oracle().release} KNOWS NO `aws login` (or lacks cryptography): not compared")
    set_up(world)
    calls = {kind: list(faults) for kind, faults in world.fakes.faults.items()}
    theirs = oracle().ask(world)
    asked = [(call.kind, call.method) for call in world.fakes.calls]
    world.fakes.forget()
    if name in LOGINS:
        set_up(world)       # a renewal has changed the file
    world.fakes.faults = calls
    ours = world.ask_us()
    assert essence(ours)[0] == expected or essence(ours) == expected, ours
    assert essence(ours) == essence(theirs), (ours, theirs)
    if expected not in ("error", "none"):
        assert [(call.kind, call.method) for call in world.fakes.calls] == asked


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing was tested of files that may not be read")
def test_profile_as_option_in_a_file_that_may_not_be_read(world, monkeypatch):
    """With profile= the environment's keys don't count, then either: they may be somebody else's."""
    path = world.write("keys/credentials", "[one]\n" + KEYS.format(1), 0)
    for parent in (world.home, pathlib.Path(path).parent):
        parent.chmod(0o755)
    world.keys_in_environment(AWS_SHARED_CREDENTIALS_FILE=path)
    popen = subprocess.Popen
    monkeypatch.setattr(credential_world.subprocess, "Popen", lambda words, **named: popen(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words], **named))
    assert world.ask_us().get("provider") == "environment"
    world.profile = "one"
    outcome = world.ask_us()
    assert outcome.get("error") == "invalid" and path in outcome["detail"], outcome
