//! Which balancer it is shows later than that the region is in trouble: vantages agree on the region first.

use leeward::memory::Abort;
use leeward::tell::Severity;

use super::*;

/// What the three vantages see of the two balancers in the east, and what its counters say.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    web: &'static str,
    api: &'static str,
    /// Of `web` and of `api`.
    counters: [char; 2],
}

impl Parts {
    pub(super) const fn new(web: &'static str, api: &'static str) -> Self {
        Self { web, api, counters: ['b', 'b'] }
    }

    pub(super) const fn with(self, counters: char) -> Self {
        self.each(counters, counters)
    }

    pub(super) const fn each(self, web: char, api: char) -> Self {
        Self { counters: [web, api], ..self }
    }
}

/// Each balancer is seen bad by one vantage, so two of three see the region bad and no two agree why.
const SPLIT: Parts = Parts::new("x..", ".x.");
/// The same with the vantages exchanged: by turns with the other, both balancers fail half of the time by
/// two vantages, and never in the newest probes of both.
const TURNED: Parts = Parts::new(".x.", "x..");
pub(super) const WEB: Parts = Parts::new("~~~", ".x.");
pub(super) const BOTH: Parts = Parts::new("~~~", "~~~");

pub(super) const REFRESH: (&str, &str) =
    ("guards:", "refresh: { order: [east-web, east-api], wait: 5m, tries: 1 }\nguards:");

impl Picture {
    pub(super) fn grey(&mut self, parts: Parts) -> char {
        let mut samples = Vec::new();
        for (place, vantage) in ["one", "two", "three"].into_iter().enumerate() {
            self.probe(&mut samples, "west", vantage, '.');
            for (part, seen) in [("east-web", parts.web), ("east-api", parts.api)] {
                let (success, latency_ms) = match seen.chars().nth(place) {
                    Some('x') => (0.0, None),
                    Some('~') => (0.5, Some(200.0)),
                    Some('z') => (0.4, Some(9000.0)),
                    Some('?') => continue,
                    _ => (1.0, Some(100.0)),
                };
                let about = About {
                    region: Some("east".parse().unwrap()),
                    balancer: Some(part.parse().unwrap()),
                    vantage: Some(vantage.parse().unwrap()),
                };
                let failure = self.fails_by.filter(|_| success < 1.0);
                let measure = Measure::Probe { success, latency_ms, failure };
                self.sample(&mut samples, "probes", Class::Outside, about, measure);
            }
        }
        for (part, drawn) in ["east-web", "east-api"].into_iter().zip(parts.counters) {
            let mut all = Vec::new();
            self.counters(&mut all, "east", drawn);
            let of_it = |sample: &Sample| {
                sample.about.balancer.as_ref().is_none_or(|name| name.as_str() == part)
            };
            samples.extend(all.into_iter().filter(of_it));
        }
        self.counters(&mut samples, "west", '.');
        self.decide(samples, Vec::new())
    }

    pub(super) fn greys(&mut self, steps: usize, parts: Parts) -> String {
        (0..steps).map(|_| self.grey(parts)).collect()
    }

    pub(super) fn refreshed(&self) -> Vec<String> {
        self.memory.acts.refreshes.keys().map(ToString::to_string).collect()
    }
}

/// The round in which a region is left that nothing else can help.
pub(super) fn left_at(parts: Parts) -> usize {
    let mut picture = Picture::new(policy(&[]));
    picture.greys(24, parts).find('S').expect("it is left")
}

/// The region is bad for long enough before the balancer that explains it is: the refresh is waited for.
#[test]
fn a_region_is_kept_until_the_balancer_that_ails_it_is_sure() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    let left = left_at(SPLIT);
    let before = left - 3;
    assert!(!picture.greys(before, SPLIT).contains('R'));
    let after = picture.greys(16, WEB);
    // It was time to leave the region, and for two minutes to come the balancer was not bad for long.
    assert_eq!(after.find(|done| done != '-'), after.find('R'), "{after}");
    let refreshed = after.find('R').expect("it is refreshed");
    assert!((10..=14).contains(&refreshed), "two minutes after it was bad: {after}");
    assert_eq!(picture.refreshed(), ["east-web"]);
    picture.finds(Diagnosis::BalancerFault);
}

