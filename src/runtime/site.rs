//! A cached copy of public pages, for the day on which nothing is left that could make them.
//!
//! `site/crawl.rs` fetches the pages with their parts, `site/rewrite.rs` makes them work alone,
//! `site/shelf.rs` puts the copy in the place of the one before it, and `site/show.rs` serves it. A crawl that
//! went badly, or came home with much less than the one before, replaces nothing.

mod address;
mod crawl;
pub(crate) mod fresh;
mod rewrite;
pub mod shelf;
pub mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;

pub use address::{Address, Origin};
pub use crawl::{LeftOut, NoCopy, take};

/// What every visitor gets for an address that is not in the copy.
pub const FRIENDLY: &str = "unavailable.html";
/// What is in a copy. Written last: a copy without it is none.
pub const MANIFEST: &str = "_leeward/copy.json";

/// What is to be copied, and how far one goes for it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// All on one origin, never empty. Each must be in the copy, or there is none.
    pub pages: Vec<Address>,
    /// Parts of pages are taken from the pages' own origin and from these.
    pub assets_from: BTreeSet<Origin>,
    pub bounds: Bounds,
    /// HTML that needs no other file; the built-in page if it is not given.
    pub friendly: Option<String>,
    /// When visitors are asked to come back.
    pub retry_after: Duration,
    pub words: Words,
}

/// Where a crawl ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Links are followed so many times from a listed page.
    pub depth: u32,
    pub pages_max: usize,
    /// Parts of pages: styles, pictures, fonts.
    pub assets_max: usize,
    /// A larger file is left out.
    pub file_octets_max: usize,
    /// All files together.
    pub octets_max: usize,
    /// The whole crawl.
    pub within: Duration,
    /// One request, with its redirects.
    pub request_within: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            depth: 1,
            pages_max: 100,
            assets_max: 500,
            file_octets_max: 5 * 1024 * 1024,
            octets_max: 50 * 1024 * 1024,
            within: Duration::from_secs(300),
            request_within: Duration::from_secs(15),
        }
    }
}

/// What visitors read on copied pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// At the top of each page.
    pub notice: String,
    /// Above what cannot be filled in now.
    pub form: String,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            notice: "We are having trouble right now. This is a saved copy of the page: you can read it, but \
                     parts of it do not work."
                .to_owned(),
            form: "This form does not work right now. Please try again later.".to_owned(),
        }
    }
}

/// A whole copy, not yet kept anywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    pub manifest: Manifest,
    /// By name, with `/` between folders.
    pub files: BTreeMap<String, Bytes>,
    /// What was wanted and is not in it. Empty on a good day.
    pub left_out: Vec<LeftOut>,
}

/// What is in a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    pub taken_at: Timestamp,
    /// The pages that were asked for.
    pub listed: BTreeSet<String>,
    pub retry_after_seconds: u64,
    /// How many pages are in it.
    pub pages: usize,
    pub octets: usize,
    /// Files by name.
    pub files: BTreeMap<String, Part>,
    /// Parts of the copy before this one, which a visitor may still ask for.
    #[serde(default)]
    pub before: BTreeSet<String>,
}

/// One file of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub content_type: String,
    pub octets: usize,
}

/// A friendly page is one page.
const FRIENDLY_OCTETS_MAX: u64 = 1024 * 1024;

/// The operator's own friendly page. The error is for people.
pub fn read_friendly(path: &Path) -> Result<String, String> {
    let unfit = |why: &str| format!("read the friendly page `{}`: {why}", path.display());
    let octets = std::fs::metadata(path).map_err(|error| unfit(&error.to_string()))?.len();
    if octets > FRIENDLY_OCTETS_MAX {
        return Err(unfit("it has more than a MiB"));
    }
    std::fs::read_to_string(path).map_err(|error| unfit(&error.to_string()))
}

#[cfg(test)]
mod tests;
