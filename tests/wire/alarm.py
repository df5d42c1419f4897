"""An alarm, its topic and a queue in another region, on the AWS test server.

Usage: alarm.py PORT make             prints the queue's address and the topic as JSON
       alarm.py PORT fire NAME        puts the alarm into ALARM by hand
       alarm.py PORT publish TOPIC    publishes what is on standard input
       alarm.py PORT waiting URL      prints how many messages the queue holds, hidden ones included"""

import json
import sys

import botocore.session

port, what, *rest = sys.argv[1:]
session = botocore.session.Session()


def client(service, region="eu-west-1"):
    return session.create_client(
        service,
        region_name=region,
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


if what == "make":
    topic = client("sns").create_topic(Name="alarms")["TopicArn"]
    sqs = client("sqs", "eu-central-1")
    url = sqs.create_queue(QueueName="leeward")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    client("cloudwatch").put_metric_alarm(
        AlarmName="web-errors",
        Namespace="AWS/ApplicationELB",
        MetricName="HTTPCode_ELB_5XX_Count",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[topic],
    )
    print(json.dumps({"queue": url, "topic": topic}))
elif what == "fire":
    client("cloudwatch").set_alarm_state(AlarmName=rest[0], StateValue="ALARM", StateReason="drill")
elif what == "publish":
    client("sns").publish(TopicArn=rest[0], Message=sys.stdin.read())
elif what == "waiting":
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = client("sqs", "eu-central-1").get_queue_attributes(QueueUrl=rest[0], AttributeNames=names)
    print(sum(int(found["Attributes"].get(name, 0)) for name in names))
