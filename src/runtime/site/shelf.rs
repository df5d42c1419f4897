//! Where copies are kept: a directory, or a bucket. A new copy takes the place of the one before it such that
//! at every moment each page is whole and finds its parts.
//!
//! Parts are named by what is in them and come first, then pages one by one, then the list of both; what is
//! no longer needed goes last. Whoever dies in the middle leaves old pages and new ones, and all of them work.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::address::{OWN, is_safe_name};
use super::{Copy, MANIFEST, Manifest};
use crate::ports::Pages;
use crate::runtime::disk::{beside, replace};

/// What is about to be written, so that whoever comes after a crash knows what is ours.
const NEXT: &str = "_leeward/next.json";
/// A list of files is never longer.
const MANIFEST_OCTETS_MAX: usize = 4 * 1024 * 1024;

/// A place for files by name.
#[async_trait]
pub trait Shelf: Send + Sync + std::fmt::Debug {
    /// `None` if it is not there.
    async fn read(&self, name: &str, octets_max: usize) -> Result<Option<Bytes>, String>;
    /// Replaces one file as a whole.
    async fn write(&self, name: &str, content_type: &str, body: Bytes) -> Result<(), String>;
    /// Well done if it was not there.
    async fn remove(&self, name: &str) -> Result<(), String>;
    /// Whether something is there already, as far as that can be seen.
    async fn is_used(&self) -> Result<bool, String>;
}

/// Whether a copy that is much smaller than the one before may replace it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Smaller {
    Refused,
    Accepted,
}

/// Why the copy before stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    #[error("there are files that are no copy made by Leeward")]
    Foreign,
    #[error("{0}")]
    Unreadable(String),
    #[error(
        "the new copy is much smaller: {pages} pages and {octets} octets, where the one before has {old_pages} \
         and {old_octets}"
    )]
    Smaller { pages: usize, octets: usize, old_pages: usize, old_octets: usize },
    #[error("write `{name}`: {why}")]
    Write { name: String, why: String },
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub removed: usize,
    /// What is no longer needed and could not be removed. It does no harm.
    pub not_removed: Vec<String>,
}

/// The list of the copy that is there; `None` if there is none.
pub async fn current(shelf: &dyn Shelf) -> Result<Option<Manifest>, NotKept> {
    let found = shelf.read(MANIFEST, MANIFEST_OCTETS_MAX).await.map_err(NotKept::Unreadable)?;
    let Some(octets) = found else { return Ok(None) };
    let parsed = serde_json::from_slice(&octets);
    parsed
        .map(Some)
        .map_err(|error| NotKept::Unreadable(format!("`{MANIFEST}` is broken: {error}")))
}

/// Puts a copy in the place of the one before it, or leaves that one.
pub async fn keep(shelf: &dyn Shelf, copy: &Copy, smaller: Smaller) -> Result<Kept, NotKept> {
    let before = current(shelf).await?;
    let next = shelf.read(NEXT, MANIFEST_OCTETS_MAX).await.map_err(NotKept::Unreadable)?;
    if before.is_none() && next.is_none() && shelf.is_used().await.map_err(NotKept::Unreadable)? {
        return Err(NotKept::Foreign);
    }
    if let Some(before) = before.as_ref().filter(|_| smaller == Smaller::Refused) {
        compare(&copy.manifest, before)?;
    }
    let mut manifest = copy.manifest.clone();
    let mut ours: BTreeSet<String> = next
        .and_then(|octets| serde_json::from_slice::<BTreeSet<String>>(&octets).ok())
        .unwrap_or_default();
    if let Some(before) = &before {
        // A visitor with an old page may still ask for its parts.
        let parts = before.files.keys().filter(|name| is_part(name)).cloned();
        manifest.before = parts.filter(|name| !manifest.files.contains_key(name)).collect();
        ours.extend(before.files.keys().chain(&before.before).cloned());
    }
    let planned: BTreeSet<&String> = ours.iter().chain(manifest.files.keys()).collect();
    put(shelf, NEXT, "application/json", json(&planned)?).await?;
    let (parts, pages): (Vec<_>, Vec<_>) = copy.files.iter().partition(|(name, _)| is_part(name));
    for (name, body) in parts.into_iter().chain(pages) {
        let kind = manifest.files.get(name).map_or("", |part| part.content_type.as_str());
        put(shelf, name, kind, body.clone()).await?;
    }
    put(shelf, MANIFEST, "application/json", json(&manifest)?).await?;
    let mut kept = Kept { removed: 0, not_removed: Vec::new() };
    let needed =
        |name: &String| manifest.files.contains_key(name) || manifest.before.contains(name);
    // The list is a file that anybody may have changed: it names nothing outside of the copy.
    for name in ours.iter().filter(|name| !needed(name) && is_safe_name(name)) {
        match shelf.remove(name).await {
            Ok(()) => kept.removed += 1,
            Err(why) => kept.not_removed.push(format!("{name}: {why}")),
        }
    }
    if let Err(why) = shelf.remove(NEXT).await {
        kept.not_removed.push(format!("{NEXT}: {why}"));
    }
    Ok(kept)
}

