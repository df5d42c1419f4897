"""Makes a load balancer on a wire server that keeps weighted forwards: two listeners, five rules, three
target groups, twelve targets in three zones. Usage: balancer.py PORT. Prints its ARN as JSON."""

import json
import sys

import boto3

REGION = "eu-west-1"


def client(service, port):
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def main():
    port = int(sys.argv[1])
    ec2, elb = client("ec2", port), client("elbv2", port)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=f"{REGION}{zone}")[
            "Subnet"
        ]["SubnetId"]
        for i, zone in enumerate("abc")
    ]
    balancer = elb.create_load_balancer(
        Name="shop", Subnets=subnets, Type="application", Scheme="internal", Tags=[{"Key": "team", "Value": "shop"}]
    )["LoadBalancers"][0]["LoadBalancerArn"]
    elb.modify_load_balancer_attributes(
        LoadBalancerArn=balancer, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "75"}]
    )
    groups = {}
    for place, name in enumerate(["api", "files", "web"]):
        groups[name] = elb.create_target_group(
            Name=name,
            Protocol="HTTP",
            Port=80,
            VpcId=vpc,
            TargetType="ip",
            HealthCheckPath=f"/health/{name}",
            HealthCheckIntervalSeconds=10,
            Matcher={"HttpCode": "200-204"},
            Tags=[{"Key": "leeward", "Value": "may-refresh"}],
        )["TargetGroups"][0]["TargetGroupArn"]
        elb.modify_target_group_attributes(
            TargetGroupArn=groups[name],
            Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": str(30 + place)}],
        )
        targets = [
            {"Id": f"10.0.{zone}.{10 * place + number + 10}", "Port": 8080, "AvailabilityZone": f"{REGION}{'abc'[zone]}"}
            for zone, number in ([(0, 0), (0, 1), (1, 0), (1, 1)] if place else [(1, 0), (1, 1), (2, 0), (2, 1)])
        ]
        elb.register_targets(TargetGroupArn=groups[name], Targets=targets)

    def forward(weights):
        tuples = [{"TargetGroupArn": groups[name], "Weight": weight} for name, weight in weights.items()]
        sticky = {"Enabled": False}
        return [
            {"Type": "forward", "ForwardConfig": {"TargetGroups": tuples, "TargetGroupStickinessConfig": sticky}}
        ]

    def path(pattern):
        return [{"Field": "path-pattern", "Values": [pattern]}]

    first = elb.create_listener(
        LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=forward({"web": 70, "files": 30})
    )["Listeners"][0]["ListenerArn"]
    second = elb.create_listener(
        LoadBalancerArn=balancer, Protocol="HTTP", Port=8080, DefaultActions=forward({"web": 1})
    )["Listeners"][0]["ListenerArn"]
    redirect = [
        {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}
    ]
    fixed = [
        {
            "Type": "fixed-response",
            "FixedResponseConfig": {"StatusCode": "404", "ContentType": "text/plain", "MessageBody": "no <such> page"},
        }
    ]
    rules = [
        (first, 10, "/api/*", forward({"api": 1})),
        (first, 20, "/files/*", forward({"files": 100})),
        (first, 30, "/old/*", redirect),
        (second, 10, "/api/*", forward({"api": 5})),
        (second, 20, "/none/*", fixed),
    ]
    for listener, priority, pattern, actions in rules:
        elb.create_rule(ListenerArn=listener, Priority=priority, Conditions=path(pattern), Actions=actions)
    print(json.dumps({"arn": balancer, "groups": groups}))


main()
