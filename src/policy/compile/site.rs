//! The cached copy of a last resort: where from, where to, and how often.

use std::time::Duration;

use super::super::decode::{At, Entries, Written, written};
use super::super::problem::{Code, Finding, Findings, quoted};
use super::super::site::{Site, SitePlace};
use super::super::units::{Count, Url};
use super::super::{raw, raw_site};
use super::status::bucket;
use super::tell::not_a_whole_path;
use super::{DAY, MINUTE, SECOND, check_length, limited, limited_span};

/// A copy is asked for as often as this at most: it is some hundred requests.
const EVERY_MIN: u64 = 5 * MINUTE;

/// The site of the last resort; `Some(None)` if there is none, `None` after a complaint.
pub(super) fn of_regions(
    regions: &Entries<raw::Region>,
    to: &mut Findings<'_>,
) -> Option<Option<Site>> {
    let errors = to.errors();
    let mut site = None;
    for entry in &regions.list {
        let Some(region) = &entry.value else { continue };
        let Written::Yes(written) = written(region.site.as_ref()) else { continue };
        if !matches!(region.role.value, raw::Role::LastResort) {
            let message = format!("{} is no last resort and shows no copy", quoted(&entry.name));
            to.add(
                Finding::new(Code::Conflict, written.at, message)
                    .label("only for `role: last_resort`")
                    .help("give it to the region that visitors come to when nothing else is left"),
            );
        }
        site = compile(&written.value, to);
    }
    (to.errors() == errors).then_some(site)
}

fn compile(written: &raw_site::Site, to: &mut Findings<'_>) -> Option<Site> {
    check_length(&written.pages.value, "pages", to)?;
    let Some(first) = written.pages.value.first() else {
        to.add(
            Finding::new(Code::WrongShape, written.pages.at, "no page is copied")
                .label("empty")
                .help("`pages: [\"https://www.example.com/\"]`"),
        );
        return None;
    };
    for page in &written.pages.value {
        if origin(&page.value) != origin(&first.value) {
            let message = format!("{} lies on another origin", quoted(&page.value.0));
            to.add(
                Finding::new(Code::Conflict, page.at, message)
                    .label(format!("the first one lies on `{}`", origin(&first.value)))
                    .help("a copy is of one site: the same scheme, host and port"),
            );
        }
    }
    let place = match &written.to.value {
        raw_site::SitePlace::Directory(path) if path.value.0.starts_with('/') => {
            Some(SitePlace::Directory { path: path.value.0.clone() })
        }
        raw_site::SitePlace::Directory(path) => {
            not_a_whole_path(path, "the directory that the web server shows", to);
            None
        }
        raw_site::SitePlace::S3(s3) => bucket(s3, to)
            .map(|(bucket, aws_region, prefix)| SitePlace::S3 { bucket, aws_region, prefix }),
    };
    let every = limited_span(&written.every, EVERY_MIN..=7 * DAY, "site.every", to);
    let retry_after = match &written.retry_after {
        Some(after) => limited_span(after, 10 * SECOND..=DAY, "site.retry_after", to),
        None => Some(Duration::from_secs(120)),
    };
    if let Some(path) = written.friendly.as_ref().filter(|path| !path.value.0.starts_with('/')) {
        not_a_whole_path(path, "the friendly page", to);
    }
    let mut count = |written: Option<&At<Count>>,
                     most: u32,
                     least: u32,
                     default: u32,
                     what: &str| {
        match written {
            Some(count) => limited(count.value.0, count.at, &(least..=most), what, to),
            None => Some(default),
        }
    };
    let depth = count(written.depth.as_ref(), 10, 0, 1, "site.depth");
    let pages_max = count(written.pages_max.as_ref(), 2000, 1, 100, "site.pages_max");
    let mib_max = count(written.mib_max.as_ref(), 500, 1, 50, "site.mib_max");
    let text = |text: &Option<At<super::Text>>| text.as_ref().map(|text| text.value.0.clone());
    Some(Site {
        pages: written.pages.value.iter().map(|page| page.value.0.clone()).collect(),
        to: place?,
        every: every?,
        retry_after: retry_after?,
        friendly: text(&written.friendly),
        depth: depth?,
        pages_max: pages_max?,
        mib_max: mib_max?,
        assets_from: written.assets_from.iter().flatten().map(|url| url.value.0.clone()).collect(),
        notice: text(&written.notice),
        form_notice: text(&written.form_notice),
    })
}

/// Scheme, host and port as written, in small letters.
fn origin(url: &Url) -> String {
    let end = url.0.match_indices(['/', '?', '#']).map(|(at, _)| at).nth(2);
    url.0[..end.unwrap_or(url.0.len())].to_ascii_lowercase()
}

/// A copy in a region whose outage it is for.
pub(super) fn check_places(
    regions: &Entries<raw::Region>,
    watched: &impl Fn(&str) -> Option<String>,
    to: &mut Findings<'_>,
) {
    for region in regions.list.iter().filter_map(|entry| entry.value.as_ref()) {
        let Written::Yes(site) = written(region.site.as_ref()) else { continue };
        let raw_site::SitePlace::S3(bucket) = &site.value.to.value else { continue };
        let Some(sick) = watched(&bucket.region.value.0) else { continue };
        let message = format!("the copy lives in `{sick}`, whose outage it is for");
        to.add(
            Finding::new(Code::WatchedPage, bucket.region.at, message)
                .label("goes down with it")
                .help("a bucket in a region that this policy does not send visitors to"),
        );
    }
}
