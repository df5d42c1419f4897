//! What the public is told, and what people are told of a second loss.

use leeward::bulletin::{Light, Phase};
use leeward::tell::{Letter, Severity};

use super::*;

impl Picture {
    /// So many steps of the same, with everything told at once, and all that was said.
    fn goes_on(&mut self, seen: &Seen<'_>, steps: usize) -> Vec<Letter> {
        let mut said = Vec::new();
        for _ in 0..steps {
            self.see(seen);
            said.extend(self.last.as_ref().unwrap().notes.clone());
        }
        said
    }

    fn lights(&self) -> Vec<Light> {
        self.memory.acts.public.components.values().copied().collect()
    }

    fn phase(&self) -> Phase {
        let public = self.last.as_ref().unwrap().public.as_ref().unwrap();
        public.update.as_ref().unwrap().phase
    }
}

fn with_page(mode: &str, changes: &[(&str, &str)]) -> Picture {
    let page = format!(
        "status_page: {{ title: Shop, mode: {mode}, publish: [{{ directory: /srv/status }}] }}\ntell:"
    );
    let mut all = vec![("tell:", page.as_str())];
    all.extend(changes);
    let mut picture = Picture::new(policy(&all));
    picture.tells = true;
    picture
}

const WELL: Seen<'_> =
    Seen { east: ".", west: "", only: &[], east_counters: "", west_counters: "", beacon: "" };
const EAST_LOST: Seen<'_> = Seen { east: "x", east_counters: "?", ..WELL };
const WEST_LOST: Seen<'_> = Seen { west: "x", west_counters: "?", ..WELL };

fn pages(said: &[Letter]) -> Vec<&str> {
    let pages = said.iter().filter(|letter| letter.note.severity == Severity::Page);
    pages.map(|letter| letter.note.text.as_str()).collect()
}

fn renewals(said: &[Letter]) -> usize {
    said.iter().filter(|letter| letter.note.public.is_some()).count()
}

#[test]
fn while_nobody_has_found_words_nothing_is_green_and_the_page_is_renewed() {
    // Nothing is moved, so that the incident ends by itself.
    let mut picture = with_page("draft", &[("mode: auto", "mode: approve")]);
    let calm = picture.goes_on(&WELL, 360);
    assert!(renewals(&calm) >= 4, "every quarter of an hour");
    assert_eq!(picture.lights(), [Light::Operational]);
    let hour = picture.goes_on(&EAST_LOST, 360);
    assert_eq!(picture.lights(), [Light::Unknown]);
    assert!(picture.memory.acts.public.unworded);
    assert!(renewals(&hour) >= 4, "renewed as well");
    let said = hour.iter().filter_map(|letter| letter.note.public.as_ref());
    assert!(said.clone().all(|bulletin| bulletin.update.is_none()), "no words but a human's");
    assert!(hour.iter().any(|letter| letter.key.starts_with("draft:")), "who is asked for them");
    assert!(picture.memory.acts.public.incidents.is_empty());
    picture.goes_on(&WELL, 60);
    assert_eq!(picture.lights(), [Light::Operational], "and nothing has to be taken back");
    assert!(!picture.memory.acts.public.unworded);
}

#[test]
fn what_a_human_sent_is_renewed_until_a_human_says_that_it_is_over() {
    let mut picture = with_page("draft", &[("mode: auto", "mode: approve")]);
    picture.goes_on(&EAST_LOST, 24);
    let send = |picture: &mut Picture| {
        let bulletin = picture.last.as_ref().unwrap().public.clone().unwrap();
        picture.note(&Entry::Worded { by: "ada".to_owned(), bulletin: Box::new(bulletin) });
    };
    send(&mut picture);
    assert_eq!(picture.lights(), [Light::MajorOutage]);
    let hour = picture.goes_on(&WELL, 360);
    assert!(renewals(&hour) >= 4, "{}", renewals(&hour));
    let open = picture.memory.acts.public.open().expect("nobody has said that it is over");
    assert_eq!(open.updates.len(), 1);
    send(&mut picture);
    picture.goes_on(&WELL, 6);
    assert!(picture.memory.acts.public.open().is_none());
    assert_eq!(picture.lights(), [Light::Operational]);
}

