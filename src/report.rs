//! What people and pipes get to read.
