//! The public status page as files: HTML that needs no script and no other file, JSON, and an Atom feed.
//! Rendering only: no IO.

mod atom;
mod html;

use crate::bulletin::Page;

/// A file of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: &'static str,
    pub content_type: &'static str,
    pub body: String,
}

/// All files of a page. The one for people comes last: what it links to is then there.
pub fn files(page: &Page) -> [File; 3] {
    let json = serde_json::to_string_pretty(page).unwrap_or_default() + "\n";
    let (atom, html) = (atom::render(page), html::render(page));
    let file = |name, content_type, body| File { name, content_type, body };
    [
        file("status.json", "application/json", json),
        file("feed.atom", "application/atom+xml; charset=utf-8", atom),
        file("index.html", "text/html; charset=utf-8", html),
    ]
}

#[cfg(test)]
mod tests;
