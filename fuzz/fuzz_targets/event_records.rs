//! Records of SQS and SNS as a function gets them.
#![no_main]

mod shape;

shape!(["lambda-"], ["Records"]);
