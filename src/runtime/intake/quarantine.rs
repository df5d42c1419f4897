//! What nobody understood, kept beside the journals: the octets as they came, and a report of where from.
//!
//! Named by a digest, so that the same body that comes again to the same service by the same door takes no more
//! room.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Door;
use crate::domain::{ServiceName, Timestamp};

/// More than so many wait for nobody to look at them: then what comes is refused, and stays where it is.
const KEPT_MAX: usize = 1000;

/// The directory `quarantine` of a state directory.
#[derive(Debug)]
pub struct Quarantine {
    directory: PathBuf,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    version: u32,
    at: Timestamp,
    /// The same, for people.
    time: String,
    service: &'a ServiceName,
    door: &'static str,
    why: &'a str,
    octets: usize,
    body: String,
}

impl Quarantine {
    pub fn new(state: &Path) -> Self {
        Self { directory: state.join("quarantine") }
    }

    /// Keeps a body on disk with a report beside it, and says where.
    pub fn keep(
        &self,
        service: &ServiceName,
        door: Door,
        why: &str,
        body: &[u8],
        now: Timestamp,
    ) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.directory)?;
        let mut name = String::new();
        let whose = format!("{service}\n{}\n", door.as_str());
        let digest = Sha256::new().chain_update(whose).chain_update(body).finalize();
        for byte in digest.iter().take(12) {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        let path = self.directory.join(format!("{name}.body"));
        if !path.exists() && self.kept()? >= KEPT_MAX {
            let why = format!("`{}` holds {KEPT_MAX} already", self.directory.display());
            return Err(io::Error::other(why));
        }
        let report = Report {
            version: 1,
            at: now,
            time: now.to_string(),
            service,
            door: door.as_str(),
            why,
            octets: body.len(),
            body: format!("{name}.body"),
        };
        self.save(&path, body)?;
        self.save(&path.with_extension("json"), &serde_json::to_vec_pretty(&report)?)?;
        fs::File::open(&self.directory)?.sync_all()?;
        Ok(path)
    }

    fn kept(&self) -> io::Result<usize> {
        let bodies = fs::read_dir(&self.directory)?.filter(|entry| {
            entry
                .as_ref()
                .is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "body"))
        });
        Ok(bodies.count())
    }

    fn save(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|error| error.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_body_is_kept_once_with_a_report() {
        let state = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::new(state.path());
        let shop = "shop".parse().unwrap();
        let keep = |body| quarantine.keep(&shop, Door::Queue, "no known kind", body, NOW).unwrap();
        let path = keep(b"{}");
        assert_eq!(keep(b"{}"), path);
        assert_ne!(keep(b"[]"), path);
        // Whose it was is not forgotten when it comes to somebody else as well.
        let bank = "bank".parse().unwrap();
        for (service, door) in [(&bank, Door::Queue), (&shop, Door::Command)] {
            let other = quarantine.keep(service, door, "another reason", b"{}", NOW).unwrap();
            assert_ne!(other, path, "{service} {door:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        let report: serde_json::Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        assert_eq!(report["why"], "no known kind");
        assert_eq!(report["time"], "2027-01-15T08:00:00Z");
        assert_eq!((&report["door"], &report["octets"]), (&"queue".into(), &2.into()));
    }

    #[test]
    fn a_full_quarantine_takes_nothing_new() {
        let state = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::new(state.path());
        let directory = state.path().join("quarantine");
        fs::create_dir_all(&directory).unwrap();
        for place in 0..KEPT_MAX {
            fs::write(directory.join(format!("{place}.body")), "").unwrap();
        }
        let shop = "shop".parse().unwrap();
        assert!(quarantine.keep(&shop, Door::Sns, "x", b"new", NOW).is_err());
    }
}
