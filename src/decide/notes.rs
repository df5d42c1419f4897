//! Who must hear what, this round. A key stands for one message of one incident: the same key is not
//! delivered twice.

mod cures;
mod matters;
mod moves;
mod status;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::refresh::Treatment;
use super::respond::Response;
use super::{Case, Decision, Diagnosis, Finding, Hold, diagnose, hooks, is_stuck, shares};
use crate::domain::{RegionName, ServiceName, Timestamp, span};
use crate::health::{Instruments, Reading, RegionView};
use crate::memory::{HookState, Tellings, Told, is_grave};
use crate::plan::Wanted;
use crate::policy::{HookPhase, LeverKind, Mode};
use crate::ports::CallFailed;
use crate::tell::{Account, Kind, Letter, Note, Severity, Thread, Topic, Word};

/// A message that was not delivered is tried again after this long.
const RESEND: Duration = Duration::from_secs(60);

/// After so many losses of one message the wait doubles each time, so that a channel that is down for
/// hours is asked a few times an hour.
const RESEND_STEADY: u32 = 5;
const RESEND_MAX: Duration = Duration::from_secs(900);

/// The longest pause after a loss: a page must not wait longer for a channel that is back.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// That nothing is automatic is said so often: nobody should find it out on the day of the outage.
const OFF_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A matter that is over and comes back sooner is no news.
const AGAIN_AFTER: Duration = Duration::from_secs(6 * 3600);

/// A message that could not be delivered for a day is history.
const UNSAID_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Users are served while something is wrong: worth a word after this long.
const LEVER_OUT: Duration = Duration::from_secs(180);

/// What became of a hook is told within this time, or not at all.
const HOOK_NEWS: Duration = Duration::from_secs(3600);

pub(super) struct Facts<'a> {
    pub(super) sick: &'a BTreeSet<RegionName>,
    pub(super) treated: &'a BTreeMap<RegionName, Treatment>,
    pub(super) response: &'a Response,
    pub(super) away: bool,
}

struct Desk<'a> {
    case: &'a Case<'a>,
    decision: &'a Decision,
    /// The keys of what is the matter now, told already or not.
    current: BTreeSet<String>,
    out: Vec<Letter>,
}

/// A message before it has its place in a thread.
struct Draft<'t> {
    severity: Severity,
    key: String,
    kind: Kind,
    about: &'t [Topic],
    text: &'t str,
    account: Account,
}

pub(super) fn notes(case: &Case<'_>, decision: &Decision, facts: &Facts<'_>) -> Vec<Letter> {
    let mut desk = Desk { case, decision, current: BTreeSet::new(), out: Vec::new() };
    for name in facts.sick {
        desk.sick(name, facts);
    }
    desk.levers(facts);
    for (name, view) in &case.picture.regions {
        if let Some(finding) = diagnose::standby(case, name, view) {
            desk.standby(name, &finding);
        }
        if let Some(finding) = diagnose::zone(case, name, view) {
            desk.zone(name, &finding);
        }
        if let Some(finding) = diagnose::stale(case, name, view) {
            let what = match view.metrics {
                Instruments::Silent { .. } => vec![word(Word::MissingData)],
                Instruments::Odd { .. } => vec![word(Word::StaleData), word(Word::Clock)],
                Instruments::Old { .. } | Instruments::None | Instruments::Usable => {
                    vec![word(Word::StaleData), word(Word::MissingData), word(Word::Clock)]
                }
            };
            let topics: Vec<Topic> = what.into_iter().chain([region(name)]).collect();
            desk.say(
                Severity::Warn,
                format!("stale:{name}:{}", finding.since),
                &topics,
                &format!("`{name}`: {}", finding.evidence.join("; ")),
            );
        }
    }
    for (name, view) in &case.picture.regions {
        let long = |finding: &Finding| case.now.since(finding.since) >= diagnose::INSTRUMENTS_OUT;
        if let Some(finding) = diagnose::blind(case, name, view).filter(long) {
            let topics = [region(name), word(Word::MissingData)];
            let text = format!("`{name}`: {}", finding.evidence.join("; "));
            desk.say(Severity::Warn, format!("blind:{name}:{}", finding.since), &topics, &text);
        }
    }
    desk.hooks();
    desk.one_sided(facts);
    desk.unseen(facts);
    desk.vantages();
    desk.too_small();
    desk.moved();
    desk.waits_for_a_human();
    desk.channels();
    desk.site();
    desk.kept_aside();
    desk.turned_elsewhere();
    desk.forgotten();
    desk.left_behind();
    desk.off();
    desk.home_again(facts);
    desk.over();
    desk.status();
    desk.unsaid();
    paced(case, desk.out)
}

