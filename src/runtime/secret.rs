//! Secrets, read where the policy says they are, at each use: what was changed on disk counts at once.

use std::io;

use crate::policy::Secret;
use crate::runtime::file;

/// What stands there, whole. It never stands in an error.
pub(super) fn text(secret: &Secret) -> io::Result<String> {
    match secret {
        Secret::Env(name) => environment(name),
        Secret::File(path) => String::from_utf8(file::read(path.as_ref())?)
            .map_err(|_| io::Error::other(format!("`{path}` is not text"))),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the policy names the variable, so that the secret is neither in it nor on a command line"
)]
fn environment(name: &str) -> io::Result<String> {
    std::env::var(name).map_err(|error| io::Error::other(format!("`{name}`: {error}")))
}
