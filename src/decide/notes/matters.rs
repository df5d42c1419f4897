//! Matters beside the regions: the copy for the last resort, and messages that nobody understood.

use std::time::Duration;

use super::{Desk, Draft};
use crate::domain::InAnswers;
use crate::policy::LeverKind;
use crate::tell::{Account, Kind, Severity};

/// That messages are not understood is said once, and again when there are so many times more of them.
const MANY_TIMES_MORE: u64 = 100;
/// A message of long ago is nobody's matter any more.
const ASIDE_MATTERS: Duration = Duration::from_secs(24 * 3600);

impl Desk<'_> {
    /// The last resort gets older than it should.
    pub(super) fn site(&mut self) {
        let acts = self.case.acts;
        let (Some(site), Some((since, why))) = (&self.case.policy.site, &acts.site.failing) else {
            return;
        };
        let stays = match acts.site.copied_at {
            Some(at) => format!("visitors of the last resort would see the copy of {at}"),
            None => "visitors of the last resort would find no page".to_owned(),
        };
        let text =
            format!("no new copy of {} since {since}: {why}; {stays}", site.pages.join(", "));
        let account = Account {
            seen: vec![why.clone()],
            not_done: vec![stays],
            would_help: vec![
                "mend the page, or take it from `site.pages`; a smaller copy that is right is kept by \
                 `leeward snapshot-site --accept-smaller`"
                    .to_owned(),
            ],
            ..Account::default()
        };
        let (severity, kind) = (Severity::Warn, Kind::Changed);
        let key = format!("site:{since}");
        self.tell(Draft { severity, key, kind, about: &[], text: &text, account });
    }

    /// Somebody else turned switches. That is theirs: it is told, and nothing is done about it.
    pub(super) fn turned_elsewhere(&mut self) {
        for (lever, found) in &self.case.acts.elsewhere {
            let one = |(region, stands)| {
                let what = match lever {
                    LeverKind::Gates => "gate",
                    LeverKind::Arc => "routing control",
                    LeverKind::Weights => "record",
                };
                let how = match stands {
                    InAnswers::In => "lets it in".to_owned(),
                    InAnswers::Out => "keeps it out".to_owned(),
                    InAnswers::Part { closed, of } => format!("keeps {closed} of {of} parts out"),
                };
                format!("the {what} of `{region}` {how}")
            };
            let seen: Vec<String> =
                found.iter().map(|(region, stands)| one((region, *stands))).collect();
            let text = format!(
                "somebody else turned switches: {}, and that is not how Leeward left it",
                seen.join("; ")
            );
            let account = Account {
                seen,
                not_done: vec!["it is left as it is: whoever did it had a reason".to_owned()],
                would_help: vec![
                    "turn it back where it was turned, or say what is wanted with `leeward shift` or \
                     `leeward failback`"
                        .to_owned(),
                ],
                ..Account::default()
            };
            let how = found.iter().map(|(region, stands)| format!("{region}={:.2}", stands.open()));
            let key = format!("turned:{lever}:{}", how.collect::<Vec<_>>().join(","));
            let (severity, kind) = (Severity::Warn, Kind::Changed);
            self.tell(Draft { severity, key, kind, about: &[], text: &text, account });
        }
    }

    /// A switch keeps a region out, and the policy was started anew without it: nobody would open it.
    pub(super) fn forgotten(&mut self) {
        for (lever, region) in self.case.acts.forgotten(self.case.policy) {
            let text = format!(
                "lever `{lever}` keeps `{region}` out of the answers, and the policy does not know of it any more"
            );
            let account = Account {
                not_done: vec![format!("nothing lets `{region}` in again")],
                would_help: vec![
                    "give the policy that lever back until `leeward failback` is done, and take it out then"
                        .to_owned(),
                ],
                ..Account::default()
            };
            let key = format!("forgotten:{region}:{lever}");
            let (severity, kind) = (Severity::Warn, Kind::Changed);
            self.tell(Draft { severity, key, kind, about: &[], text: &text, account });
        }
    }

    /// Somebody sends what is not understood: perhaps an alarm that was set up wrongly.
    pub(super) fn kept_aside(&mut self) {
        let now = self.case.now;
        let Some(aside) =
            self.case.acts.aside.as_ref().filter(|aside| now.since(aside.last) < ASIDE_MATTERS)
        else {
            return;
        };
        let doors: Vec<String> =
            aside.doors.iter().map(|(door, why)| format!("by `{door}`: {why}")).collect();
        let many = aside.count.max(1).ilog(MANY_TIMES_MORE);
        let messages = if aside.count == 1 {
            "a message was".to_owned()
        } else {
            format!("{} messages were", aside.count)
        };
        let text = format!(
            "{messages} kept aside and not acted on since {}, {}; `quarantine` in the state directory has them",
            aside.since,
            doors.join(", ")
        );
        let account = Account {
            seen: doors,
            not_done: vec!["nothing follows from a message that is not understood".to_owned()],
            would_help: vec![
                "look at the files in `quarantine`, and mend who sends them, or `triggers` in the policy"
                    .to_owned(),
            ],
            ..Account::default()
        };
        let (severity, kind) = (Severity::Warn, Kind::Changed);
        // A door that was silent so far is news, however many came by the others.
        let key = format!("aside:{}:{many}:{}", aside.since, aside.doors.len());
        self.tell(Draft { severity, key, kind, about: &[], text: &text, account });
    }
}

/// What the end of a matter is called, by the key of its message.
pub(super) fn over(key: &str) -> String {
    let mut parts = key.split(':');
    let (what, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match what {
        "standby" => format!("over: `{name}` could take over again"),
        "zone" => format!("over: the zones of `{name}` are well again"),
        "zone-shift" => format!("over: `{name}` uses all its zones again"),
        "left-over" => format!("over: balancer `{name}` is configured as before its refresh again"),
        "apart" => format!("over: target groups of `{name}` and their twins have the same targets"),
        "stale" | "blind" => format!("over: the instruments of `{name}` can be relied on again"),
        "one_sided" => format!("over: probes of `{name}` and its users agree again"),
        "unseen" => format!("over: users of `{name}` are served again"),
        "control_plane" => "over: the DNS control plane answers again".to_owned(),
        "vantage" => "over: the probes have their network again".to_owned(),
        "channel" => format!("over: channel `{name}` takes messages again"),
        "site" => "over: there is a new copy for the last resort".to_owned(),
        "turned" => format!("over: the switches of `{name}` stand as Leeward left them"),
        "forgotten" => format!("over: the policy knows all switches of `{name}` again"),
        "aside" => "over: no message was kept aside for a day".to_owned(),
        "stuck" => "over: the change is no longer pending".to_owned(),
        _ => format!("over: {what} {name}").trim_end().to_owned(),
    }
}
