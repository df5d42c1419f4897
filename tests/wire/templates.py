"""Looks at the templates in infra/cloudformation, and deploys them to a test server.

Usage: templates.py actions FILE            the IAM actions that its roles get, as JSON
       templates.py checks FILE             its health checks: properties by name, as JSON
       templates.py deploy PORT FILE K=V... makes a stack of it, prints its outputs and resources as JSON"""

import json
import sys
import time

import botocore.session
from cfnlint.decode import cfn_yaml


def load(path):
    return json.loads(json.dumps(cfn_yaml.load(path)))


def actions(template):
    found = set()
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                assert statement["Effect"] == "Allow" and "NotAction" not in statement
                action = statement["Action"]
                found.update([action] if isinstance(action, str) else action)
    return sorted(found)


def checks(template):
    return {
        name: resource["Properties"]["HealthCheckConfig"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Route53::HealthCheck"
    }


def deploy(port, path, pairs):
    session = botocore.session.Session()
    client = session.create_client(
        "cloudformation",
        region_name="eu-central-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    with open(path, encoding="utf-8") as file:
        body = file.read()
    parameters = [
        {"ParameterKey": key, "ParameterValue": value}
        for key, value in (pair.split("=", 1) for pair in pairs)
    ]
    client.create_stack(
        StackName="leeward",
        TemplateBody=body,
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM"],
    )
    until = time.monotonic() + 60
    while True:
        stack = client.describe_stacks(StackName="leeward")["Stacks"][0]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            break
        assert time.monotonic() < until, stack["StackStatus"]
        time.sleep(0.2)
    resources = client.describe_stack_resources(StackName="leeward")["StackResources"]
    return {
        "status": stack["StackStatus"],
        "why": [r.get("ResourceStatusReason", "") for r in resources],
        "outputs": {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])},
        "resources": {r["LogicalResourceId"]: r["ResourceType"] for r in resources},
    }


what, *rest = sys.argv[1:]
if what == "deploy":
    answer = deploy(rest[0], rest[1], rest[2:])
else:
    answer = {"actions": actions, "checks": checks}[what](load(rest[0]))
json.dump(answer, sys.stdout)
