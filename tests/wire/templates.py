"""Looks at the templates in infra/cloudformation, and deploys them to a test server.

Usage: templates.py actions FILE            the IAM actions that its roles get, as JSON
       templates.py checks FILE             its health checks: properties by name, as JSON
       templates.py read FILE               the whole of it, as JSON
       templates.py documents FILE          every document of a file that is no template, as JSON
       templates.py deploy PORT REGION FILE K=V...
                                            makes a stack of it, prints its outputs and resources as JSON
       templates.py give-up PORT REGION URL OTHER
                                            takes a message from a queue as often as it may be had and puts it
                                            back; prints how often that was, and what lies in the other queue"""

import json
import pathlib
import sys
import time

import botocore.session
import yaml


def load(path):
    from cfnlint.decode import cfn_yaml  # takes its time

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


def documents(path):
    with open(path, encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def client_of(service, port, region):
    return botocore.session.Session().create_client(
        service,
        region_name=region,
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def give_up(port, region, url, other):
    sqs = client_of("sqs", port, region)
    sqs.send_message(QueueUrl=url, MessageBody="nobody can handle this")
    times = 0
    while times < 1000 and (got := sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0).get("Messages")):
        times += 1
        receipt = got[0]["ReceiptHandle"]
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
    left = sqs.receive_message(QueueUrl=other, WaitTimeSeconds=1).get("Messages", [])
    return {"times": times, "left": [message["Body"] for message in left]}


def deploy(port, region, path, pairs):
    client = client_of("cloudformation", port, region)
    stack_name = "leeward-" + pathlib.Path(path).stem
    with open(path, encoding="utf-8") as file:
        body = file.read()
    parameters = [
        {"ParameterKey": key, "ParameterValue": value}
        for key, value in (pair.split("=", 1) for pair in pairs)
    ]
    client.create_stack(
        StackName=stack_name,
        TemplateBody=body,
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM"],
    )
    until = time.monotonic() + 60
    while True:
        stack = client.describe_stacks(StackName=stack_name)["Stacks"][0]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            break
        assert time.monotonic() < until, stack["StackStatus"]
        time.sleep(0.2)
    resources = client.describe_stack_resources(StackName=stack_name)["StackResources"]
    return {
        "status": stack["StackStatus"],
        "why": [r.get("ResourceStatusReason", "") for r in resources],
        "outputs": {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])},
        "resources": {r["LogicalResourceId"]: r["ResourceType"] for r in resources},
    }


what, *rest = sys.argv[1:]
if what == "deploy":
    answer = deploy(rest[0], rest[1], rest[2], rest[3:])
elif what == "give-up":
    answer = give_up(*rest)
elif what == "documents":
    answer = documents(rest[0])
else:
    answer = {"actions": actions, "checks": checks, "read": lambda template: template}[what](load(rest[0]))
json.dump(answer, sys.stdout)
