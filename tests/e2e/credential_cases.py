"""Cases for the comparison with botocore: the environment, keys in files, programs, roles.

Each sets a world up and has the outcome that we know is right: a provider, "error" or "none".
"""
# pylint: disable=missing-function-docstring

import json
import time

from aws_fakes import stamp
from credential_world import KEYS, PRINTED, ROLE, SSO_LEGACY

CASES = {}


def case(expected):
    """Enters a function into the table."""
    def enter(function):
        assert function.__name__ not in CASES
        CASES[function.__name__] = (function, expected)
        return function
    return enter


@case("none")
def nothing_at_all(_):
    """An empty machine."""


@case("environment")
def environment(world):
    world.keys_in_environment()


@case("environment")
def environment_with_token(world):
    world.keys_in_environment(AWS_SESSION_TOKEN="env-token")


@case("environment")
def environment_with_both_tokens(world):
    world.keys_in_environment(AWS_SESSION_TOKEN="env-token", AWS_SECURITY_TOKEN="older-token")


@case("environment")
def environment_with_empty_token(world):
    world.keys_in_environment(AWS_SESSION_TOKEN="env-token", AWS_SECURITY_TOKEN="")


@case("error")
def environment_half(world):
    world.set(AWS_ACCESS_KEY_ID="AKIDENV")


@case("none")
def environment_other_half(world):
    world.set(AWS_SECRET_ACCESS_KEY="env-secret")