#[test]
fn what_is_waited_for_is_said() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    picture.greys(left_at(SPLIT) - 3, SPLIT);
    assert_eq!(picture.greys(6, WEB), "------");
    picture.finds(Diagnosis::BalancerFault);
    picture.holds(|hold| {
        matches!(hold, Hold::BalancerUnsure { balancer, .. } if balancer.as_str() == "east-web")
    });
}

/// A region that is not to be left yet is not kept either: nothing is said before it is time.
#[test]
fn nothing_is_waited_for_before_the_region_could_be_left() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    for _ in 0..left_at(BOTH) {
        assert_eq!(picture.grey(BOTH), '-');
        let decision = picture.last.as_ref().unwrap();
        assert!(!decision.incident, "{:?}", decision.holds);
        assert!(decision.holds.iter().all(|hold| !matches!(hold, Hold::BalancerUnsure { .. })));
    }
    assert_eq!(picture.grey(BOTH), 'R');
}

/// A balancer that drops half of the requests answers the newest probe as often as not.
#[test]
fn one_lucky_probe_does_not_leave_a_region_that_a_refresh_would_cure() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    let left = left_at(BOTH);
    picture.greys(left, BOTH);
    // Of three vantages two still see the region bad, and none two the same balancer.
    assert_eq!(picture.grey(SPLIT), '-');
    picture.holds(|hold| matches!(hold, Hold::BalancerUnsure { .. }));
    assert_eq!(picture.grey(BOTH), 'R');
}

/// The doubt ends: after the time that it takes to be sure, the region is left whatever the balancers do.
#[test]
fn a_region_is_not_kept_for_ever_for_balancers_that_come_and_go() {
    let turns = |mut picture: Picture| -> String {
        let parts = |step: usize| if step.is_multiple_of(2) { SPLIT } else { TURNED };
        (0..40).map(|step| picture.grey(parts(step))).collect()
    };
    let done = turns(Picture::new(policy(&[REFRESH])));
    let at_once = turns(Picture::new(policy(&[])));
    let (left, at_once) = (done.find('S').expect("left at last"), at_once.find('S').unwrap());
    assert_eq!(left - at_once, 12, "two minutes later: {done}");
    assert!(!done.contains('R'), "{done}");
}

/// What explained the trouble is well again or cannot be seen any more, and the trouble stays.
#[test]
fn a_region_is_left_when_no_balancer_explains_its_trouble_any_more() {
    let blind = Parts::new("x??", "??x");
    for (what, parts, within) in [
        ("the balancers are well", SPLIT, 6),
        ("their probes are silent", blind, 6),
        ("their targets fail", WEB.with('x'), 6),
        ("nobody counts", WEB.with('?'), 20),
    ] {
        let mut picture = Picture::new(policy(&[REFRESH]));
        picture.greys(left_at(SPLIT) - 3, SPLIT);
        assert_eq!(picture.greys(5, WEB), "-----", "{what}");
        let done = picture.greys(24, parts);
        let left = done.find('S');
        assert!(left.is_some_and(|at| at <= within), "{what}: {done}");
    }
}

