//! An event of EventBridge: alarms, AWS Health, deployments, instances, calls.
#![no_main]

mod shape;

shape!(["bridge-"], ["detail-type", "source"]);
