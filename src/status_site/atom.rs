//! The feed: one entry for each incident, renewed with each update (RFC 4287).

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use crate::bulletin::{Incident, Page};
use crate::domain::Timestamp;

pub(super) fn render(page: &Page) -> String {
    let mut feed = Feed(Writer::new_with_indent(Vec::new(), b' ', 1));
    // Writing into memory cannot fail.
    let _ = feed.whole(page);
    String::from_utf8(feed.0.into_inner()).unwrap_or_default() + "\n"
}

struct Feed(Writer<Vec<u8>>);

type Written = std::io::Result<()>;

impl Feed {
    fn whole(&mut self, page: &Page) -> Written {
        let id = |what: &str| format!("urn:leeward:{}:{what}", page.service);
        self.0.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
        let mut root = BytesStart::new("feed");
        root.push_attribute(("xmlns", "http://www.w3.org/2005/Atom"));
        self.0.write_event(Event::Start(root))?;
        self.text("id", &id("status"))?;
        self.text("title", &page.title)?;
        let newest = page.incidents.iter().map(updated).max().unwrap_or(page.updated_at);
        self.text("updated", &newest.to_string())?;
        self.open("author")?;
        self.text("name", &page.title)?;
        self.close("author")?;
        if let Some(url) = &page.url {
            self.link("alternate", url)?;
            self.link("self", &format!("{}/feed.atom", url.trim_end_matches('/')))?;
        }
        for incident in &page.incidents {
            self.entry(page, incident, &id(&incident.id))?;
        }
        self.close("feed")
    }

    fn entry(&mut self, page: &Page, incident: &Incident, id: &str) -> Written {
        self.open("entry")?;
        self.text("id", id)?;
        self.text("title", &title(page, incident))?;
        self.text("published", &incident.since.to_string())?;
        self.text("updated", &updated(incident).to_string())?;
        if let Some(url) = &page.url {
            self.link("alternate", &format!("{url}#{}", incident.id))?;
        }
        self.text("content", &content(incident))?;
        self.close("entry")
    }

    fn open(&mut self, name: &str) -> Written {
        self.0.write_event(Event::Start(BytesStart::new(name)))
    }

    fn close(&mut self, name: &str) -> Written {
        self.0.write_event(Event::End(BytesEnd::new(name)))
    }

    fn text(&mut self, name: &str, text: &str) -> Written {
        // A control character is not allowed in XML 1.0, escaped or not.
        let text: String =
            text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        self.open(name)?;
        self.0.write_event(Event::Text(BytesText::new(&text)))?;
        self.close(name)
    }

    fn link(&mut self, rel: &str, href: &str) -> Written {
        let mut link = BytesStart::new("link");
        link.push_attribute(("rel", rel));
        link.push_attribute(("href", href));
        self.0.write_event(Event::Empty(link))
    }
}

/// Renewals are no news: a reader of feeds should not be told every quarter of an hour.
fn updated(incident: &Incident) -> Timestamp {
    let last = incident.updates.last().map_or(incident.since, |update| update.at);
    incident.until.map_or(last, |until| until.max(last))
}

fn title(page: &Page, incident: &Incident) -> String {
    let worst = incident.touched.values().max().map_or(String::new(), |light| format!(": {light}"));
    let over = if incident.until.is_some() { " (over)" } else { "" };
    format!("{}{worst}{over}", page.names_of(incident))
}

fn content(incident: &Incident) -> String {
    let lines = incident.updates.iter().rev();
    let lines = lines.map(|update| format!("{} {}: {}", update.at, update.phase, update.text));
    lines.collect::<Vec<_>>().join("\n")
}
