//! An append-only file of what was intended and what became of it.
