"""The fixture of the tests of credentials; a plugin for those who name it."""

import pytest

from aws_fakes import Fakes
from credential_world import World


@pytest.fixture
def world(directory):
    """A new one."""
    with Fakes() as fakes:
        yield World(directory, fakes)
