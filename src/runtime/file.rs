//! A policy file as it is on disk now.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::policy::{self, Policy, Problem};

/// The bytes, at most one more than a policy may have: enough for the loader to see that it is too large.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let most = u64::try_from(policy::BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The policy and its warnings; or all problems, as text without colour.
pub fn load(bytes: &[u8], path: &Path) -> Result<(Policy, Vec<Problem>), String> {
    let shown = path.display().to_string();
    policy::load_bytes(bytes, &shown).map_err(|problems| problems.render(false))
}
