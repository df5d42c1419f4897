//! What stands on the page, and what must never stand there.

use std::collections::BTreeMap;
use std::time::Duration;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::*;
use crate::bulletin::{Bulletin, Chronicle, Frame, Light, Phase, Update};
use crate::domain::Timestamp;

const BEGAN: i64 = 1_795_262_640;

fn frame() -> Frame {
    Frame {
        service: "shop".parse().unwrap(),
        title: "Shop <status> & \"more\"".to_owned(),
        url: Some("https://status.example.com/".to_owned()),
        renewed_every: Duration::from_secs(900),
        components: vec![
            ("shop".to_owned(), "Web shop".to_owned()),
            ("pay".to_owned(), "Payments".to_owned()),
        ],
    }
}

fn bulletin(minute: i64, shop: Light, open: bool, said: Option<(Phase, &str)>) -> Bulletin {
    let at = Timestamp::from_secs(BEGAN + 60 * minute);
    let components =
        BTreeMap::from([("shop".to_owned(), shop), ("pay".to_owned(), Light::Operational)]);
    let began = Timestamp::from_secs(BEGAN);
    Bulletin {
        at,
        components,
        incident: open.then(|| ("shop-20261121T120400Z".to_owned(), began)),
        update: said.map(|(phase, text)| Update { at, phase, text: text.to_owned() }),
        blind: None,
        unworded: false,
    }
}

fn page(bulletins: &[Bulletin]) -> Page {
    let mut told = Chronicle::default();
    for one in bulletins {
        told.take(one);
    }
    Page::of(&frame(), &told, Timestamp::from_secs(BEGAN))
}

fn outage() -> Vec<Bulletin> {
    vec![
        bulletin(0, Light::MajorOutage, true, Some((Phase::Investigating, "We look into <it>."))),
        bulletin(15, Light::MajorOutage, true, None),
    ]
}

fn html(page: &Page) -> String {
    files(page)[2].body.clone()
}

#[test]
fn an_open_incident_is_shown_with_all_that_was_said() {
    let html = html(&page(&outage()));
    for text in ["Not available", "What is happening", "We look into &lt;it&gt;.", "No news"] {
        assert!(html.contains(text), "{text} is missing in\n{html}");
    }
    assert!(html.contains("Shop &lt;status&gt; &amp; &quot;more&quot;"), "{html}");
    assert!(html.contains("data-updated=\"2026-11-21T12:19:00Z\" data-every=\"900\""), "{html}");
    assert!(html.contains(">2026-11-21 12:19 UTC</time>"), "without script the time is visible");
    assert!(html.contains("<noscript>") && !html.contains("All is well</strong>"));
}

#[test]
fn nothing_is_fetched_from_elsewhere() {
    let html = html(&page(&outage()));
    for foreign in ["src=", "@import", "url(", "//cdn", "integrity="] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    let links = html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    for link in links {
        let own = ["data:", "feed.atom", "status.json"].iter().any(|own| link.starts_with(own));
        assert!(own, "{link}");
    }
}

#[test]
fn what_is_over_is_history() {
    let mut all = outage();
    all.push(bulletin(30, Light::Operational, false, Some((Phase::Resolved, "Over."))));
    let page = page(&all);
    let html = html(&page);
    assert!(html.contains("All is well</strong>") && html.contains("lasted 30 min"), "{html}");
    assert!(!html.contains("What is happening"));
    assert_eq!(page.incidents[0].updates.len(), 2);
}

#[test]
fn silent_instruments_are_admitted() {
    let mut blind = bulletin(0, Light::Unknown, false, None);
    blind.blind = Some("since 2026-11-21 12:00 UTC".to_owned());
    let html = html(&page(&[blind]));
    assert!(html.contains("We cannot tell just now"), "{html}");
    assert!(html.contains("have been silent since 2026-11-21 12:00 UTC"), "{html}");
}

#[test]
fn the_feed_is_xml_with_one_entry_for_each_incident() {
    let feed = files(&page(&outage()))[1].body.clone();
    let mut reader = Reader::from_str(&feed);
    let (mut entries, mut depth) = (0, 0);
    loop {
        let event = reader.read_event().unwrap();
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "what is neither begins nor ends anything"
        )]
        match event {
            Event::Start(start) => {
                depth += 1;
                entries += usize::from(start.name().as_ref() == "entry");
            }
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!((entries, depth), (1, 0), "{feed}");
    assert!(feed.contains("<id>urn:leeward:shop:shop-20261121T120400Z</id>"), "{feed}");
    // Renewals are no news for readers of feeds.
    assert_eq!(feed.matches("<updated>2026-11-21T12:04:00Z</updated>").count(), 2, "{feed}");
}

#[test]
fn the_data_say_the_same() {
    let data: serde_json::Value = serde_json::from_str(&files(&page(&outage()))[0].body).unwrap();
    assert_eq!(data["overall"], "major_outage");
    assert_eq!(data["components"][0]["state"], "major_outage");
    assert_eq!(data["renewed_every"], 900);
    assert_eq!(data["incidents"][0]["updates"][0]["phase"], "investigating");
}
