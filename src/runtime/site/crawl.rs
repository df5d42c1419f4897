//! Fetches pages and what they are made of, as far as the bounds let it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use hyper::{Method, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::address::{self, Address, OWN, Origin, relative};
use super::rewrite::{self, Link, MARK};
use super::{Bounds, Copy, FRIENDLY, MANIFEST, Manifest, Part, Wanted};
use crate::domain::{Timestamp, span};
use crate::runtime::http::{Ask, fetch};

/// Requests under way at once: a crawl must be no load on the site.
const AT_ONCE: usize = 4;
const REDIRECTS_MAX: usize = 5;
/// Style sheets that lead to style sheets.
const SHEETS_DEEP_MAX: u32 = 3;
/// What is said of left-out parts; more of them are not remembered.
const LEFT_OUT_MAX: usize = 1000;

/// Something that is not in the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub address: String,
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.why)
    }
}

/// Why there is no copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCopy {
    #[error("no page is listed")]
    Nothing,
    #[error("`{0}` lies on another origin than the first page")]
    Strange(String),
    #[error("{} of {listed} listed pages could not be copied: {}", failed.len(), shown(failed))]
    Pages { failed: Vec<LeftOut>, listed: usize },
}

fn shown(failed: &[LeftOut]) -> String {
    let first: Vec<String> = failed.iter().take(3).map(ToString::to_string).collect();
    let more = if failed.len() > first.len() { ", and more" } else { "" };
    format!("{}{more}", first.join(", "))
}

/// Fetches everything and makes it a copy. Writes nothing.
pub async fn take(wanted: &Wanted, now: Timestamp) -> Result<Copy, NoCopy> {
    let Some(first) = wanted.pages.first() else { return Err(NoCopy::Nothing) };
    if let Some(strange) = wanted.pages.iter().find(|page| page.origin != first.origin) {
        return Err(NoCopy::Strange(strange.to_string()));
    }
    let mut crawl = Crawl {
        wanted,
        origin: first.origin.clone(),
        until: Instant::now() + wanted.bounds.within,
        octets: 0,
        pages: BTreeMap::new(),
        names: BTreeSet::new(),
        leads: BTreeMap::new(),
        assets: BTreeMap::new(),
        asset_files: BTreeMap::new(),
        left_out: Vec::new(),
    };
    crawl.pages().await?;
    crawl.assets().await;
    Ok(crawl.bind(now))
}

/// A page as fetched.
struct Page {
    /// Where it was found in the end.
    at: Address,
    text: String,
    /// The file that it is kept in.
    name: String,
}

struct Crawl<'a> {
    wanted: &'a Wanted,
    origin: Origin,
    until: Instant,
    octets: usize,
    /// By the address where it was found.
    pages: BTreeMap<Address, Page>,
    names: BTreeSet<String>,
    /// From each address that was asked to the page that it led to.
    leads: BTreeMap<Address, Address>,
    /// The file of each part of a page.
    assets: BTreeMap<Address, String>,
    asset_files: BTreeMap<String, (String, Bytes)>,
    left_out: Vec<LeftOut>,
}

/// What was fetched, and where it was in the end.
struct Fetched {
    at: Address,
    content_type: String,
    body: Bytes,
}

