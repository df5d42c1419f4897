//! What CodeDeploy's triggers send.
#![no_main]

mod shape;

shape!(["codedeploy-trigger"], ["deploymentId", "eventTriggerName"]);