fn is_part(name: &str) -> bool {
    name.strip_prefix(OWN).is_some_and(|rest| rest.starts_with("/files/"))
}

/// Less than half of what was there, for the same pages, is what a site in trouble looks like.
fn compare(new: &Manifest, old: &Manifest) -> Result<(), NotKept> {
    if new.listed != old.listed || (new.pages * 2 >= old.pages && new.octets * 2 >= old.octets) {
        return Ok(());
    }
    Err(NotKept::Smaller {
        pages: new.pages,
        octets: new.octets,
        old_pages: old.pages,
        old_octets: old.octets,
    })
}

async fn put(shelf: &dyn Shelf, name: &str, kind: &str, body: Bytes) -> Result<(), NotKept> {
    let written = shelf.write(name, kind, body).await;
    written.map_err(|why| NotKept::Write { name: name.to_owned(), why })
}

fn json(value: &impl serde::Serialize) -> Result<Bytes, NotKept> {
    let octets = serde_json::to_vec_pretty(value);
    octets.map(Bytes::from).map_err(|error| NotKept::Unreadable(error.to_string()))
}

/// A directory of this machine.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The whole path of a file. Nothing on the way to it may be a link that leads elsewhere.
    fn place(&self, name: &str) -> io::Result<PathBuf> {
        if !is_safe_name(name) {
            return Err(io::Error::other(format!("`{name}` is no name for a file of a copy")));
        }
        let mut place = self.path.clone();
        for part in name.split('/') {
            place.push(part);
            if fs::symlink_metadata(&place).is_ok_and(|found| found.file_type().is_symlink()) {
                let why = format!("`{}` is a symbolic link", place.display());
                return Err(io::Error::other(why));
            }
        }
        Ok(place)
    }

    fn write_file(&self, name: &str, body: &[u8]) -> io::Result<()> {
        replace(&self.place(name)?, body)
    }

    fn read_file(&self, name: &str, octets_max: usize) -> io::Result<Option<Bytes>> {
        let file = match fs::File::open(self.place(name)?) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut octets = Vec::new();
        let most = u64::try_from(octets_max).unwrap_or(u64::MAX);
        file.take(most.saturating_add(1)).read_to_end(&mut octets)?;
        if octets.len() > octets_max {
            return Err(io::Error::other(format!("it has more than {octets_max} octets")));
        }
        Ok(Some(Bytes::from(octets)))
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        let place = self.place(name)?;
        match fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Folders that are empty now; one that is not refuses.
        let mut folder = place.parent();
        while let Some(here) = folder.filter(|here| *here != self.path) {
            if fs::remove_dir(here).is_err() {
                break;
            }
            folder = here.parent();
        }
        Ok(())
    }
}

#[async_trait]
impl Shelf for Folder {
    async fn read(&self, name: &str, octets_max: usize) -> Result<Option<Bytes>, String> {
        let (folder, named) = (self.clone(), name.to_owned());
        let read = beside(move || folder.read_file(&named, octets_max)).await;
        read.map_err(|error| format!("read `{}`: {error}", self.path.join(name).display()))
    }

    async fn write(&self, name: &str, _: &str, body: Bytes) -> Result<(), String> {
        let (folder, name) = (self.clone(), name.to_owned());
        beside(move || folder.write_file(&name, &body)).await.map_err(|error| error.to_string())
    }

    async fn remove(&self, name: &str) -> Result<(), String> {
        let (folder, name) = (self.clone(), name.to_owned());
        beside(move || folder.remove_file(&name)).await.map_err(|error| error.to_string())
    }

    async fn is_used(&self) -> Result<bool, String> {
        let path = self.path.clone();
        match beside(move || Ok(fs::read_dir(path)?.next().is_some())).await {
            Ok(used) => Ok(used),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(format!("read `{}`: {error}", self.path.display())),
        }
    }
}

/// A bucket of S3.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub pages: Arc<dyn Pages>,
    pub aws_region: String,
    pub bucket: String,
    /// Before all names; ends in `/` or is empty.
    pub prefix: String,
}

#[async_trait]
impl Shelf for Bucket {
    async fn read(&self, name: &str, octets_max: usize) -> Result<Option<Bytes>, String> {
        let key = format!("{}{name}", self.prefix);
        let read = self.pages.read(&self.aws_region, &self.bucket, &key, octets_max).await;
        read.map_err(|failure| format!("read `s3://{}/{key}`: {failure}", self.bucket))
    }

    async fn write(&self, name: &str, content_type: &str, body: Bytes) -> Result<(), String> {
        let key = format!("{}{name}", self.prefix);
        let put = self.pages.publish(&self.aws_region, &self.bucket, &key, content_type, body);
        put.await.map_err(|failure| failure.to_string())
    }

    async fn remove(&self, name: &str) -> Result<(), String> {
        let key = format!("{}{name}", self.prefix);
        let removed = self.pages.remove(&self.aws_region, &self.bucket, &key).await;
        removed.map_err(|failure| failure.to_string())
    }

    /// A bucket may hold much else: only what would be written over counts.
    async fn is_used(&self) -> Result<bool, String> {
        Ok(self.read("index.html", MANIFEST_OCTETS_MAX).await?.is_some())
    }
}