impl Crawl<'_> {
    /// All listed pages, and what they link to.
    async fn pages(&mut self) -> Result<(), NoCopy> {
        let mut asked: BTreeSet<Address> = self.wanted.pages.iter().cloned().collect();
        let listed = asked.clone();
        let mut wave: Vec<Address> = asked.iter().cloned().collect();
        for depth in 0..=self.wanted.bounds.depth {
            let own = BTreeSet::from([self.origin.clone()]);
            let mut links = Vec::new();
            let mut failed = Vec::new();
            for (address, fetched) in self.fetch_all(&wave, &own).await {
                let fetched = match fetched {
                    // A page for a bad day is the wrong one to keep in place of the one that was listed.
                    Ok(fetched) if depth == 0 && !is_same(&address, &fetched.at) => Err(format!(
                        "leads to `{}`: list that address if it is the page",
                        fetched.at
                    )),
                    fetched => fetched,
                };
                match fetched.and_then(|fetched| self.take_page(&address, fetched)) {
                    Ok(found) => links.extend(found),
                    Err(why) => failed.push(LeftOut { address: address.to_string(), why }),
                }
            }
            // All of the first wave is listed, and nothing else is.
            if depth == 0 && !failed.is_empty() {
                return Err(NoCopy::Pages { failed, listed: listed.len() });
            }
            for one in failed {
                self.leave_out(one);
            }
            wave = links.into_iter().filter(|link| asked.insert(link.clone())).collect();
            let room = self.wanted.bounds.pages_max.saturating_sub(self.pages.len());
            if wave.len() > room && depth < self.wanted.bounds.depth {
                let why = format!(
                    "{} more pages are linked than the {} that are copied",
                    wave.len() - room,
                    self.wanted.bounds.pages_max
                );
                self.leave_out(LeftOut { address: self.origin.to_string(), why });
            }
            wave.truncate(room);
        }
        Ok(())
    }

    fn leave_out(&mut self, one: LeftOut) {
        if self.left_out.len() < LEFT_OUT_MAX {
            self.left_out.push(one);
        }
    }

    /// Keeps a page; gives back the pages that it links to.
    fn take_page(&mut self, asked: &Address, fetched: Fetched) -> Result<Vec<Address>, String> {
        if !is_html(&fetched.content_type) {
            return Err(format!("is no HTML but `{}`", fetched.content_type));
        }
        let text = String::from_utf8(fetched.body.to_vec())
            .map_err(|_| "is not written in UTF-8".to_owned())?;
        if text.contains(MARK) {
            return Err("is a copy made by Leeward, not the page itself".to_owned());
        }
        if text.trim().is_empty() {
            return Err("is empty".to_owned());
        }
        let mut links = Vec::new();
        let origin = self.origin.clone();
        let mut lead = |link: Link, to: &Address| {
            if link == Link::Page && to.origin == origin {
                links.push(to.clone());
            }
            None
        };
        rewrite::html(&text, &fetched.at, &self.wanted.words, &mut lead)
            .map_err(|error| format!("cannot be read as HTML: {error}"))?;
        self.leads.insert(asked.clone(), fetched.at.clone());
        if !self.pages.contains_key(&fetched.at) {
            let name = self.free_name(&fetched.at);
            self.pages.insert(fetched.at.clone(), Page { at: fetched.at, text, name });
        }
        Ok(links)
    }

    /// The name of a page's file, unless another one has it, or it would be file and folder at once.
    fn free_name(&mut self, page: &Address) -> String {
        let name = page.page_name();
        let folder = format!("{name}/");
        let taken = |other: &String| {
            *other == name || other.starts_with(&folder) || name.starts_with(&format!("{other}/"))
        };
        let ours = [FRIENDLY.to_owned(), MANIFEST.to_owned()];
        let name = if ours.iter().chain(&self.names).any(taken) {
            format!("{OWN}/pages/{}.html", page.digest())
        } else {
            name
        };
        self.names.insert(name.clone());
        name
    }

    /// All parts of the pages that were kept, and of their style sheets.
    async fn assets(&mut self) {
        let mut origins = self.wanted.assets_from.clone();
        origins.insert(self.origin.clone());
        let mut asked = BTreeSet::new();
        let mut wave = Vec::new();
        for page in self.pages.values() {
            let mut lead = |link: Link, to: &Address| {
                if link == Link::Asset && origins.contains(&to.origin) {
                    wave.push(to.clone());
                }
                None
            };
            // It was read once already.
            let _ = rewrite::html(&page.text, &page.at, &self.wanted.words, &mut lead);
        }
        let mut sheets: Vec<(Address, Fetched)> = Vec::new();
        for _ in 0..=SHEETS_DEEP_MAX {
            wave.retain(|address| asked.insert(address.clone()));
            let room =
                self.wanted.bounds.assets_max.saturating_sub(self.assets.len() + sheets.len());
            if wave.len() > room {
                let (more, most) = (wave.len() - room, self.wanted.bounds.assets_max);
                let why = format!("{more} more parts are needed than the {most} that are copied");
                self.leave_out(LeftOut { address: self.origin.to_string(), why });
                wave.truncate(room);
            }
            let mut next = Vec::new();
            for (address, fetched) in self.fetch_all(&wave, &origins).await {
                match fetched.and_then(part) {
                    Ok(fetched) if is_css(&fetched.content_type) => {
                        let mut lead = |_, to: &Address| {
                            if origins.contains(&to.origin) {
                                next.push(to.clone());
                            }
                            None
                        };
                        let text = String::from_utf8_lossy(&fetched.body);
                        rewrite::css(&text, &fetched.at, &mut lead);
                        sheets.push((address, fetched));
                    }
                    Ok(fetched) => self.keep_asset(address, &fetched.content_type, fetched.body),
                    Err(why) => {
                        self.leave_out(LeftOut { address: address.to_string(), why });
                    }
                }
            }
            wave = next;
        }
        self.keep_sheets(sheets);
    }

    /// Sheets lead to files by their digests, so those that others import come first: the last found.
    fn keep_sheets(&mut self, sheets: Vec<(Address, Fetched)>) {
        for (address, fetched) in sheets.into_iter().rev() {
            let text = String::from_utf8_lossy(&fetched.body).into_owned();
            let assets = &self.assets;
            let mut lead = |_, to: &Address| {
                // All parts lie in one folder.
                assets.get(to).and_then(|name| name.rsplit('/').next()).map(str::to_owned)
            };
            let sheet = rewrite::css(&text, &fetched.at, &mut lead);
            self.keep_asset(address, "text/css; charset=utf-8", Bytes::from(sheet));
        }
    }

    fn keep_asset(&mut self, address: Address, content_type: &str, body: Bytes) {
        let end = extension(content_type);
        let name = format!("{OWN}/files/{}.{end}", address::digest(&body));
        self.asset_files.insert(name.clone(), (content_type.to_owned(), body));
        self.assets.insert(address, name);
    }

    /// A few at a time, in their order.
    async fn fetch_all(
        &mut self,
        wave: &[Address],
        origins: &BTreeSet<Origin>,
    ) -> Vec<(Address, Result<Fetched, String>)> {
        let (bounds, whole) = (self.wanted.bounds, self.until);
        let left = bounds.octets_max.saturating_sub(self.octets);
        let most = bounds.file_octets_max.min(left);
        let origins = Arc::new(origins.clone());
        let ask =
            |address: &Address| ask_for(address.clone(), Arc::clone(&origins), most, bounds, whole);
        let asks: Vec<_> = wave.iter().map(ask).collect();
        let mut asks = stream::iter(asks).buffered(AT_ONCE);
        let mut all = Vec::with_capacity(wave.len());
        // Counted as they come, so that no more than a few files are ever held beyond the bound.
        while let Some((address, fetched)) = asks.next().await {
            let fetched = fetched.and_then(|fetched| {
                let octets = self.octets.saturating_add(fetched.body.len());
                if octets > bounds.octets_max {
                    return Err(format!("there is no room left in {} octets", bounds.octets_max));
                }
                self.octets = octets;
                Ok(fetched)
            });
            all.push((address, fetched));
        }
        all
    }

    /// Everything with links between its files.
    fn bind(self, now: Timestamp) -> Copy {
        let mut files: BTreeMap<String, (String, Bytes)> = self.asset_files;
        let names: BTreeMap<&Address, &str> = self
            .leads
            .iter()
            .filter_map(|(asked, found)| Some((asked, self.pages.get(found)?.name.as_str())))
            .chain(self.pages.values().map(|page| (&page.at, page.name.as_str())))
            .collect();
        for page in self.pages.values() {
            let mut lead = |link: Link, to: &Address| match link {
                Link::Page => names.get(to).map(|name| relative(&page.name, name)),
                Link::Asset => self.assets.get(to).map(|name| relative(&page.name, name)),
            };
            // It was read before; should it fail now, nothing is kept under its name.
            if let Ok(text) = rewrite::html(&page.text, &page.at, &self.wanted.words, &mut lead) {
                files.insert(page.name.clone(), (HTML.to_owned(), Bytes::from(text)));
            }
        }
        let pages = self.pages.len();
        for (asked, found) in &self.leads {
            let (from, Some(page)) = (asked.page_name(), self.pages.get(found)) else { continue };
            let free = !files.contains_key(&from)
                && !files.keys().any(|other| {
                    other.starts_with(&format!("{from}/")) || from.starts_with(&format!("{other}/"))
                });
            if asked != found && free && !from.starts_with(OWN) && from != FRIENDLY {
                let body = signpost(&relative(&from, &page.name));
                files.insert(from, (HTML.to_owned(), Bytes::from(body)));
            }
        }
        let friendly = match &self.wanted.friendly {
            Some(text) if text.contains(MARK) => text.clone(),
            Some(text) => format!("{text}\n{MARK}\n"),
            None => built_in(self.wanted.retry_after),
        };
        let friendly = Bytes::from(friendly);
        if !files.contains_key("index.html") {
            files.insert("index.html".to_owned(), (HTML.to_owned(), friendly.clone()));
        }
        files.insert(FRIENDLY.to_owned(), (HTML.to_owned(), friendly));
        let part = |(content_type, body): &(String, Bytes)| Part {
            content_type: content_type.clone(),
            octets: body.len(),
        };
        let manifest = Manifest {
            version: 1,
            taken_at: now,
            listed: self.wanted.pages.iter().map(ToString::to_string).collect(),
            retry_after_seconds: self.wanted.retry_after.as_secs(),
            pages,
            octets: files.values().map(|(_, body)| body.len()).sum(),
            files: files.iter().map(|(name, file)| (name.clone(), part(file))).collect(),
            before: BTreeSet::new(),
        };
        let files = files.into_iter().map(|(name, (_, body))| (name, body)).collect();
        Copy { manifest, files, left_out: self.left_out }
    }
}

