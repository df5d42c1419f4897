//! The page for people. One file: style and script stand in it, and nothing is fetched from elsewhere.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::bulletin::{Incident, Light, Page, Phase};
use crate::domain::Timestamp;

const STYLE: &str = include_str!("page.css");

/// Turns the page into a warning when it is old: whoever publishes it may be down as well.
const SCRIPT: &str = include_str!("page.js");

pub(super) fn render(page: &Page) -> String {
    let (every, updated) = (page.renewed_every.as_secs(), page.updated_at.to_string());
    let markup = html! {
        (DOCTYPE)
        html lang="en" data-updated=(updated) data-every=(every) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="color-scheme" content="light dark";
                title { (headline(page)) " · " (page.title) }
                link rel="icon" href=(icon(page.overall));
                link rel="alternate" type="application/atom+xml" title=(page.title) href="feed.atom";
                link rel="alternate" type="application/json" href="status.json";
                style { (PreEscaped(STYLE)) }
            }
            body {
                div class="page" {
                    header { h1 { (page.title) } }
                    main { (content(page)) }
                    footer class="soft" {
                        p {
                            "Renewed at least every " (words(page.renewed_every))
                            ", also when there is nothing new. "
                            a href="feed.atom" { "Feed" } " · " a href="status.json" { "Data" }
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string()
}

fn content(page: &Page) -> Markup {
    let past: Vec<&Incident> = page.incidents.iter().filter(|one| one.until.is_some()).collect();
    html! {
        (banner(page))
        p id="old" class="note" role="status" hidden {}
        @if let Some(blind) = &page.blind {
            p class="note" {
                "Some of our own instruments have been silent " (blind)
                ", so what stands here may be incomplete."
            }
        }
        @if let Some(open) = page.open() {
            section aria-labelledby="now" {
                h2 id="now" { "What is happening" }
                (incident(page, open))
            }
        }
        section aria-labelledby="parts" {
            h2 id="parts" { "Components" }
            ul class="parts card" {
                @for part in &page.components {
                    li {
                        span { (part.name) }
                        span class={ "state " (class(part.state)) } { (mark(part.state)) (part.state) }
                    }
                }
            }
        }
        section aria-labelledby="past" {
            h2 id="past" { "Past incidents" }
            @if past.is_empty() { p class="soft" { "None that this page remembers." } }
            @for one in past { (incident(page, one)) }
        }
    }
}

fn banner(page: &Page) -> Markup {
    html! {
        div id="banner" class={ "banner " (class(page.overall)) } {
            (mark(page.overall))
            div {
                strong id="said" { (headline(page)) }
                p { "Last updated " (time(page.updated_at)) span id="age" {} }
                noscript {
                    p {
                        "Compare this with your clock: the page is renewed at least every "
                        (words(page.renewed_every)) ". If it is much older, do not rely on it."
                    }
                }
            }
        }
    }
}

fn headline(page: &Page) -> &'static str {
    let last = page.open().and_then(|open| open.updates.last());
    let watched = last.is_some_and(|update| update.phase == Phase::Monitoring);
    match page.overall {
        Light::Operational => "All is well",
        Light::Unknown => "We cannot tell just now",
        Light::Degraded if watched => "Working again, and being watched",
        Light::Degraded => "Working with difficulties",
        Light::PartialOutage => "Partly unavailable",
        Light::MajorOutage => "Not available",
    }
}

fn incident(page: &Page, incident: &Incident) -> Markup {
    let open = incident.until.is_none();
    let worst = incident.touched.values().copied().max().unwrap_or(Light::Degraded);
    // An open one is called what it is now, one that is over what it was at its worst.
    let worst = if open { page.overall } else { worst };
    // Renewed after the last word: nothing is new, and that is said too.
    let silent = open && incident.updates.last().is_some_and(|last| last.at < incident.renewed_at);
    html! {
        article id=(incident.id) class={ "incident card " (class(worst)) @if open { " open" } } {
            h3 { (page.names_of(incident)) ": " (worst) }
            p class="soft" {
                @match incident.until {
                    Some(until) => { (time(incident.since)) " · lasted " (length(incident.since, until)) }
                    None => { "Since " (time(incident.since)) }
                }
            }
            ol class="updates" {
                @if silent {
                    li {
                        p { span class="phase" { "No news" } span class="soft" { (time(incident.renewed_at)) } }
                        p { "What stands below still holds. We go on working on it." }
                    }
                }
                @for update in incident.updates.iter().rev() {
                    li {
                        p { span class="phase" { (update.phase) } span class="soft" { (time(update.at)) } }
                        p { (update.text) }
                    }
                }
            }
        }
    }
}

/// `15 minutes`, where that is a round number.
fn words(every: Duration) -> String {
    match every.as_secs() {
        60 => "minute".to_owned(),
        3600 => "hour".to_owned(),
        seconds if seconds % 3600 == 0 => format!("{} hours", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}

fn length(since: Timestamp, until: Timestamp) -> String {
    let minutes = until.since(since).as_secs().div_ceil(60).max(1);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn time(at: Timestamp) -> Markup {
    let text = at.to_string();
    let shown = text.get(..16).unwrap_or(&text).replace('T', " ") + " UTC";
    html! { time datetime=(text) { (shown) } }
}

const fn class(light: Light) -> &'static str {
    match light {
        Light::Operational => "operational",
        Light::Unknown => "unknown",
        Light::Degraded => "degraded",
        Light::PartialOutage => "partial_outage",
        Light::MajorOutage => "major_outage",
    }
}

/// A shape beside the word, so that nobody has to tell colours apart.
fn mark(light: Light) -> Markup {
    let shape = match light {
        Light::Operational => "M7.5 12.5l3 3 6-6.5",
        Light::Unknown => "M9.3 9.5a2.8 2.8 0 1 1 3.9 2.6c-.8.4-1.2.9-1.2 1.6M12 16.8v.1",
        Light::Degraded => "M12 7v6M12 16.6v.1",
        Light::PartialOutage => "M7.5 12h9",
        Light::MajorOutage => "M8.7 8.7l6.6 6.6M15.3 8.7l-6.6 6.6",
    };
    html! {
        svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.1"
            stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" {
            circle cx="12" cy="12" r="10" {}
            path d=(shape) {}
        }
    }
}

/// A dot in the tab, without another file.
fn icon(light: Light) -> String {
    let colour = match light {
        Light::Operational => "198754",
        Light::Unknown => "6b7787",
        Light::Degraded => "d98a00",
        Light::PartialOutage => "e0651a",
        Light::MajorOutage => "d0342c",
    };
    format!(
        "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='%23{colour}'/></svg>"
    )
}
