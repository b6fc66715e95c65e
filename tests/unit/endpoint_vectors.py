#!/usr/bin/python3
"""The endpoints that the rules of the newest botocore here give, for test_endpoint.c.

One case a line: "service region fips dual-stack URL" (flags as 0 or 1; URL "-": an error). Without botocore: "skip
REASON". Left out is what changes from release to release: the FIPS names of IAM Identity Center in GovCloud, and those
of the sign-in service beyond the three partitions that all releases name alike.
"""

import itertools
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import newest_botocore     # noqa: E402   pylint: disable=wrong-import-position

if __name__ == "__main__":
    newest_botocore.run_with_it(__file__)

try:
    import botocore.session
    from botocore.endpoint_provider import EndpointProvider
    from botocore.exceptions import BotoCoreError
except ImportError as error:
    print("skip", error)
    sys.exit(0)

SERVICES = ["sts", "sso", "sso-oidc", "signin"]
REGIONS = ["us-east-1", "us-east-2", "eu-central-2", "ap-southeast-4", "cn-north-1", "cn-northwest-1", "us-gov-west-1",
           "us-gov-east-1", "us-iso-east-1", "us-isob-east-1", "us-isof-south-1", "eu-isoe-west-1", "eusc-de-east-1",
           "il-central-1", "xx-nowhere-1", "US-East-1"]


def endpoint(provider, region, fips, dual_stack):
    """The URL by the service's rules, or None."""
    try:
        return provider.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack).url
    except BotoCoreError:
        return None


def is_left_out(partitions, service, region, fips, dual_stack):
    """Releases differ in it."""
    if region.startswith(("us-iso", "eu-iso", "eusc")):
        known = [found["outputs"] for found in partitions if re.match(found["regionRegex"], region)]
        if not known or service == "signin" and not dual_stack or dual_stack and not known[0]["supportsDualStack"]:
            return True
    return region.startswith("us-gov-") and service != "sts" and fips and not dual_stack


def main():
    """Prints all cases."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/null"
    session = botocore.session.Session()
    loader = session.get_component("data_loader")
    partitions = loader.load_data("partitions")["partitions"]
    known = session.get_available_services()
    if "signin" not in known:
        print(f"botocore {botocore.__version__} knows no service signin: not compared", file=sys.stderr)
    for service in (service for service in SERVICES if service in known):
        rules = loader.load_service_model(service, "endpoint-rule-set-1")
        provider = EndpointProvider(rules, loader.load_data("partitions"))
        for region, fips, dual_stack in itertools.product(REGIONS, [False, True], [False, True]):
            if not is_left_out(partitions, service, region, fips, dual_stack):
                url = endpoint(provider, region, fips, dual_stack)
                print(service, region, int(fips), int(dual_stack), url.lower() if url else "-")


if __name__ == "__main__":
    main()