/// While messages get lost, one at a time: the most important, and a pause after each that was refused,
/// so that a channel that is throttled is not kept closed by our own haste. A status page goes other ways, at a
/// pace of its own: neither waits for the other.
fn paced(case: &Case<'_>, notes: Vec<Letter>) -> Vec<Letter> {
    if case.acts.told.all_said() {
        return notes;
    }
    let apart = |severity| case.policy.status_page.is_some() && severity == Severity::Status;
    let for_people = case.acts.told.values().filter(|told| !apart(told.severity));
    let lost = for_people.filter(|told| told.is_lost(case.now)).map(|told| told.at).max();
    let Some(lost) = lost.filter(|at| case.now.since(*at) < RESEND * 10) else { return notes };
    let for_people = case.acts.told.values().filter(|told| !apart(told.severity));
    let pause = pause(for_people, case.now);
    let (public, mut notes): (Vec<Letter>, Vec<Letter>) =
        notes.into_iter().partition(|letter| apart(letter.note.severity));
    notes.sort_by_key(|letter| match letter.note.severity {
        Severity::Page => 0,
        Severity::Status => 1,
        Severity::Warn => 2,
        Severity::Info => 3,
    });
    notes.truncate(usize::from(case.now.since(lost) >= pause));
    notes.extend(public);
    notes
}

/// Doubles with each loss since a message got through: a channel that wants longer pauses than ours would be kept
/// closed by us for ever.
fn pause<'a>(told: impl Iterator<Item = &'a Told> + Clone, now: Timestamp) -> Duration {
    let through = told.clone().filter(|told| told.delivered).map(|told| told.at).max();
    let since = |at: Timestamp| through.is_none_or(|through| at > through);
    let lost = told.filter(|told| told.is_lost(now) && since(told.at));
    let row: u32 = lost
        .map(|told| match &told.unsaid {
            Some(unsaid) if since(unsaid.since) => told.tries.max(1),
            Some(_) | None => 1,
        })
        .sum();
    RESEND.saturating_mul(1 << row.saturating_sub(1).min(8)).min(PAUSE_MAX)
}

/// Regions that carry traffic and are not known to be sick, whose counters say for long enough that users fail.
/// Nothing is moved on that alone.
pub(super) fn unseen<'c>(
    case: &'c Case<'_>,
    sick: &'c BTreeSet<RegionName>,
) -> impl Iterator<Item = (&'c RegionName, &'c RegionView, Timestamp)> {
    let patience = case.policy.judge.sustain * 2;
    let long = move |since: Timestamp| case.now.since(since) >= patience;
    case.picture.regions.iter().filter_map(move |(name, view)| {
        let since = view.traffic_bad_since.filter(|since| long(*since))?;
        // Where nobody is sent, nobody fails. Counters lag behind probes: right after an outage they still tell
        // of it.
        let found = case.share(name) > 0.0
            && !sick.contains(name)
            && view.outside.reading != Reading::Bad
            && view.good_since.is_none_or(long);
        found.then_some((name, view, since))
    })
}

