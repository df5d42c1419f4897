//! What a page and a style sheet look like in a copy: links lead to the copy, and what cannot work is gone or
//! says so. No IO.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;

use lol_html::html_content::{ContentType, Element, TextChunk};
use lol_html::{RewriteStrSettings, element, end, rewrite_str, text};

use super::Words;
use super::address::Address;

/// Stands in every page of a copy, so that nobody takes a copy of a copy.
pub(super) const MARK: &str = "<!-- leeward-copy -->";

/// What a reference is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Somewhere to go.
    Page,
    /// A part of the page.
    Asset,
}

/// Says where a reference leads in the copy; `None`: it stays where it is.
pub(super) type Lead<'a> = dyn FnMut(Link, &Address) -> Option<String> + 'a;

/// A page in its form for the copy.
pub(super) fn html(
    page: &str,
    at: &Address,
    words: &Words,
    lead: &mut Lead<'_>,
) -> Result<String, String> {
    let (page, base) = tidied(page, at)?;
    let pen = RefCell::new(Pen { base, at, lead });
    let (notice, form_notice) = (banner(&words.notice), banner(&words.form));
    let style = RefCell::new(String::new());
    let settings = RewriteStrSettings {
        element_content_handlers: vec![
            element!("*", |element: &mut Element<'_, '_>| {
                pen.borrow_mut().element(element);
                match element.tag_name().as_str() {
                    "body" => element.prepend(&notice, ContentType::Html),
                    "form" => element.prepend(&form_notice, ContentType::Html),
                    _ => {}
                }
                Ok(())
            }),
            text!("style", |chunk: &mut TextChunk<'_>| {
                // It comes in pieces; a piece may end within an address.
                style.borrow_mut().push_str(chunk.as_str());
                if chunk.last_in_text_node() {
                    let whole = style.take();
                    chunk.replace(&pen.borrow_mut().css(&whole), ContentType::Html);
                } else {
                    chunk.remove();
                }
                Ok(())
            }),
        ],
        document_content_handlers: vec![end!(|end| {
            end.append(MARK, ContentType::Html);
            Ok(())
        })],
        strict: false,
        ..RewriteStrSettings::new()
    };
    rewrite_str(&page, settings).map_err(|error| error.to_string())
}

/// Without scripts and what needs them, and what its links are relative to.
fn tidied(page: &str, at: &Address) -> Result<(String, Address), String> {
    let base: Cell<Option<Address>> = Cell::new(None);
    let settings = RewriteStrSettings {
        element_content_handlers: vec![
            element!("script, iframe, frame, object, embed, applet, portal", |element| {
                element.remove();
                Ok(())
            }),
            element!("noscript", |element| {
                // Its content is text to a parser for browsers with scripts, and markup from now on.
                element.remove_and_keep_content();
                Ok(())
            }),
            element!("base", |element| {
                let href = element.get_attribute("href").map(|href| decoded(&href));
                let first = base.take();
                base.set(first.or_else(|| at.join(&href?)));
                element.remove();
                Ok(())
            }),
            element!("meta[http-equiv]", |element| {
                let what = element.get_attribute("http-equiv").unwrap_or_default();
                // A refresh leads away, and a policy may forbid what the copy is made of.
                if !what.eq_ignore_ascii_case("content-type") {
                    element.remove();
                }
                Ok(())
            }),
        ],
        strict: false,
        ..RewriteStrSettings::new()
    };
    let tidied = rewrite_str(page, settings).map_err(|error| error.to_string())?;
    Ok((tidied, base.take().unwrap_or_else(|| at.clone())))
}

/// Writes references of one page.
struct Pen<'a, 'l> {
    base: Address,
    at: &'a Address,
    lead: &'a mut Lead<'l>,
}

/// What becomes of a `link`, by its `rel`.
enum Use {
    Asset,
    Page,
    /// A hint to fetch something, or the way to an application.
    Nothing,
}

