//! What a person gets to read, in order: the messages of an incident, and what stands on the public page.

use std::fmt::Write as _;
use std::path::Path;

use leeward::policy::{Policy, Test, load};
use leeward::scenario;
use leeward::tell::{Letter, Severity};

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
    for (heading, sentences) in note.account.parts() {
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
