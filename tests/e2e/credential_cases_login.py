"""Cases for the comparison with botocore: `aws login`. Releases before 1.41 don't know it."""
# pylint: disable=missing-function-docstring


import shutil

import login_fake
from credential_cases import case
from credential_cases_services import CASES
from credential_world import KEYS, LOGIN, ROLE

_BEFORE = set(CASES)


@case("login")
def login(world):
    world.log_in()
    world.config("[default]\n" + LOGIN)


@case("login")
def login_of_a_named_profile(world):
    world.log_in()
    world.config("[profile me]\n" + LOGIN)
    world.set(AWS_PROFILE="me")


@case("login")
def login_with_sec1_key(world):
    world.log_in(form="sec1")
    world.config("[default]\n" + LOGIN)


@case("login")
def login_that_ends_soon_is_renewed(world):
    world.log_in(240)
    world.config("[default]\n" + LOGIN)


@case("login")
def login_that_has_ended_is_renewed(world):
    world.log_in(-3600, form="sec1")
    world.config("[default]\n" + LOGIN)


@case("login")
def login_in_another_directory(world):
    world.log_in()
    world.config("[default]\n" + LOGIN)
    shutil.rmtree(world.home / "logins", ignore_errors=True)
    (world.home / ".aws/login/cache").rename(world.home / "logins")
    world.set(AWS_LOGIN_CACHE_DIRECTORY="~/$WHERE", WHERE="logins")


@case("login")
def login_before_process(world):
    world.log_in()
    world.config("[default]\n" + LOGIN + f"credential_process = {world.prints()}\n" + KEYS.format(1))


@case("shared credentials file")
def login_after_shared_credentials(world):
    world.log_in()
    world.config("[default]\n" + LOGIN)
    world.credentials("[default]\n" + KEYS.format(1))


@case("assume role")
def role_from_login(world):
    world.log_in()
    world.config("[default]\n" + ROLE.format("r") + "source_profile = me\n[profile me]\n" + LOGIN)


@case("error")
def login_without_file(world):
    world.config("[default]\n" + LOGIN)
    world.set(AWS_EC2_METADATA_DISABLED=None)       # where there is a role of the machine's


@case("error")
def login_of_another_session(world):
    world.log_in(session="arn:other")
    world.config("[default]\n" + LOGIN)


def _lacks(member):
    def set_up(world):
        world.log_in(-10, **{member: None})
        world.config("[default]\n" + LOGIN)
    set_up.__name__ = f"login_without_{member}"
    case("error")(set_up)


for _member in ("accessToken", "refreshToken", "clientId", "dpopKey"):
    _lacks(_member)


@case("error")
def login_with_a_key_that_is_none(world):
    world.log_in(-10, dpopKey="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    world.config("[default]\n" + LOGIN)


@case("error")
def login_with_another_key(world):
    world.log_in(-10)
    world.fakes.logins["refresh-1"] = (login_fake.make_key()[1], "refresh-2")
    world.config("[default]\n" + LOGIN)


@case("error")
def login_that_is_over(world):
    world.log_in(-10)
    world.fakes.logins.clear()
    world.config("[default]\n" + LOGIN)


@case("error")
def login_whose_password_has_changed(world):
    world.log_in(-10)
    world.fakes.faults["signin"] = [world.fakes.signin_error(403, "USER_CREDENTIALS_CHANGED")] * 2
    world.config("[default]\n" + LOGIN)


@case("error")
def login_without_permission(world):
    world.log_in(-10)
    world.fakes.faults["signin"] = [world.fakes.signin_error(403, "INSUFFICIENT_PERMISSIONS")] * 2
    world.config("[default]\n" + LOGIN)


LOGINS = set(CASES) - _BEFORE
