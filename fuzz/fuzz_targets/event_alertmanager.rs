//! Alerts of Prometheus' Alertmanager.
#![no_main]

mod shape;

shape!(["alertmanager"], ["alerts", "version"]);
