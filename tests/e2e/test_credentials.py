"""Which credentials are found: by botocore and by us, in the same environment, with the same files and services.

The table of cases is run through both, and the outcome must be the same: which provider, which keys, or that there is
an error, or nothing, and the same calls. Where the AWS tools have moved on since botocore 1.29, or we differ with
reason, the cases stand on their own. No instance's or container's real address is ever called: endpoints are given.
"""

import pytest

from credential_cases_services import CASES
from credential_world import ask_botocore, essence

pytest_plugins = ["credential_fixture"]


@pytest.mark.core
@pytest.mark.parametrize("name", CASES)
def test_same_as_botocore(world, name):
    """The table."""
    set_up, expected = CASES[name]
    set_up(world)
    calls = {kind: list(faults) for kind, faults in world.fakes.faults.items()}
    theirs = ask_botocore(world)
    asked = [(call.kind, call.method) for call in world.fakes.calls]
    world.fakes.forget()
    world.fakes.faults = calls
    ours = world.ask_us()
    assert essence(ours)[0] == expected or essence(ours) == expected, ours
    assert essence(ours) == essence(theirs), (ours, theirs)
    if expected not in ("error", "none"):
        assert [(call.kind, call.method) for call in world.fakes.calls] == asked
