//! Addresses of pages and their assets, and under which name each is kept. No IO.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

/// A longer address is nobody's page.
const LENGTH_MAX: usize = 2048;
/// Folders above a page; deeper ones are kept flat under a digest.
const FOLDERS_MAX: usize = 12;
/// A part of a file's name, in octets; file systems take 255.
const PART_MAX: usize = 120;
/// Where our own files lie in a copy. No page gets a name in there.
pub(super) const OWN: &str = "_leeward";

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    secure: bool,
    /// With the port, if it is not the scheme's own; in small letters.
    authority: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

/// An absolute `http` or `https` address without fragment, in one form for all ways to write it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub origin: Origin,
    /// Begins with `/`, has no `.` and `..`, only visible ASCII.
    pub path: String,
    pub query: Option<String>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.on_host())
    }
}

impl Address {
    /// `None` for what is no such address, or has a user in it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = cleaned(text)?;
        let (scheme, rest) = split_scheme(&text)?;
        let secure = is_secure(scheme)?;
        Self::after_scheme(secure, rest)
    }

    fn after_scheme(secure: bool, rest: &str) -> Option<Self> {
        let rest = rest.strip_prefix("//")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let origin = Origin { secure, authority: authority_of(secure, authority)? };
        let (path, query) = parts(rest);
        Some(Self { origin, path: without_dots(&encoded(path)), query: query.map(encoded) })
    }

    /// Where a reference on this page leads to (RFC 3986, section 5.2). `None` if that is nothing that can be
    /// fetched: another scheme, a script, a fragment of the page itself.
    pub fn join(&self, reference: &str) -> Option<Self> {
        let text = cleaned(reference)?;
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        if let Some((scheme, rest)) = split_scheme(&text) {
            return Self::after_scheme(is_secure(scheme)?, rest);
        }
        if text.starts_with("//") {
            return Self::after_scheme(self.origin.secure, &text);
        }
        let (path, query) = parts(&text);
        let (path, query) = if path.is_empty() {
            (self.path.clone(), query.map(encoded).or_else(|| self.query.clone()))
        } else if path.starts_with('/') {
            (without_dots(&encoded(path)), query.map(encoded))
        } else {
            let folder = self.path.rfind('/').map_or("/", |end| &self.path[..=end]);
            (without_dots(&format!("{folder}{}", encoded(path))), query.map(encoded))
        };
        Some(Self { origin: self.origin.clone(), path, query })
    }

    /// Path and query, as one would write them on any page of the same host.
    pub fn on_host(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The name of the file that a web server shows for this page: folders get an `index.html`. Names that
    /// are odd in any way are kept under a digest: those only links lead to.
    pub fn page_name(&self) -> String {
        let by_digest = || format!("{OWN}/pages/{}.html", self.digest());
        if self.query.is_some() {
            return by_digest();
        }
        let parts: Option<Vec<String>> =
            self.path.split('/').filter(|part| !part.is_empty()).map(plain).collect();
        let Some(mut parts) = parts.filter(|parts| parts.len() <= FOLDERS_MAX) else {
            return by_digest();
        };
        if parts.first().is_some_and(|first| first == OWN) {
            return by_digest();
        }
        let is_file = !self.path.ends_with('/')
            && parts.last().is_some_and(|last| {
                let last = last.to_ascii_lowercase();
                [".html", ".htm", ".xhtml"].iter().any(|end| last.ends_with(end))
            });
        if !is_file {
            parts.push("index.html".to_owned());
        }
        parts.join("/")
    }

    /// The same for the same address, different for others.
    pub(super) fn digest(&self) -> String {
        digest(self.to_string().as_bytes())
    }
}

/// Sixteen octets of SHA-256, in hexadecimal digits.
pub(super) fn digest(octets: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(octets).iter().take(16) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// How a link in the file `from` leads to the file `to`.
pub(super) fn relative(from: &str, to: &str) -> String {
    let from: Vec<&str> = from.split('/').collect();
    let folders = &from[..from.len().saturating_sub(1)];
    let target: Vec<&str> = to.split('/').collect();
    let shared = folders
        .iter()
        .zip(&target[..target.len().saturating_sub(1)])
        .take_while(|(a, b)| a == b)
        .count();
    let mut link = "../".repeat(folders.len() - shared);
    let parts: Vec<String> = target[shared..].iter().map(|part| escaped(part)).collect();
    link.push_str(&parts.join("/"));
    link
}

/// Whether a name may be joined to the directory of a copy, whoever wrote it down.
pub(super) fn is_safe_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    parts.len() <= FOLDERS_MAX + 2
        && parts.iter().all(|part| plain(part).is_some_and(|decoded| decoded == *part))
}

/// White space around it and line ends in it do not count; backslashes are slashes to a browser.
fn cleaned(text: &str) -> Option<String> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    let mut cleaned = path.replace('\\', "/");
    cleaned.push_str(rest);
    cleaned.retain(|c| !matches!(c, '\t' | '\n' | '\r'));
    (cleaned.len() <= LENGTH_MAX && !cleaned.chars().any(char::is_control)).then_some(cleaned)
}

/// Scheme and the rest after the colon.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    fits.then_some((scheme, rest))
}

fn is_secure(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Some(false),
        "https" => Some(true),
        _ => None,
    }
}