/// Both are the same page, if for a slash or an `index.html`.
fn is_same(asked: &Address, found: &Address) -> bool {
    let bare = |address: &Address| address.to_string().trim_end_matches('/').to_owned();
    asked.page_name() == found.page_name() || bare(asked) == bare(found)
}

const HTML: &str = "text/html; charset=utf-8";

fn late(until: Instant, within: Duration) -> String {
    if Instant::now() >= until {
        format!("the time for the whole copy, {}, is over", span(within))
    } else {
        "did not answer in time".to_owned()
    }
}

async fn ask_for(
    address: Address,
    origins: Arc<BTreeSet<Origin>>,
    octets_max: usize,
    bounds: Bounds,
    whole: Instant,
) -> (Address, Result<Fetched, String>) {
    let until = whole.min(Instant::now() + bounds.request_within);
    let got = timeout_at(until, get(&address, &origins, octets_max, bounds.request_within)).await;
    let got = got.unwrap_or_else(|_| Err(late(whole, bounds.within)));
    (address, got)
}

/// One file, over redirects that stay on these origins.
async fn get(
    address: &Address,
    origins: &BTreeSet<Origin>,
    octets_max: usize,
    within: Duration,
) -> Result<Fetched, String> {
    let mut at = address.clone();
    for _ in 0..=REDIRECTS_MAX {
        let url = at.to_string();
        let answer = fetch(Ask {
            method: Method::GET,
            url: &url,
            headers: vec![("accept", "*/*".to_owned())],
            body: Bytes::new(),
            answer_max: octets_max,
            within,
        })
        .await
        .map_err(|error| error.to_string())?;
        let status = answer.status();
        let header = |name| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        if status.is_redirection() {
            let to = header("location").and_then(|to| at.join(&to));
            let to = to.ok_or_else(|| format!("answers {status} and leads nowhere"))?;
            if !origins.contains(&to.origin) {
                return Err(format!("leads away to `{}`", to.origin));
            }
            at = to;
            continue;
        }
        if status != StatusCode::OK {
            return Err(format!("answers {status}"));
        }
        let content_type = header("content-type").unwrap_or_default();
        return Ok(Fetched { at, content_type, body: answer.into_body() });
    }
    Err(format!("redirects more than {REDIRECTS_MAX} times"))
}

