"""Cases for the comparison with botocore: web identity, Identity Center, containers, instances."""
# pylint: disable=missing-function-docstring

import json
import time

from aws_fakes import stamp
from credential_cases import CASES as OTHERS
from credential_cases import case
from credential_world import KEYS, ROLE, SSO_LEGACY, SSO_ROLE, SSO_SESSION

CASES = OTHERS     # all, with those that follow


@case("web identity")
def web_identity_from_environment(world):
    world.fakes.identity_tokens["the-token"] = "subject"
    world.set(AWS_WEB_IDENTITY_TOKEN_FILE=world.write("token", "the-token"),
              AWS_ROLE_ARN="arn:aws:iam::123456789012:role/web", AWS_ROLE_SESSION_NAME="pod-7")


@case("web identity")
def web_identity_from_profile(world):
    world.fakes.identity_tokens["the-token"] = "subject"
    path = world.write("token", "the-token")
    world.profile = "web"
    world.config("[profile web]\n" + ROLE.format("w") + f"web_identity_token_file = {path}\n")


@case("web identity")
def web_identity_mixed(world):
    world.fakes.identity_tokens["the-token"] = "subject"
    world.set(AWS_ROLE_ARN="arn:aws:iam::123456789012:role/of-the-environment")
    path = world.write("token", "the-token")
    world.config("[default]\n" + ROLE.format("w") + f"web_identity_token_file = {path}\n")


@case("shared credentials file")
def web_identity_in_environment_skipped_for_option(world):
    web_identity_from_environment(world)
    world.profile = "one"
    world.credentials("[one]\n" + KEYS.format(1))


@case("web identity")
def web_identity_before_shared_credentials(world):
    web_identity_from_environment(world)
    world.credentials("[default]\n" + KEYS.format(1))


@case("error")
def web_identity_without_role(world):
    world.set(AWS_WEB_IDENTITY_TOKEN_FILE=world.write("token", "the-token"))


@case("error")
def web_identity_without_file(world):
    world.set(AWS_WEB_IDENTITY_TOKEN_FILE="/no/such/file", AWS_ROLE_ARN="arn:aws:iam::123456789012:role/web")


@case("error")
def web_identity_refused(world):
    world.set(AWS_WEB_IDENTITY_TOKEN_FILE=world.write("token", "another"),
              AWS_ROLE_ARN="arn:aws:iam::123456789012:role/web")


@case("IAM Identity Center")
def sso_legacy(world):
    world.sign_in("https://example.awsapps.com/start")
    world.config("[default]\n" + SSO_LEGACY)


@case("IAM Identity Center")
def sso_legacy_with_old_time_format(world):
    world.sign_in("https://example.awsapps.com/start",
                  expiresAt=stamp(time.time() + 7200).replace("Z", "UTC"))
    world.config("[default]\n" + SSO_LEGACY)


@case("IAM Identity Center")
def sso_session(world):
    world.sign_in("corp")
    world.config(SSO_SESSION)


@case("IAM Identity Center")
def sso_before_shared_credentials(world):
    sso_session(world)
    world.credentials("[default]\n" + KEYS.format(1))


@case("IAM Identity Center")
def sso_session_repeated_in_profile(world):
    world.sign_in("corp")
    world.config(SSO_SESSION + "sso_region = eu-north-1\n")


@case("error")
def sso_session_contradicted(world):
    world.sign_in("corp")
    world.config(SSO_SESSION + "sso_region = eu-south-1\n")


@case("error")
def sso_session_missing(world):
    world.sign_in("corp")
    world.config("[default]\nsso_session = corp\n" + SSO_ROLE)


@case("error")
def sso_without_account(world):
    world.sign_in("corp")
    world.config(SSO_SESSION.replace("sso_account_id = 000012345678\n", ""))


@case("error")
def sso_without_region(world):
    world.sign_in("https://example.awsapps.com/start")
    world.config("[default]\n" + SSO_LEGACY.replace("sso_region = eu-north-1\n", ""))


@case("none")
def sso_without_role_and_account(world):
    world.config("[default]\nsso_start_url = https://example.awsapps.com/start\nsso_region = eu-north-1\n")


@case("error")
def sso_nobody_signed_in(world):
    world.config(SSO_SESSION)


@case("error")
def sso_malformed_sign_in(world):
    world.sign_in("corp")
    world.sso_cache("corp").write_text("{}")
    world.config(SSO_SESSION)


@case("error")
def sso_not_accepted(world):
    world.sign_in("corp")
    world.fakes.sso_tokens.clear()
    world.config(SSO_SESSION)


@case("error")
def sso_expired(world):
    world.sign_in("corp", seconds=-60)
    world.config(SSO_SESSION)


@case("error")
def sso_expired_with_registration_expired(world):
    world.sign_in("corp", seconds=-60, refresh="refresh-1", registrationExpiresAt=stamp(time.time() - 60))
    world.config(SSO_SESSION)


