//! Our own form: deploy marks, notices, answers, readings.
#![no_main]

mod shape;

shape!(["ours-"], ["leeward"]);
