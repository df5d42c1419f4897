"""Gives a user exactly what infra/iam/policy.json allows, with our zone filled in.

Usage: grant.py PORT POLICY. Makes two zones, prints the zone the policy names, the other one, and the
user's key as JSON."""

import json
import sys

import botocore.session

port, policy = sys.argv[1:]
session = botocore.session.Session()


def client(service):
    return session.create_client(
        service,
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def zone(name):
    made = client("route53").create_hosted_zone(Name=name, CallerReference=name)
    return made["HostedZone"]["Id"].removeprefix("/hostedzone/")


ours, other = zone("example.com"), zone("other.example")
with open(policy, encoding="utf-8") as file:
    document = file.read()
assert "Z0123456789ABC" in document and "arn:aws:route53:::change/*" in document
# ministack takes every call without a zone in its path for one on all resources.
document = document.replace("arn:aws:route53:::change/*", "*")
iam = client("iam")
iam.create_user(UserName="leeward")
iam.put_user_policy(
    UserName="leeward",
    PolicyName="leeward",
    PolicyDocument=document.replace("Z0123456789ABC", ours),
)
key = iam.create_access_key(UserName="leeward")["AccessKey"]
json.dump(
    {"ours": ours, "other": other, "id": key["AccessKeyId"], "secret": key["SecretAccessKey"]},
    sys.stdout,
)