@case("shared credentials file")
def environment_empty(world):
    world.set(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    world.credentials("[default]\n" + KEYS.format(1))


@case("environment")
def environment_that_expires(world):
    world.keys_in_environment(AWS_CREDENTIAL_EXPIRATION=stamp(time.time() + 3600))


@case("environment")
def environment_that_never_expires(world):
    world.keys_in_environment(AWS_CREDENTIAL_EXPIRATION="9999-12-31T23:59:59Z")


@case("error")
def environment_expired(world):
    world.keys_in_environment(AWS_CREDENTIAL_EXPIRATION=stamp(time.time() - 60))


@case("error")
def environment_with_bad_expiration(world):
    world.keys_in_environment(AWS_CREDENTIAL_EXPIRATION="soon")


@case("environment")
def environment_before_files(world):
    world.keys_in_environment()
    world.credentials("[default]\n" + KEYS.format(1))
    world.config("[default]\n" + ROLE.format("r") + "source_profile = default\n")


@case("environment")
def environment_before_profile_in_environment(world):
    world.keys_in_environment(AWS_PROFILE="one")
    world.credentials("[one]\n" + KEYS.format(1))


@case("shared credentials file")
def profile_as_option_before_environment(world):
    world.keys_in_environment()
    world.profile = "one"
    world.credentials("[one]\n" + KEYS.format(1))


@case("none")
def profile_as_option_without_keys(world):
    world.keys_in_environment()
    world.profile = "one"
    world.config("[profile one]\nregion = eu-west-1\n")


@case("error")
def profile_as_option_missing(world):
    world.keys_in_environment()
    world.profile = "one"
    world.credentials("[two]\n" + KEYS.format(1))


@case("shared credentials file")
def profile_in_both_variables(world):
    world.set(AWS_DEFAULT_PROFILE="one", AWS_PROFILE="two")
    world.credentials("[one]\n" + KEYS.format(1) + "[two]\n" + KEYS.format(2))


@case("error")
def profile_in_environment_missing(world):
    world.set(AWS_PROFILE="one")
    world.credentials("[two]\n" + KEYS.format(1))


@case("error")
def profile_in_environment_missing_with_keys(world):
    world.keys_in_environment(AWS_PROFILE="one")


@case("error")
def broken_config_with_environment(world):
    world.keys_in_environment()
    world.config("[default\nregion = eu-west-1\n")


@case("shared credentials file")
def shared_credentials(world):
    world.credentials("[default]\n" + KEYS.format(1) + "aws_session_token = file-token\n")


@case("shared credentials file")
def shared_credentials_with_both_tokens(world):
    world.credentials("[default]\n" + KEYS.format(1) + "aws_session_token = new\naws_security_token = old\n")


@case("error")
def shared_credentials_half(world):
    world.credentials("[default]\naws_access_key_id = AKIDFILE1\n")


@case("error")
def shared_credentials_half_the_rest_in_config(world):
    world.credentials("[default]\naws_access_key_id = AKIDFILE1\n")
    world.config("[default]\naws_secret_access_key = file-secret-1\n")


@case("none")
def shared_credentials_secret_alone(world):
    world.credentials("[default]\naws_secret_access_key = file-secret-1\n")


@case("shared credentials file")
def shared_credentials_before_config(world):
    world.credentials("[default]\n" + KEYS.format(1))
    world.config("[default]\n" + KEYS.format(2))


@case("shared credentials file")
def shared_credentials_before_process(world):
    world.credentials("[default]\n" + KEYS.format(1))
    world.config(f"[default]\ncredential_process = {world.prints()}\n")


@case("shared credentials file")
def shared_credentials_elsewhere(world):
    world.set(AWS_SHARED_CREDENTIALS_FILE=world.write("else where/keys", "[two words]\n" + KEYS.format(1)),
              AWS_PROFILE="two words")


@case("config file")
def config_file(world):
    world.config("[profile one]\n" + KEYS.format(2))
    world.set(AWS_PROFILE="one")


@case("config file")
def config_file_elsewhere(world):
    world.set(AWS_CONFIG_FILE=world.write("else/config", "[default]\n" + KEYS.format(2)))


@case("none")
def config_file_section_without_profile(world):
    world.config("[one]\n" + KEYS.format(2))


@case("error")
def config_file_half(world):
    world.config("[default]\naws_access_key_id = AKIDFILE1\n")


@case("credential_process")
def process(world):
    world.config(f"[default]\ncredential_process = {world.prints()}\n")


@case("credential_process")
def process_in_credentials_file(world):
    world.credentials(f"[default]\ncredential_process = {world.prints(SessionToken='process-token')}\n")


@case("credential_process")
def process_before_config_file(world):
    world.config(f"[default]\ncredential_process = {world.prints()}\n" + KEYS.format(2))


@case("credential_process")
def process_that_expires(world):
    world.config(f"[default]\ncredential_process = {world.prints(Expiration=stamp(time.time() + 3600))}\n")


@case("credential_process")
def process_that_never_expires(world):
    world.config(f"[default]\ncredential_process = {world.prints(Expiration='9999-12-31T23:59:59Z')}\n")


@case("credential_process")
def process_with_nulls(world):
    world.config(f"[default]\ncredential_process = {world.prints(Expiration=None, SessionToken=None)}\n")


@case("error")
def process_expired(world):
    world.config(f"[default]\ncredential_process = {world.prints(Expiration=stamp(time.time() - 3600))}\n")


@case("error")
def process_of_another_version(world):
    world.config(f"[default]\ncredential_process = {world.prints(Version=2)}\n")


@case("error")
def process_with_version_in_quotes(world):
    world.config(f"[default]\ncredential_process = {world.prints(Version='1')}\n")


@case("error")
def process_without_secret(world):
    command = world.program("print('{\"Version\": 1, \"AccessKeyId\": \"x\"}')")
    world.config(f"[default]\ncredential_process = {command}\n")


@case("error")
def process_that_prints_no_json(world):
    world.config("[default]\ncredential_process = echo hello\n")


@case("error")
def process_that_prints_nothing(world):
    world.config("[default]\ncredential_process = true\n")


@case("error")
def process_that_fails(world):
    command = world.program(f"print({json.dumps(json.dumps(PRINTED))}); exit(3)")
    world.config(f"[default]\ncredential_process = {command}\n")


@case("error")
def process_that_dies(world):
    command = world.program("import os; os.kill(os.getpid(), 9)")
    world.config(f"[default]\ncredential_process = {command}\n")


@case("error")
def process_that_is_not_there(world):
    world.config("[default]\ncredential_process = /no/such/program\n")


@case("error")
def process_with_an_open_quote(world):
    world.config("[default]\ncredential_process = echo 'x\n")


@case("credential_process")
def process_with_arguments(world):
    command = world.program("import json, sys\nprint(json.dumps({'Version': 1, 'AccessKeyId': 'AKIDPROCESS', "
                            "'SecretAccessKey': '|'.join(sys.argv[1:])}))")
    world.config(f"[default]\ncredential_process = {command} a 'b c' \"d \\\" \\$x\" e\\ f '' $HOME *  \"it's\"\t; |\n")


@case("assume role")
def role_from_profile(world):
    world.config("[profile target]\n" + ROLE.format("r") + "source_profile = base\n")
    world.credentials("[base]\n" + KEYS.format(1))
    world.set(AWS_PROFILE="target")


@case("assume role")
def role_with_everything(world):
    world.config("[default]\n" + ROLE.format("r") + "source_profile = base\nexternal_id = a+b/c d&e=ü\n"
                 "role_session_name = me@here\nduration_seconds = 1800\n[profile base]\n" + KEYS.format(1))


@case("assume role")
def role_with_bad_duration(world):
    world.config("[default]\n" + ROLE.format("r") + "source_profile = base\nduration_seconds = long\n"
                 "[profile base]\n" + KEYS.format(1))


@case("assume role")
def role_before_keys_of_the_same_profile(world):
    world.credentials("[default]\n" + KEYS.format(1) + ROLE.format("r") + "source_profile = default\n")


@case("assume role")
def role_of_a_role_of_a_role(world):
    chain = "".join(f"[profile p{n}]\n" + ROLE.format(f"r{n}") + f"source_profile = p{n + 1}\n" for n in range(3))
    world.config(chain + "[profile p3]\n" + KEYS.format(3))
    world.set(AWS_PROFILE="p0")


@case("assume role")
def role_whose_source_has_keys_and_a_role(world):
    world.config("[default]\n" + ROLE.format("r") + "source_profile = base\n"
                 "[profile base]\n" + ROLE.format("s") + "source_profile = base\n" + KEYS.format(1))


@case("assume role")
def role_from_process(world):
    world.config("[default]\n" + ROLE.format("r") + "source_profile = base\n"
                 f"[profile base]\ncredential_process = {world.prints()}\n")


@case("assume role")
def role_from_environment(world):
    world.keys_in_environment(AWS_PROFILE="x")
    world.profile = "one"
    world.config("[profile one]\n" + ROLE.format("r") + "credential_source = Environment\n")


@case("assume role")
def role_from_container(world):
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys")
    world.config("[default]\n" + ROLE.format("r") + "credential_source = EcsContainer\n")


@case("assume role")
def role_from_instance(world):
    world.set(AWS_EC2_METADATA_DISABLED=None)
    world.config("[default]\n" + ROLE.format("r") + "credential_source = Ec2InstanceMetadata\n")


@case("assume role")
def role_from_web_identity(world):
    world.fakes.identity_tokens["the-token"] = "subject"
    path = world.write("token", "the-token")
    world.config("[default]\n" + ROLE.format("r") + "source_profile = web\n"
                 "[profile web]\n" + ROLE.format("w") + f"web_identity_token_file = {path}\n")


@case("assume role")
def role_from_sso(world):
    world.sign_in("https://example.awsapps.com/start")
    world.config("[default]\n" + ROLE.format("r") + "source_profile = sso\n[profile sso]\n" + SSO_LEGACY)


@case("error")
def role_from_environment_without(world):
    world.config("[default]\n" + ROLE.format("r") + "credential_source = Environment\n")


@case("error")
def role_from_instance_that_is_none(world):
    world.config("[default]\n" + ROLE.format("r") + "credential_source = Ec2InstanceMetadata\n" + KEYS.format(1))


@case("error")
def role_from_unknown_source(world):
    world.config("[default]\n" + ROLE.format("r") + "credential_source = environment\n")


@case("error")
def role_with_two_sources(world):
    world.config("[default]\n" + ROLE.format("r") + "credential_source = Environment\nsource_profile = default\n" +
                 KEYS.format(1))
    world.credentials("[default]\n" + KEYS.format(1))


@case("error")
def role_without_source(world):
    world.config("[default]\n" + ROLE.format("r") + KEYS.format(1))


@case("error")
def role_with_missing_source(world):
    world.config("[default]\n" + ROLE.format("r") + "source_profile = nobody\n" + KEYS.format(1))


@case("error")
def role_with_empty_source(world):
    world.config("[default]\n" + ROLE.format("r") + "source_profile = base\n[profile base]\nregion = eu-west-1\n")


@case("error")
def role_from_itself_without_keys(world):
    world.config("[default]\n" + ROLE.format("r") + "source_profile = default\n")


@case("error")
def role_in_a_loop(world):
    world.config("[default]\n" + ROLE.format("r") + "source_profile = b\n"
                 "[profile b]\n" + ROLE.format("s") + "source_profile = c\n"
                 "[profile c]\n" + ROLE.format("t") + "source_profile = b\n")


@case("error")
def role_in_a_loop_to_the_first(world):
    world.config("[default]\n" + ROLE.format("r") + "source_profile = b\n"
                 "[profile b]\n" + ROLE.format("s") + "source_profile = default\n" + "")


@case("error")
def role_refused(world):
    world.fakes.faults["sts"] = [world.fakes._sts_error(403, "AccessDenied")] * 2   # pylint: disable=protected-access
    role_from_profile(world)


@case("error")
def role_with_unknown_keys(world):
    role_from_profile(world)
    world.credentials("[base]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = other-secret\n")


@case("error")
def role_with_wrong_secret(world):
    role_from_profile(world)
    world.credentials("[base]\naws_access_key_id = AKIDFILE1\naws_secret_access_key = wrong\n")