/// Not a round is lost where no refresh could help.
#[test]
fn trouble_that_balancers_do_not_explain_is_left_as_soon_as_without_them() {
    // Targets of one balancer fail as well: a refresh of the other would cure half of it at best.
    let mixed = BOTH.each('b', 'x');
    let dark = Parts::new("xxx", "xxx").with('?');
    // Balancers count what a region does not answer, or too late, as errors of their own.
    let (hanging, crawling) = (dark.with('b'), Parts::new("zzz", "zzz"));
    let targets = [BOTH.with('x'), SPLIT.with('x'), mixed];
    for parts in
        [dark, dark.with('.'), hanging, crawling, SPLIT, WEB.with('?')].into_iter().chain(targets)
    {
        let [with, without] = [&[REFRESH][..], &[]].map(|changes| {
            let mut picture = Picture::new(policy(changes));
            picture.greys(30, parts)
        });
        assert_eq!(with, without, "{} {} {:?}", parts.web, parts.api, parts.counters);
    }
}

/// A second balancer falls ill while the first is proven: what is not clear of it yet is no reason to leave.
#[test]
fn a_balancer_that_falls_ill_later_does_not_stop_the_refresh_of_the_first() {
    let first = Parts::new("~~~", "...").each('b', '.');
    // Not all vantages see it yet, and its own counters come late.
    let second = Parts::new("~~~", "xx.").each('b', '.');
    let refreshed = Picture::new(policy(&[REFRESH])).greys(30, first).find('R').unwrap();
    for younger in 1..=8 {
        let mut picture = Picture::new(policy(&[REFRESH]));
        assert!(!picture.greys(refreshed - younger, first).contains(['R', 'S']));
        let done = picture.greys(younger + 2, second);
        assert_eq!(done.find(['R', 'S']), done.find('R'), "ill for {younger} steps: {done}");
        assert!(done.contains('R'), "ill for {younger} steps: {done}");
    }
    // Nor where the first is waited for.
    let mut picture = Picture::new(policy(&[REFRESH]));
    picture.greys(refreshed, first);
    assert_eq!(picture.grey(Parts::new("~..", "xx.").each('b', '.')), '-');
    picture.holds(|hold| matches!(hold, Hold::BalancerUnsure { .. }));
    // One whose trouble lasts as long and is not its own is no matter of balancers.
    assert!(!Picture::new(policy(&[REFRESH])).greys(30, second).contains('R'));
}

/// The smallest change that a verdict names is one, and a smaller one is none.
#[test]
fn what_would_change_a_verdict_does_and_less_does_not() {
    let left = left_at(BOTH);
    let turns_if = |picture: &Picture| {
        picture.last.as_ref().unwrap().findings.first().unwrap().turns_if.clone().unwrap()
    };
    let two_well = Parts::new("~..", "~..");
    for (parts, moves) in [(BOTH, 'S'), (Parts::new("~~.", "~~."), 'S'), (two_well, '-')] {
        let mut picture = Picture::new(policy(&[]));
        assert!(!picture.greys(left, BOTH).contains('S'));
        assert_eq!(picture.grey(parts), moves, "{} {}", parts.web, parts.api);
        if moves == 'S' {
            let said = turns_if(&picture);
            assert_eq!(said, "the newest probes of 2 of the 3 vantages that see it bad are well");
        }
    }
    let mut calm = Picture::new(policy(&[]));
    calm.greys(20, Parts::new("...", "...").with('.'));
    let said = turns_if(&calm);
    let judge = &calm.policy.judge;
    assert!(said.contains(&format!("less than {}", judge.success_below)), "{said}");
    assert!(said.contains("(now 100%) as 2 of 3 vantages see it"), "{said}");
}

/// The same where the newest probes of those with failing targets happened to go well.
#[test]
fn one_balancer_is_not_waited_for_while_the_targets_of_another_fail() {
    let [with, without] = [&[REFRESH][..], &[]].map(|changes| {
        let mut picture = Picture::new(policy(changes));
        let api = |step: usize| if step.is_multiple_of(2) { "x.." } else { ".x." };
        let mut done = String::new();
        for step in 0..30 {
            let web = if step < 10 { "..." } else { "~~~" };
            done.push(picture.grey(Parts::new(web, api(step)).each('b', 'x')));
        }
        done
    });
    assert_eq!(with, without);
    assert!(with.contains('S'), "{with}");
}

