//! The cached copy of a last resort, checked.

use std::time::Duration;

/// Public pages that are copied while all is well, for when nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// `http` or `https` addresses of one origin. Never empty.
    pub pages: Vec<String>,
    pub to: SitePlace,
    /// A new copy is made so often; five minutes to seven days.
    pub every: Duration,
    /// When visitors are asked to come back.
    pub retry_after: Duration,
    /// The whole path of a page of the operator's.
    pub friendly: Option<String>,
    /// Links are followed so many times from a listed page.
    pub depth: u32,
    pub pages_max: u32,
    pub mib_max: u32,
    pub assets_from: Vec<String>,
    pub notice: Option<String>,
    pub form_notice: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SitePlace {
    Directory { path: String },
    S3 { bucket: String, aws_region: String, prefix: String },
}
