//! The AWS edge: the only place where SDK types appear.
