//! The short way of a calm round: it is taken where there is nothing to decide, and nowhere else.

use leeward::domain::InAnswers;
use leeward::tell::Letter;

use super::*;

impl Picture {
    /// Whoever is to be told takes everything at once.
    pub(super) fn hand_over(&mut self, letters: &[Letter]) {
        for letter in letters {
            self.note(&Entry::Posted(Box::new(letter.clone())));
            let note = &letter.note;
            self.note(&Entry::Told {
                severity: note.severity,
                about: note.about.iter().cloned().collect(),
                key: letter.key.clone(),
                text: note.text.clone(),
                delivered: true,
                took: Vec::new(),
                lost: Vec::new(),
            });
        }
    }

    /// So many steps in which all is well, and what was said in them.
    fn rests(&mut self, steps: usize) -> Vec<String> {
        let mut said = Vec::new();
        for _ in 0..steps {
            self.see(&Seen { east: ".", ..Seen::default() });
            let notes = &self.last.as_ref().unwrap().notes;
            said.extend(notes.iter().map(|letter| letter.note.text.clone()));
        }
        said
    }
}

#[test]
fn most_rounds_of_a_calm_day_are_calm() {
    let mut picture = Picture::new(policy(&[]));
    picture.rests(60);
    assert!(picture.calm >= 60, "{} of 66", picture.calm);
}

#[test]
fn the_end_of_a_matter_is_told_in_rounds_that_are_calm_otherwise() {
    let mut picture = Picture::new(policy(&[]));
    picture.tells = true;
    let ill = "x".repeat(15);
    picture.see(&Seen { east: &".".repeat(15), west: &ill, ..Seen::default() });
    let matters: Vec<&String> = picture.memory.acts.told.keys().collect();
    assert!(matters.iter().any(|key| key.starts_with("standby:west")), "{matters:?}");
    let said = picture.rests(30);
    assert_eq!(
        said.iter().filter(|text| text.contains("over: `west` could take over again")).count(),
        1,
        "{said:?}"
    );
    let calm = picture.calm;
    picture.rests(10);
    assert_eq!(picture.calm, calm + 10, "and then there is nothing left to say");
}

#[test]
fn a_status_page_is_renewed_on_the_calmest_day() {
    let page =
        "status_page: { title: Shop, mode: auto, publish: [{ directory: /srv/status }] }\ntell:";
    let mut picture = Picture::new(policy(&[("tell:", page)]));
    picture.tells = true;
    let hour = picture.rests(360);
    assert!(hour.len() >= 4, "every quarter of an hour: {hour:?}");
}

#[test]
fn what_is_not_said_yet_is_said_in_a_round_that_is_calm_otherwise() {
    let mut picture = Picture::new(policy(&[]));
    picture.see(&Seen { east: &".".repeat(15), west: &"x".repeat(15), ..Seen::default() });
    let letters = picture.last.as_ref().unwrap().notes.clone();
    assert!(!letters.is_empty(), "a standby that fails is told");
    picture.note(&Entry::Posted(Box::new(letters[0].clone())));
    picture.note(&Entry::Told {
        severity: letters[0].note.severity,
        about: Vec::new(),
        key: letters[0].key.clone(),
        text: String::new(),
        delivered: false,
        took: Vec::new(),
        lost: Vec::new(),
    });
    let again = picture.rests(60);
    assert!(again.contains(&letters[0].note.text), "{again:?}");
}

/// The policy was changed while nothing ran.
#[test]
fn a_switch_that_the_policy_forgot_is_told_with_a_way_out() {
    let mut picture = Picture::new(policy(&[]));
    let gate = |to| Entry::Gated { region: "east".parse().unwrap(), to, failure: None };
    picture.note(&gate(InAnswers::Out));
    let told = |text: &&String| text.contains("lever `gates` keeps `east` out");
    let mut times = 0;
    for _ in 0..30 {
        times += picture.rests(1).iter().filter(told).count();
        let letters = picture.last.as_ref().unwrap().notes.clone();
        picture.hand_over(&letters);
    }
    assert_eq!(times, 1);
    let letters = picture.memory.acts.told.iter().filter(|(key, _)| key.starts_with("forgotten:"));
    assert_eq!(letters.count(), 1);
    picture.note(&gate(InAnswers::In));
    let said = picture.rests(30);
    assert!(said.iter().any(|text| text.contains("knows all switches of `east`")), "{said:?}");
}