impl Desk<'_> {
    fn say(&mut self, severity: Severity, key: String, about: &[Topic], text: &str) {
        let account = Account { seen: vec![text.to_owned()], ..Account::default() };
        self.tell(Draft { severity, key, kind: Kind::Changed, about, text, account });
    }

    fn tell(&mut self, draft: Draft<'_>) {
        let Draft { severity, key, kind, about, text, mut account } = draft;
        self.current.insert(key.clone());
        // Two regions of one incident are one message.
        if !self.is_news(&key) || self.out.iter().any(|letter| letter.key == key) {
            return;
        }
        let case = self.case;
        let automation_off = automation_off(case);
        let suffix = match &automation_off {
            Some(why) if severity == Severity::Page || case.acts.pin_at(case.now).is_none() => {
                format!(" (automation is off: {why})")
            }
            Some(_) | None => String::new(),
        };
        let goes_on = kind != Kind::Resolved && automation_off.is_none();
        if goes_on && account.to_stop.is_empty() {
            account.to_stop.push(how_to_stop(case));
        }
        let thread = self.thread(&key);
        let (sequence, first) = self.number(&key, &thread);
        let kind = if first && kind == Kind::Changed { Kind::Opened } else { kind };
        let note = Note {
            service: case.policy.service.clone(),
            at: case.now,
            severity,
            about: about.iter().cloned().collect(),
            text: format!("{}: {text}{suffix}", case.policy.service),
            thread,
            sequence,
            kind,
            account,
            automation_off,
            public: None,
        };
        self.out.push(Letter { key, note, page: None });
    }

    /// Not delivered yet, not on its way, and due. A matter that was over and is back is news after a while.
    fn is_news(&self, key: &str) -> bool {
        let (told, now) = (&self.case.acts.told, self.case.now);
        let Some(before) = told.get(key) else { return true };
        if before.delivered {
            let over = told.get(&over_key(key)).filter(|over| over.at > before.at);
            return over.is_some() && now.since(before.at) >= AGAIN_AFTER;
        }
        !before.is_on_its_way(now) && is_due(before, now)
    }

    /// Everything that is said during an incident belongs to it.
    fn thread(&self, key: &str) -> Thread {
        let service = &self.case.policy.service;
        if self.decision.incident || self.case.acts.incident_since.is_some() {
            Thread::incident(service, self.case.incident)
        } else {
            Thread::matter(service, key)
        }
    }

    /// The number of the message in its thread, and whether it is the first.
    fn number(&self, key: &str, thread: &Thread) -> (u32, bool) {
        let acts = self.case.acts;
        let kept = acts.told.get(key).and_then(|told| told.unsaid.as_ref()?.note.as_ref());
        if let Some(note) = kept.filter(|note| note.thread == *thread) {
            return (note.sequence, note.kind == Kind::Opened);
        }
        let known = acts.threads.get(thread).map_or(0, |numbered| numbered.last);
        let here = self.out.iter().filter(|letter| letter.note.thread == *thread);
        let last = here.map(|letter| letter.note.sequence).max().unwrap_or(0).max(known);
        (last.saturating_add(1), last == 0)
    }

    /// The first page of an incident: what is seen, what is done, what is not and why.
    fn sick(&mut self, name: &RegionName, facts: &Facts<'_>) {
        let Some(view) = self.case.picture.regions.get(name) else { return };
        let incident = self.case.incident;
        let causes = super::cause::lines(self.case.policy, view);
        let says = std::iter::once(view.outside.says.to_string()).chain(causes);
        let says = says.collect::<Vec<_>>().join("; ");
        let seen = format!("`{name}` is bad since {}: {says}", when(view.bad_since));
        if let Some(treatment) = facts.treated.get(name)
            && self.cured_in_place(name, view, &seen, treatment)
        {
            return;
        }
        let mut topics = vec![region(name), word(Word::RegionDown)];
        if diagnose::is_slow(view) {
            topics.push(word(Word::Latency));
        }
        if super::respond::is_overloaded(self.case, name) {
            topics.extend([word(Word::Capacity), word(Word::Overload)]);
        }
        if view.spells > 1 {
            topics.push(word(Word::Flapping));
        }
        let (does, mut more) = self.what_is_done(facts);
        topics.append(&mut more);
        let key = if facts.response.nowhere { "nowhere" } else { "evacuate" };
        let which = self.which_loss(name);
        let key = match blocking(&self.decision.holds) {
            Some(kind) => format!("{key}:{kind}:{incident}{which}"),
            None => format!("{key}:{incident}{which}"),
        };
        let mut account = self.account(format!("`{name}`: {says}"), name);
        match &self.decision.wanted {
            Some(_) => account.done.push(does.clone()),
            None if account.not_done.is_empty() => account.not_done.push(does.clone()),
            None => {}
        }
        if let Some(common) = &facts.response.common {
            let change = common.change.as_deref().unwrap_or("the change or dependency they share");
            account.would_help.insert(0, format!("undo {change}"));
        }
        let undone = self.decision.calls.iter().any(|call| call.phase == HookPhase::Rollback);
        let stands =
            self.decision.wanted.is_none() && !undone && needs_a_human(&self.decision.holds);
        let kind = if stands { Kind::NeedsYou } else { Kind::Changed };
        let text = format!("{seen}. {does}");
        let (severity, about) = (Severity::Page, topics.as_slice());
        self.tell(Draft { severity, key, kind, about, text: &text, account });
    }

    /// What is seen of a region, and what stands in the way of doing something about it.
    fn account(&self, seen: String, name: &RegionName) -> Account {
        let mut account = Account { seen: vec![seen], ..Account::default() };
        if let Some(view) = self.case.picture.regions.get(name)
            && view.traffic_bad_since.is_some()
        {
            account.seen.push(format!("users of `{name}`: {}", view.traffic.says));
        }
        if let Some(finding) = self.decision.findings.first() {
            account.seen.push(format!("taken for {}", finding.diagnosis));
        }
        if self.decision.wanted.is_none() {
            account.not_done = self.decision.holds.iter().map(ToString::to_string).collect();
            account.would_help = self.decision.holds.iter().map(Hold::flips_when).collect();
            account.would_help.dedup();
        }
        account
    }

    fn what_is_done(&self, facts: &Facts<'_>) -> (String, Vec<Topic>) {
        let mut topics = Vec::new();
        let moves = matches!(self.decision.wanted, Some(Wanted::Move(_)));
        if facts.response.common.is_some() {
            topics.extend([word(Word::Correlated), word(Word::Deploy)]);
        }
        if let Some(common) = facts.response.common.as_ref().filter(|_| !moves) {
            let change = common.change.as_deref().unwrap_or("a shared dependency or a change");
            let undoes = self.decision.calls.iter().find(|call| call.phase == HookPhase::Rollback);
            let text = match undoes {
                Some(call) => format!(
                    "The same fault is in every region, {change} is the suspect: nothing is moved, hook `{}` is \
                     called to undo it",
                    call.hook
                ),
                None => format!(
                    "The same fault is in every region, {change} is the suspect: nothing is moved, undo the change"
                ),
            };
            if facts.response.nowhere {
                topics.push(word(Word::NoSafeTarget));
            }
            return (text, topics);
        }
        if facts.response.nowhere {
            topics.push(word(Word::NoSafeTarget));
        }
        if facts.response.partial
            || self.decision.holds.iter().any(|h| matches!(h, Hold::NoRoom { .. }))
        {
            topics.extend([word(Word::Capacity), word(Word::Overload)]);
        }
        if let Some(Wanted::Move(wanted)) = &self.decision.wanted {
            topics.push(word(Word::Shifted));
            return (
                format!("Moving traffic: {}", shares::changes(&wanted.from, &wanted.to)),
                topics,
            );
        }
        for hold in &self.decision.holds {
            topics.extend(match blocking_kind(hold) {
                Some("lag") => Some(word(Word::Replication)),
                Some("approval" | "pinned") => Some(word(Word::OperatorHold)),
                Some("lever") => Some(word(Word::ControlPlane)),
                Some(_) | None => None,
            });
        }
        let why: Vec<String> = self.decision.holds.iter().map(ToString::to_string).collect();
        let patient = self.decision.holds.iter().find_map(|hold| {
            let Hold::NotSustained { since, needs, .. } = hold else { return None };
            facts.response.nowhere.then(|| since.plus(*needs))
        });
        let text = if let Some((until, resort)) = patient.zip(self.case.policy.last_resort()) {
            format!(
                "No region is fit to take the traffic. If that is still so at {until}, visitors are sent to the \
                 last resort `{resort}`"
            )
        } else if why.is_empty() {
            "Nothing more is to be moved now".to_owned()
        } else {
            format!("Nothing is moved: {}", why.join("; "))
        };
        (text, topics)
    }

    /// A lever that does not do what it should.
    fn levers(&mut self, facts: &Facts<'_>) {
        self.switches(facts);
        let incident = self.case.incident;
        if let Some(order) =
            self.case.acts.order.as_ref().filter(|order| is_stuck(self.case, order))
        {
            let since = order.accepted_at().unwrap_or(order.intended_at);
            let text =
                format!("the change accepted at {since} is still pending; it is not given again");
            let topics = [word(Word::StuckChange), word(Word::ControlPlane)];
            self.say(Severity::Page, format!("stuck:{since}"), &topics, &text);
        }
        let state = self
            .case
            .acts
            .levers
            .get(&LeverKind::Weights)
            .filter(|state| state.failures_in_a_row > 0);
        let failure = state.and_then(|state| state.last_failure.as_ref());
        let mut topics = vec![word(Word::ControlPlane)];
        if failure.is_some_and(|(_, failure)| matches!(failure, CallFailed::Throttled { .. })) {
            topics.push(word(Word::Throttle));
        }
        topics.extend(facts.sick.iter().map(region));
        if let Some((_, failure)) = failure.filter(|_| !facts.sick.is_empty()) {
            let text = format!(
                "the DNS control plane does not take our change: {failure}; trying again at a civil pace"
            );
            self.say(Severity::Page, format!("control_plane:{incident}"), &topics, &text);
            return;
        }
        let unread = self.case.unread_since();
        if let Some(since) = unread.filter(|since| self.case.now.since(*since) >= LEVER_OUT) {
            let text = format!("the DNS records cannot be read since {since}");
            let severity = if facts.sick.is_empty() { Severity::Warn } else { Severity::Page };
            self.say(severity, format!("control_plane:{incident}:{severity:?}"), &topics, &text);
        }
    }

    /// A switch that does not turn: somebody should look, also when the next lever did it.
    fn switches(&mut self, facts: &Facts<'_>) {
        for kind in [LeverKind::Gates, LeverKind::Arc] {
            let state = self.case.acts.levers.get(&kind);
            let Some(state) = state.filter(|state| state.failures_in_a_row > 0) else { continue };
            let Some((at, failure)) = &state.last_failure else { continue };
            let topics: Vec<Topic> = facts.sick.iter().map(region).collect();
            let severity = if facts.sick.is_empty() { Severity::Warn } else { Severity::Page };
            let key = format!("switch:{kind}:{}:{severity:?}", state.first_failure.unwrap_or(*at));
            self.say(severity, key, &topics, &format!("lever `{kind}` does not turn: {failure}"));
        }
    }

    fn standby(&mut self, name: &RegionName, finding: &Finding) {
        let others = self.case.policy.serving().filter(|(other, _)| *other != name);
        let safe = others.filter(|(other, _)| self.case.share(other) < 0.5).any(|(other, _)| {
            self.case
                .picture
                .regions
                .get(other)
                .is_some_and(|v| v.outside.reading == Reading::Good && v.unfit.is_none())
        });
        let mut topics = vec![region(name)];
        if !safe {
            topics.push(word(Word::NoSafeTarget));
        }
        let text = format!("`{name}` could not take over: {}", finding.evidence.join("; "));
        self.say(Severity::Warn, format!("standby:{name}:{}", finding.since), &topics, &text);
    }

    /// Probes and users disagree for longer than a region may be bad: somebody should look.
    fn one_sided(&mut self, facts: &Facts<'_>) {
        let patience = self.case.policy.judge.sustain * 2;
        for (name, view) in &self.case.picture.regions {
            let carrying = self.case.share(name) > 0.0;
            if facts.sick.contains(name) || !carrying {
                continue;
            }
            let now = self.case.now;
            if let Some(since) =
                view.bad_since.filter(|since| now.since(*since) >= patience && view.still_bad)
            {
                let causes = super::cause::lines(self.case.policy, view);
                let what = ["probably the probe".to_owned()].into_iter().chain(causes);
                let text = format!(
                    "probes of `{name}` fail since {since} ({}), but its users are served ({}): {}",
                    view.outside.says,
                    view.traffic.says,
                    what.collect::<Vec<_>>().join("; ")
                );
                self.say(
                    Severity::Warn,
                    format!("one_sided:{name}:{since}"),
                    &[region(name), word(Word::ProbeNetwork)],
                    &text,
                );
            }
        }
    }

    /// What could not be delivered is still said when the matter itself is over.
    fn unsaid(&mut self) {
        let case = self.case;
        if case.acts.told.all_said() {
            return;
        }
        for (key, told) in case.acts.told.iter() {
            let Some(unsaid) = told.unsaid.as_ref().filter(|_| told.severity != Severity::Status)
            else {
                continue;
            };
            let known = self.out.iter().any(|letter| letter.key == *key);
            if known
                || told.is_on_its_way(case.now)
                || !is_due(told, case.now)
                || case.now.since(unsaid.since) >= UNSAID_KEPT
            {
                continue;
            }
            let note = match &unsaid.note {
                Some(note) => (**note).clone(),
                // From the journal of an earlier version.
                None => {
                    let thread = Thread::matter(&case.policy.service, key);
                    let (sequence, _) = self.number(key, &thread);
                    Note {
                        service: case.policy.service.clone(),
                        at: unsaid.since,
                        severity: told.severity,
                        about: unsaid.about.iter().cloned().collect(),
                        text: unsaid.text.clone(),
                        thread,
                        sequence,
                        kind: Kind::Changed,
                        account: Account::default(),
                        automation_off: automation_off(case),
                        public: None,
                    }
                }
            };
            self.out.push(Letter { key: key.clone(), note, page: None });
        }
    }

    /// The other way round: users fail and probes do not say so. Nothing is moved on that alone, so a human must
    /// know soon.
    fn unseen(&mut self, facts: &Facts<'_>) {
        for (name, view, since) in unseen(self.case, facts.sick) {
            let (probes, look) = match view.outside.reading {
                Reading::Unknown => ("probes cannot tell", ""),
                Reading::Good | Reading::Bad => {
                    ("probes are well", "the probes may look too shallowly; ")
                }
            };
            let text = format!(
                "users of `{name}` fail since {since} ({}), but {probes} ({}): {look}nothing is moved on counters alone",
                view.traffic.says, view.outside.says
            );
            self.say(Severity::Page, format!("unseen:{name}:{since}"), &[region(name)], &text);
        }
    }

    fn vantages(&mut self) {
        let found: Vec<Finding> = self
            .decision
            .findings
            .iter()
            .filter(|f| matches!(f.diagnosis, Diagnosis::ObserverIsolated | Diagnosis::PathBroken))
            .cloned()
            .collect();
        for finding in found {
            let text = finding.evidence.join("; ");
            let key = format!("vantage:{}:{text}", finding.since);
            self.say(Severity::Warn, key, &[word(Word::ProbeNetwork)], &text);
        }
    }

    /// A standby that could not carry everybody is an incident before it is needed.
    fn too_small(&mut self) {
        let case = self.case;
        let Some(needs) = shares::demand(case.policy, case.picture) else { return };
        for (name, _) in case.policy.serving().filter(|(name, _)| case.share(name) < 0.5) {
            let Some(room) = shares::room(case.policy, case.picture, name) else { continue };
            let others: f64 = case
                .policy
                .serving()
                .filter(|(other, _)| *other != name && case.share(other) < 0.5)
                .filter_map(|(other, _)| shares::room(case.policy, case.picture, other))
                .sum();
            if room + others < needs && room > 0.0 {
                let text =
                    format!("`{name}` has room for {room:.0} of {needs:.0} requests per second");
                self.say(
                    Severity::Warn,
                    format!("too_small:{name}"),
                    &[region(name), word(Word::Capacity)],
                    &text,
                );
            }
        }
    }

    /// Home is well again, and only a human may say when traffic goes there.
    fn waits_for_a_human(&mut self) {
        let holds = &self.decision.holds;
        let Some(hold @ Hold::FailbackManual { home }) =
            holds.iter().find(|hold| matches!(hold, Hold::FailbackManual { .. }))
        else {
            return;
        };
        // A region that was left is bad still, more often than not.
        let well = self.case.picture.regions.get(home).is_some_and(|view| {
            view.outside.reading == Reading::Good && view.traffic.reading != Reading::Bad
        });
        if !well {
            return;
        }
        let incident = self.case.incident;
        let (home, why, flips) = (home.clone(), hold.to_string(), hold.flips_when());
        let text = format!("`{home}` is well again; {why}");
        let account = Account {
            seen: vec![format!("`{home}` is well again")],
            not_done: vec![why],
            would_help: vec![flips],
            ..Account::default()
        };
        self.tell(Draft {
            severity: Severity::Info,
            key: format!("go_home:{incident}"),
            kind: Kind::NeedsYou,
            about: &[region(&home)],
            text: &text,
            account,
        });
    }

    /// A way to people that does not work is said on those that do.
    fn channels(&mut self) {
        for (channel, dead) in &self.case.acts.dead_channels {
            let text =
                format!("channel `{channel}` takes no messages since {}: {}", dead.since, dead.why);
            self.say(Severity::Warn, format!("channel:{channel}:{}", dead.since), &[], &text);
        }
    }

    /// Said daily, whether or not anything is wrong.
    fn off(&mut self) {
        let case = self.case;
        let Some(why) = automation_off(case) else { return };
        let said =
            case.acts.told.iter().filter(|(key, told)| key.starts_with("off:") && told.delivered);
        // A human who has just ordered a hold knows of it.
        let known = case.acts.pin_at(case.now).map(|pin| pin.since);
        let last = said.map(|(_, told)| told.at).chain(known).max();
        if last.is_some_and(|at| case.now.since(at) < OFF_EVERY) {
            return;
        }
        let text = format!("automation is off: {why}; it is only told what is seen");
        let account = Account {
            not_done: vec![why],
            would_help: vec![
                "`mode: auto` or `approve` in the policy, or `leeward resume`".to_owned(),
            ],
            ..Account::default()
        };
        // The text says it itself.
        self.tell_plainly(Draft {
            severity: Severity::Info,
            key: format!("off:{}", last.map_or(0, Timestamp::as_secs)),
            kind: Kind::Changed,
            about: &[],
            text: &text,
            account,
        });
    }

    /// Without the word about automation behind it.
    fn tell_plainly(&mut self, draft: Draft<'_>) {
        let text = format!("{}: {}", self.case.policy.service, draft.text);
        let key = draft.key.clone();
        self.tell(draft);
        if let Some(letter) = self.out.last_mut().filter(|letter| letter.key == key) {
            letter.note.text = text;
        }
    }

    /// A matter outside of incidents that is no longer there: whoever keeps alerts closes its own.
    fn over(&mut self) {
        let case = self.case;
        // With windows that are not full nothing is the matter.
        let warm = case.evidence.started().map(|at| at.plus(case.policy.judge.window * 2));
        if warm.is_none_or(|warm| case.now < warm) {
            return;
        }
        let service = &case.policy.service;
        for (key, thread) in lasting(service, &case.acts.told, case.now) {
            if self.current.contains(key) {
                continue;
            }
            let over = over_key(key);
            let text = matters::over(key);
            let (thread, account) = (thread.clone(), Account::default());
            let (kind, severity) = (Kind::Resolved, Severity::Info);
            let before = self.out.len();
            self.tell_plainly(Draft {
                severity,
                key: over,
                kind,
                about: &[],
                text: &text,
                account,
            });
            if self.out.len() > before {
                let (sequence, _) = self.number("", &thread);
                if let Some(letter) = self.out.last_mut() {
                    (letter.note.thread, letter.note.sequence) = (thread, sequence);
                }
            }
        }
    }

    /// Hooks that stand in the way or went wrong, and the undoing of a change.
    fn hooks(&mut self) {
        let case = self.case;
        let undoing = |state: &&HookState| {
            state.phase == HookPhase::Rollback && case.now.since(state.called_at) < HOOK_NEWS
        };
        for state in case.acts.hooks.values().filter(undoing) {
            self.undoing(state);
        }
        let failed: Vec<_> = case
            .acts
            .hooks
            .iter()
            .filter(|(_, state)| state.phase != HookPhase::Rollback)
            .filter_map(|(key, state)| Some((key, &state.hook, hooks::failed_at(state)?)))
            .filter(|(_, _, (at, _, _))| case.now.since(*at) < HOOK_NEWS)
            .collect();
        for (key, name, (_, answer, says)) in failed {
            // The move waits for it: somebody has to look. The same no again is not said again.
            let in_the_way = self
                .decision
                .holds
                .iter()
                .any(|hold| matches!(hold, Hold::HookVetoed { hook, .. } if hook == name));
            let severity = if in_the_way { Severity::Page } else { Severity::Warn };
            let what = if in_the_way { "keeps traffic from moving" } else { "did not do its part" };
            let text = format!("hook `{name}` {what} ({answer:?}): {says}");
            let kind = if in_the_way { Kind::NeedsYou } else { Kind::Changed };
            let account = Account { seen: vec![text.clone()], ..Account::default() };
            let (key, about) = (format!("hook:{key}:{what}"), &[word(Word::OperatorHold)]);
            self.tell(Draft { severity, key, kind, about, text: &text, account });
        }
    }

    fn undoing(&mut self, state: &HookState) {
        let (hook, version) = (&state.hook, state.version.as_deref().unwrap_or("the change"));
        let topics = [word(Word::Deploy), word(Word::Correlated)];
        let (severity, what, text) = match hooks::failed_at(state) {
            Some((_, _, says)) => (
                Severity::Page,
                "failed",
                format!("hook `{hook}` did not undo `{version}`: {says}. Undo the change by hand"),
            ),
            None if state.ended.is_some() => (
                Severity::Warn,
                "ended",
                format!("hook `{hook}` has undone `{version}`; the regions are watched"),
            ),
            None => (Severity::Warn, "begun", format!("hook `{hook}` undoes `{version}` now")),
        };
        let key = format!("rollback:{hook}:{}:{what}", state.called_at);
        self.say(severity, key, &topics, &text);
    }

    fn home_again(&mut self, facts: &Facts<'_>) {
        let case = self.case;
        if let Some(since) =
            case.acts.incident_since.filter(|_| !self.decision.incident && !facts.away)
        {
            let text = format!(
                "over after {}: every region is well and traffic is where it belongs",
                span(case.now.since(since))
            );
            let account = Account { seen: vec![text.clone()], ..Account::default() };
            self.tell(Draft {
                severity: Severity::Info,
                key: format!("recovered:{since}"),
                kind: Kind::Resolved,
                about: &[word(Word::Recovered), region(&case.home)],
                text: &text,
                account,
            });
        }
    }
}

