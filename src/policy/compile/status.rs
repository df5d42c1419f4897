//! The status page: what it shows, and that it can be reached when it is needed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::decode::{At, Entries};
use super::super::problem::{Code, Finding, Findings, quoted};
use super::super::raw_tell as raw;
use super::super::tell::{Component, PAGE_PLACES, PageMode, PagePlace, StatusPage, Words};
use super::super::template::Template;
use super::super::units::Text;
use super::regions::aws_region_code;
use super::tell::{not_a_whole_path, template};
use super::triggers::secret;
use super::{Names, Referred, check_entries, check_length, references};
use crate::domain::ServiceName;

/// Statuspage's own address (Statuspage API, "Welcome").
const STATUSPAGE: &str = "https://api.statuspage.io/v1";

pub(super) fn status_page(
    written: &At<raw::StatusPage>,
    service: Option<&ServiceName>,
    every: Option<Duration>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<StatusPage> {
    let (page, at) = (&written.value, written.at);
    if every.is_none() {
        to.add(
            Finding::new(
                Code::MissingField,
                at,
                "a status page needs to know how often it is renewed",
            )
            .label("`tell.status_every` is missing")
            .help("`tell: { channels: [...], status_every: 15m }`"),
        );
    }
    let mode = match page.mode {
        Some(raw::PageMode::Auto) => PageMode::Auto,
        Some(raw::PageMode::Draft) | None => PageMode::Draft,
    };
    let components = match &page.components {
        Some(entries) => components(entries, names, to),
        None => service.map(|service| {
            let name = service.to_string();
            [(name.clone(), Component { name, regions: Vec::new() })].into()
        }),
    };
    check_length(&page.publish.value, "places", to)?;
    if page.publish.value.is_empty() {
        to.add(
            Finding::new(Code::WrongShape, page.publish.at, "the page is published nowhere")
                .label("empty")
                .help("`publish: [{ directory: /var/www/status }]`"),
        );
    }
    let places: Vec<Option<PagePlace>> = page
        .publish
        .value
        .iter()
        .map(|written| place(&written.value, components.as_ref(), to))
        .collect();
    let words = words(page.words.as_ref(), to);
    Some(StatusPage {
        title: page.title.value.0.clone(),
        mode,
        components: components?,
        publish: places.into_iter().collect::<Option<_>>()?,
        url: page.url.as_ref().map(|url| url.value.0.clone()),
        words: words?,
        every: every?,
    })
}

fn components(
    entries: &Entries<raw::Component>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<String, Component>> {
    check_entries(entries, "components", to)?;
    if entries.list.is_empty() {
        to.add(
            Finding::new(
                Code::WrongShape,
                entries.at,
                "a status page without components says nothing",
            )
            .label("empty")
            .help("leave `components` out to show the whole service as one"),
        );
        return None;
    }
    let mut compiled = Vec::new();
    for entry in &entries.list {
        let Some(component) = &entry.value else {
            compiled.push(None);
            continue;
        };
        let regions = match &component.regions {
            Some(regions) => references(regions, Referred::Region, names.regions.as_ref(), to),
            None => Some(Vec::new()),
        };
        let name = component.name.value.0.clone();
        compiled.push(regions.map(|regions| (entry.name.clone(), Component { name, regions })));
    }
    compiled.into_iter().collect()
}

fn place(
    written: &raw::Place,
    components: Option<&BTreeMap<String, Component>>,
    to: &mut Findings<'_>,
) -> Option<PagePlace> {
    match written {
        raw::Place::Directory(path) if path.value.0.starts_with('/') => {
            Some(PagePlace::Directory { path: path.value.0.clone() })
        }
        raw::Place::Directory(path) => {
            not_a_whole_path(path, "the directory that the web server shows", to);
            None
        }
        raw::Place::S3(bucket) => {
            let (bucket, aws_region, prefix) = self::bucket(bucket, to)?;
            Some(PagePlace::S3 { bucket, aws_region, prefix })
        }
        raw::Place::Statuspage(page) => hosted(page, components, to),
    }
}

/// Name, AWS region and prefix.
pub(super) fn bucket(
    written: &raw::Bucket,
    to: &mut Findings<'_>,
) -> Option<(String, String, String)> {
    let region = aws_region_code(&written.region.value.0, written.region.at, to);
    let name = bucket_name(&written.bucket, to);
    let prefix = written.prefix.as_ref().map(|prefix| prefix.value.0.clone());
    Some((name?, region?, prefix.unwrap_or_default()))
}

fn hosted(
    page: &raw::HostedPage,
    components: Option<&BTreeMap<String, Component>>,
    to: &mut Findings<'_>,
) -> Option<PagePlace> {
    let key = secret(&page.key, to);
    let mut ids = BTreeMap::new();
    for entry in page.components.iter().flat_map(|entries| &entries.list) {
        if components.is_some_and(|known| !known.contains_key(&entry.name)) {
            let message = format!("{} is not a component of this status page", quoted(&entry.name));
            to.add(
                Finding::new(Code::Conflict, entry.at, message)
                    .label("unknown component")
                    .help("the names under `status_page.components`"),
            );
        }
        ids.insert(entry.name.clone(), entry.value.as_ref()?.value.0.clone());
    }
    let url = page.url.as_ref().map_or(STATUSPAGE, |url| &url.value.0);
    let url = url.trim_end_matches('/').to_owned();
    let page = page.page.value.0.clone();
    Some(PagePlace::Statuspage { url, page, key: key?, components: ids })
}

/// 3 to 63 small letters, digits, dots and hyphens (Amazon S3 User Guide, "General purpose bucket naming
/// rules").
fn bucket_name(written: &At<Text>, to: &mut Findings<'_>) -> Option<String> {
    let text = &written.value.0;
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = |c: char| end(c) || matches!(c, '.' | '-');
    if (3..=63).contains(&text.len())
        && text.chars().all(fits)
        && text.starts_with(end)
        && text.ends_with(end)
    {
        return Some(text.clone());
    }
    let message = format!("{} is not the name of a bucket", quoted(text));
    to.add(
        Finding::new(Code::Malformed, written.at, message)
            .label("not a bucket")
            .help("3 to 63 small letters, digits, dots and hyphens"),
    );
    None
}

fn words(written: Option<&raw::Words>, to: &mut Findings<'_>) -> Option<Words> {
    let mut one = |written: Option<&At<Text>>, default: &str| match written {
        Some(text) => template(text, PAGE_PLACES, to),
        None => Template::parse(default, PAGE_PLACES).ok(),
    };
    let investigating = one(
        written.and_then(|words| words.investigating.as_ref()),
        "We see trouble with ${components} and are looking into it.",
    );
    let identified = one(
        written.and_then(|words| words.identified.as_ref()),
        "We know what is wrong with ${components} and are working around it.",
    );
    let monitoring = one(
        written.and_then(|words| words.monitoring.as_ref()),
        "${components} should work again. We keep watching.",
    );
    let resolved = one(
        written.and_then(|words| words.resolved.as_ref()),
        "${components} has worked as usual for a while. This incident is over.",
    );
    Some(Words {
        investigating: investigating?,
        identified: identified?,
        monitoring: monitoring?,
        resolved: resolved?,
    })
}

/// A page in the region whose outage it must announce.
pub(super) fn check_places(
    written: &raw::StatusPage,
    watched: &impl Fn(&str) -> Option<String>,
    to: &mut Findings<'_>,
) {
    for place in &written.publish.value {
        let raw::Place::S3(bucket) = &place.value else { continue };
        let Some(region) = watched(&bucket.region.value.0) else { continue };
        let message = format!("the status page lives in `{region}`, whose outage it must announce");
        to.add(
            Finding::new(Code::WatchedPage, bucket.region.at, message)
                .label("goes down with it")
                .help("a bucket in a region that this policy does not send visitors to"),
        );
    }
}