/// One that was refreshed as often as allowed is not waited for.
#[test]
fn what_was_refreshed_and_is_bad_again_is_not_waited_for() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    let refreshed = picture.greys(30, WEB).find('R').expect("it is refreshed");
    let watched = refreshed + 30;
    assert!(!picture.greys(watched - 30 - 3, SPLIT).contains(['R', 'S']));
    let done: Vec<char> =
        (0..12).map(|_| picture.grey(WEB)).take_while(|done| *done != 'S').collect();
    assert!(done.len() <= 4, "{done:?}");
    picture.holds(|hold| matches!(hold, Hold::RefreshExhausted { .. }));
}

/// `give_up: page` stands also in a round in which the newest probes of the balancer went well.
#[test]
fn a_page_instead_of_a_move_is_not_undone_by_a_lucky_probe() {
    let mut picture = Picture::new(policy(&LADDER));
    let web = Parts::new("~~~", "...");
    let climbed = picture.greys(90, web);
    assert_eq!(climbed.matches('R').count(), 2, "{climbed}");
    for _ in 0..4 {
        for parts in [Parts::new("~..", ".x."), web, web, web] {
            assert_eq!(picture.grey(parts), '-');
            picture.holds(|hold| matches!(hold, Hold::RefreshExhausted { .. }));
        }
    }
}

/// The first balancer wakes somebody up; who is awake hears of the second in the same thread.
#[test]
fn the_second_balancer_is_told_as_well_and_wakes_nobody() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    picture.tells = true;
    let mut letters = Vec::new();
    for _ in 0..60 {
        picture.grey(BOTH);
        letters.extend(picture.last.as_ref().unwrap().notes.clone());
    }
    letters.retain(|letter| letter.key.starts_with("balancer:"));
    let [first, second] = letters.as_slice() else { panic!("{letters:#?}") };
    assert!(first.note.text.contains("`east-web` is refreshed first"), "{}", first.note.text);
    assert_eq!(first.note.severity, Severity::Page);
    let text = &second.note.text;
    assert!(text.contains("After `east-web` it is the turn of balancer `east-api`"), "{text}");
    assert_eq!(second.note.severity, Severity::Warn);
    assert_eq!(first.note.thread, second.note.thread);
    assert!(first.note.sequence < second.note.sequence);
}

/// That home is well is said when it is, not as soon as nobody is there any more.
#[test]
fn a_region_that_was_left_is_not_called_well_while_it_is_dark() {
    let mut picture = Picture::new(policy(&[]));
    picture.tells = true;
    let mut said = |east: &str, steps: usize| {
        let mut texts = Vec::new();
        for _ in 0..steps {
            picture.see(&Seen { east, east_counters: "?", ..Seen::default() });
            let notes = &picture.last.as_ref().unwrap().notes;
            texts.extend(notes.iter().map(|letter| letter.note.text.clone()));
        }
        texts
    };
    let is_well = |text: &&String| text.contains("`east` is well again");
    let dark = said("x", 40);
    assert!(dark.iter().any(|text| text.contains("traffic was moved")), "{dark:?}");
    assert_eq!(dark.iter().filter(is_well).count(), 0, "{dark:?}");
    let well = said(".", 20);
    assert_eq!(well.iter().filter(is_well).count(), 1, "{well:?}");
}

/// What somebody stops is taken back.
#[test]
fn an_abort_takes_a_refresh_back_that_is_under_way() {
    let mut picture = Picture::new(policy(&LADDER));
    picture.greys(14, WEB);
    let note = CureNote::Intended(Box::new(cure(Aim::Rung(RungKind::Targets), 9.0)));
    picture.note(&Entry::Cure { balancer: "east-web".parse().unwrap(), note });
    picture.greys(1, WEB);
    assert_eq!(wanted_act(&picture), None);
    let at = Timestamp::from_secs(picture.now);
    let until = at.plus(Duration::from_secs(7200));
    let (by, reason) = ("ana".to_owned(), "wrong one".to_owned());
    picture.note(&Entry::Aborted(Abort { by, reason, at, until }));
    picture.greys(1, WEB);
    assert_eq!(wanted_act(&picture), Some(RefreshAct::Undo));
}

