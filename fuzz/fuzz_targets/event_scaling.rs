//! What Auto Scaling sends to a topic.
#![no_main]

mod shape;

shape!(["autoscaling-notification", "autoscaling-test"], ["AutoScalingGroupName", "Event"]);