fn kind(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_html(content_type: &str) -> bool {
    matches!(kind(content_type).as_str(), "text/html" | "application/xhtml+xml")
}

fn is_css(content_type: &str) -> bool {
    kind(content_type) == "text/css"
}

/// A page in place of a part of one is how many sites say that it is not there.
fn part(fetched: Fetched) -> Result<Fetched, String> {
    if is_html(&fetched.content_type) {
        return Err("is a page where a part of one is wanted".to_owned());
    }
    Ok(fetched)
}

/// How names of files end, for web servers that tell the kind by it.
fn extension(content_type: &str) -> &'static str {
    match kind(content_type).as_str() {
        "text/css" => "css",
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/avif" => "avif",
        "image/svg+xml" => "svg",
        "image/x-icon" | "image/vnd.microsoft.icon" => "ico",
        "font/woff" | "application/font-woff" => "woff",
        "font/woff2" => "woff2",
        "font/ttf" | "application/x-font-ttf" => "ttf",
        "font/otf" => "otf",
        "video/mp4" => "mp4",
        "audio/mpeg" => "mp3",
        "application/pdf" => "pdf",
        _ => "bin",
    }
}

/// For an address that led to another one.
fn signpost(link: &str) -> String {
    format!(
        "<!doctype html><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0;url={link}\">\
         <title>Moved</title><a href=\"{link}\">This page is here.</a>{MARK}\n"
    )
}