fn use_of(rel: &str) -> Use {
    let rel = rel.to_ascii_lowercase();
    let mut words = rel.split_ascii_whitespace();
    if words.clone().any(|word| {
        matches!(word, "stylesheet" | "icon" | "apple-touch-icon" | "mask-icon" | "image_src")
    }) {
        Use::Asset
    } else if words.any(|word| {
        matches!(
            word,
            "preload"
                | "modulepreload"
                | "prefetch"
                | "prerender"
                | "preconnect"
                | "dns-prefetch"
                | "manifest"
        )
    }) {
        Use::Nothing
    } else {
        Use::Page
    }
}

impl Pen<'_, '_> {
    fn element(&mut self, element: &mut Element<'_, '_>) {
        let handlers: Vec<String> = element
            .attributes()
            .iter()
            .map(lol_html::html_content::Attribute::name)
            .filter(|name| name.starts_with("on") || name == "ping" || name == "integrity")
            .collect();
        for name in &handlers {
            element.remove_attribute(name);
        }
        if let Some(style) = element.get_attribute("style") {
            let style = self.css(&decoded(&style));
            set(element, "style", &style);
        }
        match element.tag_name().as_str() {
            "a" | "area" => self.lead(element, "href", Link::Page),
            "link" => match use_of(&element.get_attribute("rel").unwrap_or_default()) {
                Use::Asset => self.lead(element, "href", Link::Asset),
                Use::Page => self.lead(element, "href", Link::Page),
                Use::Nothing => element.remove(),
            },
            "img" | "source" | "audio" | "video" | "track" => {
                self.lead(element, "src", Link::Asset);
                self.lead(element, "poster", Link::Asset);
                self.candidates(element);
            }
            "image" | "use" => {
                self.lead(element, "href", Link::Asset);
                self.lead(element, "xlink:href", Link::Asset);
            }
            "form" => {
                element.remove_attribute("action");
                element.remove_attribute("method");
            }
            "input" | "button" | "select" | "textarea" => {
                self.lead(element, "src", Link::Asset);
                element.remove_attribute("formaction");
                set(element, "disabled", "");
            }
            _ => {}
        }
    }

    fn lead(&mut self, element: &mut Element<'_, '_>, name: &str, link: Link) {
        let Some(value) = element.get_attribute(name) else { return };
        match self.reference(&decoded(&value), link) {
            Some(to) => set(element, name, &to),
            None => element.remove_attribute(name),
        }
    }

    /// `srcset`: addresses, each with its width or density (HTML, "srcset attribute").
    fn candidates(&mut self, element: &mut Element<'_, '_>) {
        let Some(value) = element.get_attribute("srcset") else { return };
        let value = decoded(&value);
        let mut written = Vec::new();
        for candidate in value.split(", ").flat_map(|part| part.split(",\n")) {
            let mut words = candidate.split_ascii_whitespace();
            let Some(address) = words.next() else { continue };
            let Some(to) = self.reference(address.trim_end_matches(','), Link::Asset) else {
                continue;
            };
            let size = words.next().map(|size| format!(" {}", size.trim_end_matches(',')));
            written.push(format!("{to}{}", size.unwrap_or_default()));
        }
        set(element, "srcset", &written.join(", "));
    }

    /// What is written instead; `None` if it leads nowhere.
    fn reference(&mut self, text: &str, link: Link) -> Option<String> {
        let trimmed = text.trim();
        let Some(address) = self.base.join(trimmed) else {
            let scheme = trimmed.split(':').next().unwrap_or_default().to_ascii_lowercase();
            let stays = trimmed.starts_with('#')
                || matches!(scheme.as_str(), "mailto" | "tel" | "sms")
                || (link == Link::Asset && scheme == "data");
            return stays.then(|| trimmed.to_owned());
        };
        let mut to = match (self.lead)(link, &address) {
            Some(to) => to,
            None if address.origin == self.at.origin => address.on_host(),
            None => address.to_string(),
        };
        if let Some((_, fragment)) = trimmed.split_once('#') {
            to.push('#');
            to.push_str(fragment);
        }
        Some(to)
    }

    fn css(&mut self, sheet: &str) -> String {
        css_with(sheet, &mut |reference| self.reference(reference, Link::Asset))
    }
}

