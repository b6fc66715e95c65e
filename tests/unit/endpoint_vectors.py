#!/usr/bin/python3
"""The endpoints that botocore's rules give, for test_endpoint.c.

One case a line: "service region fips dual-stack URL" (flags as 0 or 1; URL "-": an error). Without botocore: "skip
REASON". Left out is what newer releases have changed: the FIPS names of IAM Identity Center in GovCloud.
"""

import itertools
import os
import sys

try:
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
except ImportError as error:
    print("skip", error)
    sys.exit(0)

SERVICES = {"sts": "GetCallerIdentity", "sso": "GetRoleCredentials", "sso-oidc": "CreateToken"}
REGIONS = ["us-east-1", "us-east-2", "eu-central-2", "ap-southeast-4", "cn-north-1", "cn-northwest-1", "us-gov-west-1",
           "us-gov-east-1", "us-iso-east-1", "us-isob-east-1", "il-central-1", "xx-nowhere-1", "US-East-1"]


def endpoint(session, service, region, fips, dual_stack):
    """The URL by the service's rules, or None."""
    client = session.create_client(service, region_name=region,
                                   config=Config(use_fips_endpoint=fips, use_dualstack_endpoint=dual_stack))
    operation = client.meta.service_model.operation_model(SERVICES[service])
    try:
        # pylint: disable=protected-access
        return client._ruleset_resolver.construct_endpoint(operation, {}, {"client_config": client.meta.config}).url
    except BotoCoreError:
        return None


def main():
    """Prints all cases."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/null"
    session = botocore.session.Session()
    session.set_credentials("access", "secret")
    session.set_config_variable("sts_regional_endpoints", "regional")
    for service, region, fips, dual_stack in itertools.product(SERVICES, REGIONS, [False, True], [False, True]):
        if region.startswith("us-gov-") and service != "sts" and fips and not dual_stack:
            continue
        url = endpoint(session, service, region, fips, dual_stack)
        print(service, region, int(fips), int(dual_stack), url.lower() if url else "-")


if __name__ == "__main__":
    main()