/// What keeps a move from being made, in a word: a change of it is news.
fn blocking(holds: &[Hold]) -> Option<&'static str> {
    holds.iter().filter_map(blocking_kind).find(|kind| *kind != "lever")
}

fn blocking_kind(hold: &Hold) -> Option<&'static str> {
    let kinds = [
        ("approval", matches!(hold, Hold::ApprovalNeeded { .. } | Hold::Denied { .. })),
        ("pinned", matches!(hold, Hold::Pinned { .. } | Hold::Blocked { .. })),
        ("lag", matches!(hold, Hold::LagTooHigh { .. } | Hold::LagUnknown { .. })),
        ("room", matches!(hold, Hold::NoRoom { .. })),
        ("budget", matches!(hold, Hold::ShiftsExhausted { .. } | Hold::Latched { .. })),
        ("hook", matches!(hold, Hold::HookVetoed { .. })),
        ("lever", matches!(hold, Hold::LeverImpaired { .. } | Hold::AnswersUnknown)),
    ];
    kinds.into_iter().find(|(_, is)| *is).map(|(kind, _)| kind)
}

fn is_due(told: &Told, now: Timestamp) -> bool {
    let doubled = told.tries.saturating_sub(RESEND_STEADY).min(10);
    now.since(told.at) >= RESEND.saturating_mul(1 << doubled).min(RESEND_MAX)
}

