"""Alarms and those on call, on the AWS test server.

Usage: alarm.py PORT fire NAME        puts the alarm into ALARM by hand
       alarm.py PORT publish TOPIC    publishes what is on standard input
       alarm.py PORT waiting URL      prints how many messages the queue holds, hidden ones included
       alarm.py PORT on-call NAME     makes a topic in eu-north-1 and a queue that hears it, prints both as JSON
       alarm.py PORT heard URL        takes what that queue holds and prints it as a JSON list"""

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


if what == "fire":
    client("cloudwatch").set_alarm_state(AlarmName=rest[0], StateValue="ALARM", StateReason="drill")
elif what == "publish":
    client("sns").publish(TopicArn=rest[0], Message=sys.stdin.read())
elif what == "waiting":
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = client("sqs", "eu-central-1").get_queue_attributes(QueueUrl=rest[0], AttributeNames=names)
    print(sum(int(found["Attributes"].get(name, 0)) for name in names))
elif what == "on-call":
    sns, sqs = client("sns", "eu-north-1"), client("sqs", "eu-north-1")
    fifo = {"FifoQueue": "true"} if rest[0].endswith(".fifo") else {}
    url = sqs.create_queue(QueueName=rest[0], Attributes=fifo)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = sns.create_topic(Name=rest[0], Attributes={"FifoTopic": "true"} if fifo else {})["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    print(json.dumps({"topic": topic, "queue": url}))
elif what == "heard":
    sqs, all = client("sqs", "eu-north-1"), []
    while got := sqs.receive_message(QueueUrl=rest[0], MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages"):
        for message in got:
            all.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=rest[0], ReceiptHandle=message["ReceiptHandle"])
    print(json.dumps(all))