/// A style sheet in its form for the copy.
pub(super) fn css(sheet: &str, at: &Address, lead: &mut Lead<'_>) -> String {
    let mut pen = Pen { base: at.clone(), at, lead };
    pen.css(sheet)
}

/// Finds `url(...)` and `@import "..."`, outside of comments. What is written in another way stays.
fn css_with(sheet: &str, to: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut written = String::with_capacity(sheet.len());
    let mut rest = sheet;
    while !rest.is_empty() {
        if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").map_or(rest.len(), |end| end + 4);
            written.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let found = match import(rest) {
            Some(found) => Some(("@import url(", found)),
            None => url(rest).map(|found| ("url(", found)),
        };
        if let Some((word, (reference, after))) = found {
            let lead = to(reference).unwrap_or_default();
            written.push_str(word);
            for c in lead.chars() {
                match c {
                    '(' | ')' | '\'' | '"' | '\\' | ' ' => {
                        // Writing to a string cannot fail.
                        let _ = write!(written, "%{:02X}", u32::from(c));
                    }
                    '<' | '>' => {}
                    _ => written.push(c),
                }
            }
            written.push(')');
            rest = after;
            continue;
        }
        let next = rest.char_indices().nth(1).map_or(rest.len(), |(next, _)| next);
        written.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    written
}

/// The address in `url(...)` at the beginning, and what follows.
fn url(text: &str) -> Option<(&str, &str)> {
    let head = text.get(..4)?;
    if !head.eq_ignore_ascii_case("url(") {
        return None;
    }
    let inner = text[4..].trim_start();
    match inner.chars().next()? {
        quote @ ('"' | '\'') => {
            let (reference, after) = inner[1..].split_once(quote)?;
            let after = after.trim_start().strip_prefix(')')?;
            (!reference.contains('\\')).then_some((reference, after))
        }
        _ => {
            let (reference, after) = inner.split_once(')')?;
            (!reference.contains(['\\', '"', '\'', '('])).then_some((reference.trim_end(), after))
        }
    }
}

/// The address in `@import "..."` at the beginning, and what follows.
fn import(text: &str) -> Option<(&str, &str)> {
    let head = text.get(..7)?;
    if !head.eq_ignore_ascii_case("@import") {
        return None;
    }
    let inner = text[7..].trim_start();
    let quote = inner.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (reference, after) = inner[1..].split_once(quote)?;
    (!reference.contains('\\')).then_some((reference, after))
}

fn banner(words: &str) -> String {
    format!(
        "<p role=\"status\" style=\"margin:0;padding:.75em 1em;background:#fff4ce;color:#201600;\
         font:1rem/1.4 system-ui,sans-serif;border-bottom:1px solid #b58900\">{}</p>",
        encoded(words)
    )
}

fn set(element: &mut Element<'_, '_>, name: &str, value: &str) {
    // Names here are our own and valid; a value can be anything.
    let _ = element.set_attribute(name, &encoded(value));
}

/// As text within HTML and within quotes.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => encoded.push_str("&amp;"),
            '<' => encoded.push_str("&lt;"),
            '>' => encoded.push_str("&gt;"),
            '"' => encoded.push_str("&quot;"),
            '\'' => encoded.push_str("&#39;"),
            _ => encoded.push(c),
        }
    }
    encoded
}