/// Grave matters outside of incidents that were told within a day and not called over since.
pub(super) fn lasting<'a>(
    service: &'a ServiceName,
    told: &'a Tellings,
    now: Timestamp,
) -> impl Iterator<Item = (&'a String, &'a Thread)> {
    let young = move |at: Timestamp| now.since(at) < UNSAID_KEPT;
    let any = told.grave_until().is_some_and(young);
    told.iter().take_while(move |_| any).filter_map(move |(key, matter)| {
        let thread = matter.thread.as_ref().filter(|_| is_grave(matter) && young(matter.at))?;
        let own = *thread == Thread::matter(service, key);
        let said = || told.get(&over_key(key)).is_some_and(|over| over.at > matter.at);
        (own && !said()).then_some((key, thread))
    })
}

fn over_key(key: &str) -> String {
    format!("over:{key}")
}

/// Why nothing is moved whatever is seen, if that is so.
fn automation_off(case: &Case<'_>) -> Option<String> {
    match case.policy.mode {
        Mode::Observe | Mode::Advise => {
            let mode = format!("{:?}", case.policy.mode).to_lowercase();
            return Some(format!("mode is `{mode}`, nothing is moved"));
        }
        Mode::Approve | Mode::Auto => {}
    }
    case.acts.pin_at(case.now).map(|pin| {
        let end = pin.until.map_or(String::new(), |until| format!(" until {until}"));
        format!("held by {}{end}: {}", pin.by, pin.reason)
    })
}

fn how_to_stop(case: &Case<'_>) -> String {
    format!("`leeward hold {} --for 2h --reason TEXT`", case.policy.service)
}

/// Nothing goes on by itself.
fn needs_a_human(holds: &[Hold]) -> bool {
    holds.iter().any(|hold| {
        matches!(
            hold,
            Hold::ApprovalNeeded { .. }
                | Hold::Denied { .. }
                | Hold::Pinned { .. }
                | Hold::Blocked { .. }
                | Hold::Latched { .. }
                | Hold::ShiftsExhausted { .. }
                | Hold::ModeObserves { .. }
                | Hold::LagTooHigh { .. }
                | Hold::LagUnknown { .. }
                | Hold::NoRoom { .. }
                | Hold::CommonCause { .. }
                | Hold::DeploySuspected { .. }
                | Hold::NowhereToGo
                | Hold::RefreshExhausted { .. }
        )
    })
}

fn region(name: &RegionName) -> Topic {
    Topic::Region(name.clone())
}

fn word(word: Word) -> Topic {
    Topic::Word(word)
}

fn when(at: Option<Timestamp>) -> String {
    at.map_or("now".to_owned(), |at| at.to_string())
}
