//! A message in the envelope of SNS, with what is inside of it.
#![no_main]

mod shape;

shape!(["sns-"], ["TopicArn", "Type"]);