/// One by one in the order of the policy, but one that is certain never waits for one that is not.
#[test]
fn a_certain_balancer_does_not_wait_for_an_earlier_one_in_doubt() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    assert!(picture.greys(40, Parts::new("x..", "~~~")).contains('R'));
    assert_eq!(picture.refreshed(), ["east-api"], "`east-web` is first in the order");
}

/// What ails the balancers is named, and refreshed only if a refresh could cure it.
#[test]
fn what_ails_a_balancer_is_told_apart_and_named() {
    use ProbeFailure::{
        Body, CertificateExpired, CertificateName, CertificateUntrusted, ConnectRefused,
        ConnectTimeout, FirstByteTimeout, Garbage, Reset, Resolve, Status, Tls,
    };
    let dark = Parts::new("xxx", "xxx");
    let own = BOTH.with('b');
    for (failure, parts, words, refreshed) in [
        // A region that nobody is answered by is left, not refreshed, whatever is counted.
        (
            ConnectTimeout,
            dark.with('?'),
            "no usual requests are counted: looks like a security group",
            false,
        ),
        (
            ConnectTimeout,
            dark.with('b'),
            "time out: looks like a security group, a network ACL or a route",
            false,
        ),
        (ConnectTimeout, own, "a part of the connections times out", true),
        (ConnectRefused, own, "no listener has the port", false),
        (Resolve, own, "its name has no address", false),
        (Tls, own, "TLS fails", false),
        (CertificateExpired, own, "its certificate has expired", false),
        (CertificateName, own, "its certificate is for another name", false),
        (CertificateUntrusted, own, "signed by nobody", false),
        (
            Status(502),
            own,
            "it answers 502 while its targets are well: looks like the balancer",
            true,
        ),
        (Reset, own, "it cuts connections while its targets are well", true),
        (Status(403), own, "it answers 403, which the probe does not expect", true),
        (Body, own, "without the text", true),
        (Garbage, own, "no HTTP", true),
        (FirstByteTimeout, own, "does not answer in time", true),
        // Targets that fail are named also where the balancer hands their errors on.
        (Status(500), BOTH.with('x'), "its targets make the errors", false),
    ] {
        let mut picture = Picture::new(policy(&[REFRESH]));
        picture.fails_by = Some(failure);
        let mut done = String::new();
        let (mut named, mut paged) = (Vec::new(), Vec::new());
        while !done.contains(['R', 'S']) {
            assert!(done.len() < 40, "{failure:?}: {done}");
            done.push(picture.grey(parts));
            let last = picture.last.as_ref().unwrap();
            named = last.findings.first().unwrap().evidence.clone();
            paged = last.notes.iter().map(|letter| letter.note.text.clone()).collect();
        }
        assert_eq!(done.contains('R'), refreshed, "{failure:?}: {done}");
        let line = format!("`east-web` and `east-api`: {words}");
        let says = |text: &String| text.contains(words);
        assert!(named.iter().any(says) && paged.iter().any(says), "{line}: {named:#?} {paged:#?}");
        let first = &picture.last.as_ref().unwrap().findings[0];
        assert_eq!(first.diagnosis == Diagnosis::BalancerFault, refreshed, "{first:?}");
    }
}

/// Failures of every kind, as from a balancer that is half gone, stay what they were: not named.
#[test]
fn what_fails_in_many_ways_is_refreshed_and_not_guessed_at() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    let kinds = [ProbeFailure::ConnectRefused, ProbeFailure::Reset, ProbeFailure::Status(502)];
    let mut done = String::new();
    for step in 0..20 {
        picture.fails_by = Some(kinds[step % kinds.len()]);
        done.push(picture.grey(BOTH));
    }
    assert!(done.contains('R'), "{done}");
    let findings = &picture.last.as_ref().unwrap().findings;
    let guess = |line: &String| line.contains("refused") || line.contains("looks like");
    assert!(!findings.iter().any(|f| f.evidence.iter().any(guess)), "{findings:#?}");
}