@case("error")
def sso_expired_with_refresh_refused(world):
    world.sign_in("corp", seconds=-60, refresh="refresh-1")
    world.config(SSO_SESSION)


@case("IAM Identity Center")
def sso_ending_with_refresh_refused(world):
    world.sign_in("corp", seconds=300, refresh="refresh-1")
    world.config(SSO_SESSION)


@case("container")
def container(world):
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/role/x?id=1")


@case("container")
def container_on_localhost(world):
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url.replace("127.0.0.1", "localhost") + "/role")


@case("container")
def container_with_token(world):
    world.fakes.container_token = "Bearer container-token"
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys",
              AWS_CONTAINER_AUTHORIZATION_TOKEN="Bearer container-token")


@case("error")
def container_without_its_token(world):
    world.fakes.container_token = "Bearer container-token"
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys")


@case("error")
def container_of_another_host(world):
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://192.0.2.1/keys")


@case("error")
def container_that_looks_like_localhost(world):
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1.example.invalid/keys")


@case("error")
def container_with_user_like_localhost(world):
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://localhost@192.0.2.1/keys")


@case("container")
def container_that_is_not_ready(world):
    """In a pod's first second."""
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys")
    world.fakes.faults["container"] = [(404, "", "text/plain"), (200, "", "text/plain")]


@case("error")
def container_that_answers_nonsense(world):
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys")
    world.fakes.faults["container"] = [(200, "<html>", "text/html")] * 4


@case("error")
def container_before_instance(world):
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys", AWS_EC2_METADATA_DISABLED=None)
    world.fakes.container_token = "unknown"


@case("shared credentials file")
def container_after_files(world):
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys")
    world.credentials("[default]\n" + KEYS.format(1))


@case("instance metadata")
def instance(world):
    world.set(AWS_EC2_METADATA_DISABLED=None)


@case("instance metadata")
def instance_enabled_in_words(world):
    world.set(AWS_EC2_METADATA_DISABLED="no")


@case("none")
def instance_disabled(world):
    world.set(AWS_EC2_METADATA_DISABLED="TRUE")


@case("instance metadata")
def instance_with_endpoint_in_config(world):
    world.set(AWS_EC2_METADATA_DISABLED=None, AWS_EC2_METADATA_SERVICE_ENDPOINT=None)
    world.config(f"[default]\nec2_metadata_service_endpoint = {world.fakes.url}/\n")


@case("none")
def instance_without_role(world):
    world.set(AWS_EC2_METADATA_DISABLED=None)
    world.fakes.imds_role = None


@case("none")
def instance_that_refuses(world):
    world.set(AWS_EC2_METADATA_DISABLED=None)
    world.fakes.faults["imds_token"] = [(400, "", "text/plain")] * 2


@case("none")
def instance_with_a_failure_as_credentials(world):
    world.set(AWS_EC2_METADATA_DISABLED=None)
    text = json.dumps({"Code": "AssumeRoleUnauthorizedAccess", "Message": "no trust"})
    world.fakes.faults["imds_keys"] = [(200, text, "text/plain")] * 2


@case("none")
def instance_that_answers_nonsense(world):
    world.set(AWS_EC2_METADATA_DISABLED=None)
    world.fakes.faults["imds_keys"] = [(200, "<html>", "text/plain")] * 2


@case("none")
def instance_that_is_not_there(world):
    world.set(AWS_EC2_METADATA_DISABLED=None, AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:1")


@case("instance metadata")
def instance_at_the_second_attempt(world):
    world.set(AWS_EC2_METADATA_DISABLED=None, AWS_METADATA_SERVICE_NUM_ATTEMPTS="2")
    world.fakes.faults["imds_keys"] = [(500, "", "text/plain")]


@case("instance metadata")
def instance_whose_credentials_have_expired(world):
    world.set(AWS_EC2_METADATA_DISABLED=None)
    world.fakes.imds_expires = time.time() - 3600


@case("error")
def instance_with_unknown_mode(world):
    world.set(AWS_EC2_METADATA_DISABLED=None, AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE="IPv5")


@case("instance metadata")
def instance_that_is_not_ready(world):
    world.set(AWS_EC2_METADATA_DISABLED=None, AWS_METADATA_SERVICE_NUM_ATTEMPTS="4")
    world.fakes.faults["imds_role"] = [(200, "", "text/plain"), (404, "", "text/plain")]
    world.fakes.faults["imds_keys"] = [(404, "", "text/plain"), (200, "", "text/plain"), (200, "<html>", "text/plain")]


@case("none")
def instance_that_is_never_ready(world):
    world.set(AWS_EC2_METADATA_DISABLED=None, AWS_METADATA_SERVICE_NUM_ATTEMPTS="2")
    world.fakes.faults["imds_keys"] = [(404, "", "text/plain")] * 4