/// A page that needs no other file, is good on a phone, in the dark and without script, and looks again by
/// itself.
fn built_in(retry_after: Duration) -> String {
    format!(
        "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta http-equiv=\"refresh\" content=\"{seconds}\">
<meta name=\"robots\" content=\"noindex\">
<title>We will be right back</title>
<style>
:root {{ color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --soft: #595959; --link: #0b57d0 }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #121212; --ink: #ececec; --soft: #b0b0b0; --link: #a8c7fa }}
}}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper);
  color: var(--ink); font: 1.125rem/1.6 system-ui, sans-serif }}
main {{ max-width: 34rem; padding: 1.5rem }}
h1 {{ font-size: 1.75rem; line-height: 1.25; margin: 0 0 1rem }}
p {{ margin: 0 0 1rem }}
.soft {{ color: var(--soft); font-size: 1rem }}
a {{ color: var(--link) }}
</style>
</head>
<body>
<main>
<h1>We will be right back</h1>
<p>Something on our side is not working, and this page cannot be shown right now. It is not your fault, and
there is nothing that you need to do.</p>
<p><a href=\"/\">Go to the start page</a></p>
<p class=\"soft\">This page looks again by itself every {every}.</p>
</main>
</body>
</html>
{MARK}
",
        seconds = retry_after.as_secs().max(1),
        every = in_words(retry_after),
    )
}

fn in_words(time: Duration) -> String {
    let seconds = time.as_secs().max(1);
    let (count, unit) = match seconds {
        3600.. if seconds.is_multiple_of(3600) => (seconds / 3600, "hour"),
        60.. if seconds.is_multiple_of(60) => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    if count == 1 { unit.to_owned() } else { format!("{count} {unit}s") }
}
