//! An alarm of CloudWatch as SNS carries it: metric, math, anomaly, composite.
#![no_main]

mod shape;

shape!(["alarm-"], ["AlarmName", "NewStateValue"]);
