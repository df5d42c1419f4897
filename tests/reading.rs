//! What a person gets to read, in order: the messages of an incident, and what stands on the public page.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use leeward::event;
use leeward::policy::{Policy, Test, load};
use leeward::scenario;
use leeward::tell::{Kind, Letter, Severity};

/// The example with a status page that speaks for itself.
fn policy(name: &str) -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let text = if text.contains("status_every") {
        text
    } else {
        text.replace("\ntell:\n", "\ntell:\n  status_every: 15m\n")
    };
    let page = "status_page:\n  title: Example status\n  mode: auto\n  publish: [{ directory: /srv/status }]\n";
    match load(&format!("{text}\n{page}"), name) {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

fn show(text: &mut String, letter: &Letter) {
    let note = &letter.note;
    if note.severity == Severity::Status {
        let Some(bulletin) = &note.public else { return };
        let lights: Vec<String> =
            bulletin.components.iter().map(|(id, light)| format!("{id}: {light}")).collect();
        let said = bulletin.update.as_ref();
        let said = said.map_or("(renewed)".to_owned(), |u| format!("{}: {}", u.phase, u.text));
        writeln!(text, "{} PUBLIC [{}] {said}", note.at, lights.join(", ")).unwrap();
        return;
    }
    let severity = format!("{:?}", note.severity).to_uppercase();
    writeln!(text, "{} {severity} {} no. {}, {}", note.at, note.thread, note.sequence, note.kind)
        .unwrap();
    writeln!(text, "    {}", note.text).unwrap();
    for (heading, sentences) in note.details().parts() {
        for sentence in sentences {
            writeln!(text, "    {heading}: {sentence}").unwrap();
        }
    }
}

fn read(policy: &str, case: usize) -> String {
    let policy = self::policy(policy);
    let Test::Drawn(case) = &policy.tests[case] else { panic!("a recorded one") };
    let ran = scenario::run(&policy, case).unwrap();
    let mut text = format!("{}\n\n", case.name);
    for letter in ran.steps.iter().flat_map(|step| &step.told) {
        show(&mut text, letter);
    }
    text
}

fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn of_a_region_that_is_lost() {
    check("read_region_loss", &read("region-loss.yaml", 0));
}

#[test]
fn of_the_way_home() {
    check("read_way_home", &read("region-loss.yaml", 1));
}

#[test]
fn of_a_bad_deploy() {
    check("read_bad_deploy", &read("bad-deploy.yaml", 0));
}

/// The example `name` with a status page that speaks for itself, some lines changed, and one drawn outage.
fn outage(name: &str, changes: &[(&str, &str)], case: &str) -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (old, new) in changes {
        assert!(text.contains(old), "`{old}` is not in {name}");
        text = text.replace(old, new);
    }
    let (text, _) = text.split_once("\ntests:\n").unwrap();
    let text = if text.contains("status_every") {
        text.to_owned()
    } else {
        text.replace("\ntell:\n", "\ntell:\n  status_every: 15m\n")
    };
    let page = "status_page:\n  title: Example status\n  mode: auto\n  publish: [{ directory: /srv/status }]\n";
    match load(&format!("{text}\n{page}tests:\n{case}"), name) {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

/// What came in by a door so long after the beginning: it makes Leeward look, and is written down.
fn heard(policy: &Policy, body: &[u8], after: Duration) -> String {
    let Test::Drawn(case) = &policy.tests[0] else { panic!("a recorded one") };
    let at = case.begins.plus(after);
    let mut text = String::new();
    for event in event::parse(body) {
        let mut event = event.unwrap();
        // As if it had been sent in this outage.
        event.at = Some(at);
        writeln!(text, "{at} HEARD {}", event::judge(policy, &event, at).text).unwrap();
    }
    text
}

/// From the trigger to the last word, each message that says something new.
fn story(policy: &Policy, trigger: &str) -> String {
    let Test::Drawn(case) = &policy.tests[0] else { panic!("a recorded one") };
    let ran = scenario::run(policy, case).unwrap();
    assert!(ran.passed(), "{:?}\n{}", ran.faults, ran.line());
    let mut text = format!("{}\n\n{trigger}", case.name);
    let mut renewed = 0;
    let mut last = case.begins;
    for letter in ran.steps.iter().flat_map(|step| &step.told) {
        let public = letter.note.public.as_ref();
        if public.is_some_and(|bulletin| bulletin.update.is_none()) {
            // The public page is never silent for longer than was promised.
            let every = policy.tell.status_every.unwrap();
            assert!(letter.note.at.since(last) <= every, "{} after {last}", letter.note.at);
            renewed += 1;
        } else {
            if renewed > 0 {
                writeln!(
                    text,
                    "    (the public page was renewed {renewed} times, the last at {last})"
                )
                .unwrap();
            }
            renewed = 0;
            show(&mut text, letter);
        }
        if public.is_some() {
            last = letter.note.at;
        }
    }
    let resolved = ran.steps.iter().flat_map(|step| &step.told);
    let resolved = resolved.filter(|letter| letter.note.kind == Kind::Resolved).count();
    assert_eq!(resolved, 1, "one last word\n{text}");
    text
}

fn drawn(parts: &[(char, usize)]) -> String {
    parts.iter().map(|(mark, count)| mark.to_string().repeat(*count)).collect()
}

/// A whole region for a day, and the API that could move away from it with it.
#[test]
fn of_the_outage_of_a_region_and_of_the_api() {
    let case = format!(
        "  - name: the region and the API of Route 53 are lost together\n    step: 1m\n    \
         begins: 2021-12-07T07:28:00-08:00\n    seen: {{ us-east-1: \"{}\" }}\n    \
         counters: {{ us-east-1: \"{}\" }}\n    control_plane: \"{}\"\n    finds: [RegionDown, ControlPlaneImpaired]\n    \
         ends: {{ us-east-1: 100, us-west-2: 0 }}\n",
        drawn(&[('.', 5), ('x', 420), ('.', 135)]),
        drawn(&[('.', 5), ('?', 420), ('.', 135)]),
        drawn(&[('.', 5), ('x', 430), ('.', 125)]),
    );
    let home = "failback: { auto: { hold: 1h, step: 100%, every: 10m } }";
    let policy = outage("gates.yaml", &[("failback: manual", home)], &case);
    let heard =
        heard(&policy, include_bytes!("events/alarm-metric.json"), Duration::from_secs(360));
    check("outage_region_and_api_lost", &story(&policy, &heard));
}

/// Errors that balancers make while everything behind them is idle and well.
#[test]
fn of_the_outage_of_two_grey_balancers() {
    let case = format!(
        "  - name: two balancers make errors, their targets are well\n    refreshes: work\n    \
         begins: 2020-11-16T08:10:00-05:00\n    seen: {{ web-west: \"{0}\", api-west: \"{1}\" }}\n    \
         counters: {{ web-west: \"{2}\", api-west: \"{3}\" }}\n    finds: [BalancerFault]\n    \
         ends: {{ eu-west-1: 100, eu-central-1: 0 }}\n",
        drawn(&[('.', 6), ('~', 20), ('.', 394)]),
        drawn(&[('.', 6), ('~', 60), ('.', 354)]),
        drawn(&[('.', 6), ('b', 20), ('.', 394)]),
        drawn(&[('.', 6), ('b', 60), ('.', 354)]),
    );
    let policy = outage("grey-balancer.yaml", &[], &case);
    let heard = heard(&policy, include_bytes!("events/alarm-math.json"), Duration::from_secs(90));
    check("outage_two_grey_balancers", &story(&policy, &heard));
}

/// An approved update at half past midnight that breaks the log-in on every server.
#[test]
fn of_the_outage_by_an_update() {
    let case = format!(
        "  - name: an update breaks every region at half past midnight\n    begins: 2016-12-22T00:30:00+11:00\n    \
         events: [{{ at: 0s, happens: {{ deploy: {{ version: build-4711, regions: [eu-west-1, eu-central-1] }} }} }}]\n    \
         seen: {{ eu-west-1: \"{0}\", eu-central-1: \"{0}\" }}\n    calls: [roll-back]\n",
        drawn(&[('.', 2), ('~', 22), ('.', 396)]),
    );
    let policy = outage("bad-deploy.yaml", &[], &case);
    let body = br#"{"leeward": 1, "id": "4711", "deploy":
        {"version": "build-4711", "regions": ["eu-west-1", "eu-central-1"]}}"#;
    let heard = heard(&policy, body, Duration::ZERO);
    check("outage_update_broke_every_region", &story(&policy, &heard));
}

/// The only data centre loses its power.
#[test]
fn of_the_outage_without_power() {
    let case = format!(
        "  - name: the only region loses its power\n    step: 30s\n    begins: 2014-05-19T09:00:00+02:00\n    \
         seen: {{ frankfurt: \"{0}\" }}\n    counters: {{ frankfurt: \"{1}\" }}\n    \
         finds: [RegionDown, NowhereToGo]\n    ends: {{ frankfurt: 100, cached-pages: 0 }}\n",
        drawn(&[('.', 4), ('x', 120), ('.', 300)]),
        drawn(&[('.', 4), ('?', 120), ('.', 300)]),
    );
    let home = "failback: { auto: { hold: 30m, step: 100%, every: 10m } }";
    let policy = outage("last-resort.yaml", &[("failback: manual", home)], &case);
    let heard =
        heard(&policy, include_bytes!("events/alarm-metric.json"), Duration::from_secs(180));
    check("outage_no_power", &story(&policy, &heard));
}