fn authority_of(secure: bool, text: &str) -> Option<String> {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if text.is_empty() || !text.chars().all(allowed) {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let own = if secure { ":443" } else { ":80" };
    let text = text.strip_suffix(own).unwrap_or(&text);
    (!text.starts_with(':')).then(|| text.to_owned())
}

/// Path and query; the fragment is left out.
fn parts(text: &str) -> (&str, Option<&str>) {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

/// What may not stand in a request as it is, in percent signs.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'`') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// For a link within HTML: only letters, digits and what needs no escape anywhere.
fn escaped(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// RFC 3986, section 5.2.4. Encoded dots are dots to browsers.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => {
                kept.push(part);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// A part of a path as the name of a file or folder: decoded, and nothing in it that means something to a
/// file system, a web server or a shell. `None` if it is not that plain.
fn plain(part: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            octets.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            octets.push(byte);
        }
    }
    let text = String::from_utf8(octets).ok()?;
    let fits =
        |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | ',' | '=');
    let plain = !text.is_empty()
        && text.len() <= PART_MAX
        && !text.starts_with('.')
        && !text.ends_with('.')
        && text.chars().all(fits);
    plain.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn references_lead_where_a_browser_goes() {
        let base = page("https://Shop.Example:443/a/b/c?x=1#top");
        assert_eq!(base.to_string(), "https://shop.example/a/b/c?x=1");
        for (reference, expected) in [
            ("d", "https://shop.example/a/b/d"),
            ("./d/", "https://shop.example/a/b/d/"),
            ("../d", "https://shop.example/a/d"),
            ("../../../../d", "https://shop.example/d"),
            ("..", "https://shop.example/a/"),
            ("%2e%2E/d", "https://shop.example/a/d"),
            ("/d?y#z", "https://shop.example/d?y"),
            ("?y=2", "https://shop.example/a/b/c?y=2"),
            ("//other.example/x", "https://other.example/x"),
            ("http://other.example:8080", "http://other.example:8080/"),
            (" \n /d e ", "https://shop.example/d%20e"),
            ("\\d\\e", "https://shop.example/d/e"),
            ("/ü", "https://shop.example/%C3%BC"),
        ] {
            let found = base.join(reference).map(|address| address.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{reference}");
        }
    }

    #[test]
    fn what_cannot_be_fetched_is_nothing() {
        let base = page("https://shop.example/");
        for reference in [
            "",
            "#top",
            "javascript:alert(1)",
            "data:image/png;base64,AAAA",
            "mailto:a@b.example",
            "file:///etc/passwd",
            "https://",
            "https://user@shop.example/",
            "https://shop.example:80 80/",
            "a\u{0}b",
        ] {
            assert_eq!(base.join(reference), None, "{reference}");
        }
        assert_eq!(base.join(&"a".repeat(3000)), None);
    }

    #[test]
    fn a_page_is_kept_where_its_address_leads() {
        for (address, name) in [
            ("https://a.example/", "index.html"),
            ("https://a.example/help", "help/index.html"),
            ("https://a.example/help/", "help/index.html"),
            ("https://a.example/help/faq.html", "help/faq.html"),
            ("https://a.example/v1.2", "v1.2/index.html"),
            ("https://a.example//help", "help/index.html"),
            ("https://a.example/%C3%BCber", "über/index.html"),
        ] {
            assert_eq!(page(address).page_name(), name, "{address}");
        }
    }

    #[test]
    fn hostile_paths_stay_within_the_copy() {
        for address in [
            "https://a.example/..%2f..%2fetc/passwd",
            "https://a.example/%2e%2e%2f%2e%2e%2fetc",
            "https://a.example/a%00b",
            "https://a.example/a%5C..%5Cb",
            "https://a.example/.ssh/authorized_keys",
            "https://a.example/.leeward-tmp",
            "https://a.example/_leeward/copy.json",
            "https://a.example/a?b=../../c",
            "https://a.example/a%0Ab",
            "https://a.example/%FF",
            "https://a.example/a%",
            "https://a.example/;rm -rf",
        ] {
            let name = page(address).page_name();
            assert!(name.starts_with("_leeward/pages/") && is_safe_name(&name), "{address} {name}");
        }
        let deep = page(&format!("https://a.example{}", "/a".repeat(40))).page_name();
        assert!(deep.starts_with("_leeward/pages/"), "{deep}");
        let long = page(&format!("https://a.example/{}", "a".repeat(300))).page_name();
        assert!(long.starts_with("_leeward/pages/"), "{long}");
        for name in ["../a", "a/../b", "/etc/passwd", "a//b", "", ".", "a/.git", "a\\b", "a\u{0}"] {
            assert!(!is_safe_name(name), "{name}");
        }
        assert!(is_safe_name("über/index.html") && is_safe_name("_leeward/copy.json"));
    }

    #[test]
    fn links_between_files_are_relative() {
        for (from, to, link) in [
            ("index.html", "help/index.html", "help/index.html"),
            ("help/index.html", "index.html", "../index.html"),
            ("help/a/index.html", "help/b/index.html", "../b/index.html"),
            ("help/index.html", "help/index.html", "index.html"),
            ("a/b.html", "_leeward/files/x.css", "../_leeward/files/x.css"),
            ("index.html", "über/index.html", "%C3%BCber/index.html"),
        ] {
            assert_eq!(relative(from, to), link, "{from} to {to}");
        }
    }
}