/// Where users are served all the same nothing is moved, and what the probes run into is said.
#[test]
fn a_certificate_that_only_probes_mind_is_named_and_moves_nothing() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    picture.fails_by = Some(ProbeFailure::CertificateExpired);
    picture.tells = true;
    let mut said = Vec::new();
    for _ in 0..40 {
        assert_eq!(picture.grey(Parts::new("xxx", "xxx").with('.')), '-');
        let notes = &picture.last.as_ref().unwrap().notes;
        said.extend(notes.iter().map(|letter| letter.note.text.clone()));
    }
    let named = |text: &&String| text.contains("its certificate has expired");
    assert_eq!(said.iter().filter(named).count(), 1, "{said:#?}");
}

/// A balancer that falls ill each hour has its tries each time, but not all day long.
#[test]
fn refreshes_of_a_balancer_are_bounded_over_incidents_as_well() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    picture.lag = Some(900.0);
    let mut refreshed = Vec::new();
    for _ in 0..4 {
        refreshed.push(picture.greys(16, WEB).matches('R').count());
        picture.greys(120, Parts::new("...", "...").with('.'));
        assert!(!picture.last.as_ref().unwrap().incident);
    }
    assert_eq!(refreshed, [1, 1, 0, 0]);
    // A day later it may be tried again.
    picture.now += 24 * 3600;
    picture.greys(12, Parts::new("...", "...").with('.'));
    assert_eq!(picture.greys(16, WEB).matches('R').count(), 1);
}

/// Counters of fail-open say that it is the targets, whatever else they say.
#[test]
fn what_fails_open_is_no_fault_of_the_balancer() {
    let arns: Vec<(String, String)> = ["east", "west"]
        .into_iter()
        .map(|region| {
            let arn = |part: &str| {
                format!("arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/{region}-{part}/1")
            };
            let written = format!("{region}-web: {{ carries: 70% }}, {region}-api: {{ carries: 30% }}");
            let with = format!(
                "{region}-web: {{ carries: 70%, arn: \"{}\" }}, {region}-api: {{ carries: 30%, arn: \"{}\" }}",
                arn("web"),
                arn("api")
            );
            (written, with)
        })
        .collect();
    let signal = (
        "signals:",
        "signals:\n  open: { class: inside, fresh_for: 3m, metric: { measures: verdict, of: fail_open, above: 0.05, \
         every: 60s, period: 60s, window: 5m, from: alb } }",
    );
    let mut changes: Vec<(&str, &str)> =
        arns.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
    changes.extend([REFRESH, signal]);
    for open in [false, true] {
        let mut picture = Picture::new(policy(&changes));
        let (mut done, mut said) = (String::new(), String::new());
        for _ in 0..left_at(BOTH) + 3 {
            let about = About { region: Some("east".parse().unwrap()), ..About::default() };
            let measure = Measure::Verdict { value: Some(0.4), bad: open };
            let mut samples = Vec::new();
            picture.sample(&mut samples, "open", Class::Inside, about, measure);
            let now = Timestamp::from_secs(picture.now);
            let answers = Answers::Split { split: picture.split.clone(), read_at: now };
            let seen = Observations { samples, events: Vec::new(), answers };
            picture.memory.evidence.take_in(&picture.policy, &seen, now);
            done.push(picture.grey(BOTH));
            let findings = &picture.last.as_ref().unwrap().findings;
            said = findings.iter().flat_map(|found| &found.evidence).cloned().collect();
        }
        assert_eq!(done.contains('R'), !open, "{done}");
        assert_eq!(said.contains("fail-open"), open, "{said}");
    }
}
