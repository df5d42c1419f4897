//! Directories that others read while they are written, and that may hang.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::task::spawn_blocking;

/// On a thread of its own: a directory over a network may hang, and rounds must not.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Replaces a file in one step, so that a reader gets the old one or the new one. Its folder is made.
pub(super) fn replace(place: &Path, body: &[u8]) -> io::Result<()> {
    let folder = place.parent().ok_or(io::ErrorKind::IsADirectory)?;
    fs::create_dir_all(folder)?;
    let mut next = tempfile::Builder::new().prefix(".leeward-").tempfile_in(folder)?;
    next.write_all(body)?;
    // A web server that runs as somebody else must be able to read it.
    next.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    next.as_file().sync_all()?;
    next.persist(place).map(drop).map_err(|error| error.error)
}