/// A place that does not take the page, for as long as `picture` goes on.
fn lose_the_page(picture: &mut Picture, said: &[Letter]) {
    for letter in said.iter().filter(|letter| letter.note.public.is_some()) {
        picture.note(&Entry::Posted(Box::new(letter.clone())));
        picture.note(&Entry::Told {
            severity: Severity::Status,
            about: Vec::new(),
            key: letter.key.clone(),
            text: letter.note.text.clone(),
            delivered: false,
            took: Vec::new(),
            lost: Vec::new(),
        });
    }
}

#[test]
fn a_place_that_takes_no_page_holds_back_neither_people_nor_news() {
    let mut picture = with_page("auto", &[]);
    picture.tells = false;
    let (mut paged, mut tries, mut phases) = (0, 0, Vec::new());
    for step in 0..60 {
        let seen = if step < 12 { &WELL } else { &EAST_LOST };
        let said = picture.goes_on(seen, 1);
        lose_the_page(&mut picture, &said);
        let others: Vec<Letter> =
            said.iter().filter(|letter| letter.note.public.is_none()).cloned().collect();
        paged += pages(&others).len();
        picture.hand_over(&others);
        let new = said.iter().filter_map(|letter| letter.note.public.as_ref()?.update.clone());
        phases.extend(new.map(|update| update.phase));
        tries += usize::from(step < 12) * renewals(&said);
    }
    assert_eq!(tries, 2, "a minute later");
    assert_eq!(paged, 1, "at once");
    assert_eq!(phases, [Phase::Identified, Phase::Monitoring], "news do not wait");
}

#[test]
fn nobody_is_told_that_it_works_again_before_the_move_is_in_force() {
    let mut picture = with_page("auto", &[]);
    picture.lever = Lever::Hangs;
    picture.goes_on(&EAST_LOST, 20);
    let epoch = picture.memory.acts.order.as_ref().expect("still pending").plan.epoch;
    assert_eq!(picture.phase(), Phase::Identified);
    picture.note(&Entry::InSync { epoch });
    picture.note(&Entry::Ended { epoch, outcome: Outcome::Done });
    picture.goes_on(&EAST_LOST, 1);
    assert_eq!(picture.phase(), Phase::Monitoring);
}

#[test]
fn a_second_loss_in_one_incident_is_paged_too() {
    let mut picture = Picture::new(policy(&[]));
    picture.tells = true;
    let first = picture.goes_on(&EAST_LOST, 60);
    assert_eq!(pages(&first).len(), 1, "{:?}", pages(&first));
    assert!(pages(&first)[0].contains("`east` is bad"), "{:?}", pages(&first));
    let between = picture.goes_on(&WELL, 90);
    assert_eq!(pages(&between), Vec::<&str>::new());
    let second = picture.goes_on(&WEST_LOST, 90);
    assert_eq!(picture.split.weight(&"west".parse().unwrap()), Weight(0), "left as well");
    assert_eq!(pages(&second).len(), 1, "{:?}", pages(&second));
    assert!(pages(&second)[0].contains("`west` is bad"), "{:?}", pages(&second));
    let thread = |said: &[Letter]| {
        let page = said.iter().find(|letter| letter.note.severity == Severity::Page);
        page.unwrap().note.thread.clone()
    };
    assert_eq!(thread(&first), thread(&second), "one incident");
}

#[test]
fn the_last_resort_is_paged_when_it_is_taken() {
    let resort =
        "  cache: { role: last_resort, weight: 0, balancers: { cache-edge: {} } }\nvantages: {";
    let mut picture = Picture::new(policy(&[
        ("vantages: {", resort),
        ("{ east: east, west: west }", "{ east: east, west: west, cache: cache }"),
        ("last_resort: never", "last_resort: { after: 5m }"),
    ]));
    picture.tells = true;
    let mut said = Vec::new();
    for step in 0..130 {
        let (seen, counters) = if step < 30 { ('.', '.') } else { ('x', '?') };
        picture.beside_a_copy(seen, seen, counters);
        said.extend(picture.last.as_ref().unwrap().notes.clone());
    }
    let told = pages(&said);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(
        told[0].contains("is in every region") && told[1].contains("Moving traffic"),
        "{told:?}"
    );
}