/// The references that occur in addresses. Others stay as they are.
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        let meant = end.and_then(|end| character(&rest[1..end]));
        match (meant, end) {
            (Some(c), Some(end)) => {
                decoded.push(c);
                rest = &rest[end + 1..];
            }
            _ => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn character(name: &str) -> Option<char> {
    let number = |text: &str, base| u32::from_str_radix(text, base).ok().and_then(char::from_u32);
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let digits = name.strip_prefix('#')?;
            match digits.strip_prefix(['x', 'X']) {
                Some(digits) => number(digits, 16),
                None => number(digits, 10),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything on the own origin is in the copy, under the digest `x`.
    fn rewritten(page: &str) -> String {
        let at = Address::parse("https://a.example/shop/").unwrap();
        let words = Words { notice: "A <saved> copy.".to_owned(), form: "Not now.".to_owned() };
        let mut lead = |link, to: &Address| match link {
            Link::Page => (to.path == "/help").then(|| "../help/index.html".to_owned()),
            Link::Asset => (to.origin == at.origin).then(|| format!("../_leeward{}", to.path)),
        };
        html(page, &at, &words, &mut lead).unwrap()
    }

    #[test]
    fn links_lead_to_the_copy_or_stay() {
        let page = rewritten(
            "<a href='/help#faq'>1</a><a href=cart?a=1&amp;b=2>2</a><a href=https://b.example/x>3</a>\
             <a href=mailto:a@b.example>4</a><a href=' JavaScript:alert(1)'>5</a><a href='#top'>6</a>",
        );
        assert_eq!(
            page,
            "<a href=\"../help/index.html#faq\">1</a><a href=\"/shop/cart?a=1&amp;b=2\">2</a>\
             <a href=\"https://b.example/x\">3</a><a href=\"mailto:a@b.example\">4</a><a>5</a>\
             <a href=\"#top\">6</a><!-- leeward-copy -->"
        );
    }

    #[test]
    fn what_needs_scripts_is_gone_and_forms_say_so() {
        let page = rewritten(
            "<body onload=go()><script>document.write('<b>')</script><noscript><img src=/a.png></noscript>\
             <iframe src=/x></iframe><form action=/buy method=post><input name=q><button formaction=/y>Buy\
             </button></form></body>",
        );
        for gone in ["script", "iframe", "onload", "action", "method"] {
            assert!(!page.contains(gone), "{gone}: {page}");
        }
        assert!(page.contains("<img src=\"../_leeward/a.png\">"), "{page}");
        assert_eq!(page.matches("disabled").count(), 2, "{page}");
        assert!(page.contains("Not now.") && page.contains("A &lt;saved&gt; copy."), "{page}");
    }

    #[test]
    fn a_page_that_leads_away_by_itself_stays() {
        let page = rewritten(
            "<head><base href='/other/'><meta http-equiv=Refresh content='0;url=/'><meta charset=utf-8>\
             <link rel=preload href=/f.woff2><link rel='shortcut icon' href=i.ico integrity=sha384-x></head>",
        );
        assert!(
            !page.contains("Refresh") && !page.contains("base") && !page.contains("preload"),
            "{page}"
        );
        assert!(
            page.contains("href=\"../_leeward/other/i.ico\"") && !page.contains("sha384"),
            "{page}"
        );
    }

    #[test]
    fn pictures_in_all_sizes_and_styles_are_found() {
        let page = rewritten(
            "<img srcset='a.png 1x, b.png 2x'><style>p { background: url( 'c.png' ) } @import \"d.css\";\
             /* url(no.png) */</style><p style='background:url(&quot;e.png&quot;)'>",
        );
        assert!(
            page.contains("srcset=\"../_leeward/shop/a.png 1x, ../_leeward/shop/b.png 2x\""),
            "{page}"
        );
        assert!(page.contains("url(../_leeward/shop/c.png)"), "{page}");
        assert!(page.contains("@import url(../_leeward/shop/d.css);/* url(no.png) */"), "{page}");
        assert!(page.contains("style=\"background:url(../_leeward/shop/e.png)\""), "{page}");
    }

    #[test]
    fn odd_markup_and_odd_styles_come_to_an_end() {
        for page in [
            "<",
            "<a href",
            "<style>url(",
            "<style>@import \"",
            "&#xffffffff;",
            "<p style='/*'>",
            "<!--",
        ] {
            assert!(rewritten(page).ends_with(MARK) || page == "<!--", "{page}");
        }
        let mut none = |_: &str| None;
        for sheet in ["url(", "url('a", "@import", "/*", "/", "ü", "url(a\\)b)"] {
            assert_eq!(css_with(sheet, &mut none), sheet);
        }
        assert_eq!(decoded("a&#x26;b&amp;&#47;&nope;&"), "a&b&/&nope;&");
    }
}
