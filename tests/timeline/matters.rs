//! What is told besides regions: messages that nobody understood, and a copy that gets old.

use leeward::memory::{Copied, Entry};
use leeward::policy::{Site, SitePlace};
use leeward::tell::{Letter, Severity};

use super::*;

fn told(picture: &mut Picture, about: &str) -> Vec<Letter> {
    picture.see(&Seen { east: ".", ..Seen::default() });
    let notes = picture.last.as_ref().unwrap().notes.clone();
    notes.into_iter().filter(|letter| letter.key.starts_with(about)).collect()
}

/// As if it had been carried out.
fn deliver(picture: &mut Picture, letter: &Letter) {
    let note = &letter.note;
    picture.note(&Entry::Posted(Box::new(letter.clone())));
    picture.note(&Entry::Told {
        severity: note.severity,
        about: Vec::new(),
        key: letter.key.clone(),
        text: note.text.clone(),
        delivered: true,
        took: Vec::new(),
        lost: Vec::new(),
    });
}

fn aside(count: u64) -> Entry {
    let why = "its topic is not on the policy's list".to_owned();
    Entry::KeptAside { doors: [("sns".to_owned(), why)].into(), count }
}

#[test]
fn what_nobody_understands_is_said_and_not_over_and_over() {
    let mut picture = Picture::new(policy(&[]));
    assert!(told(&mut picture, "aside").is_empty());
    picture.note(&aside(1));
    let first = told(&mut picture, "aside").pop().unwrap();
    assert_eq!(first.note.severity, Severity::Warn);
    for part in ["a message was kept aside", "by `sns`: its topic is not", "`quarantine`"] {
        assert!(first.note.text.contains(part), "{}", first.note.text);
    }
    deliver(&mut picture, &first);
    for _ in 0..50 {
        picture.note(&aside(1));
        assert!(told(&mut picture, "aside").is_empty(), "said already");
    }
    // So many of them that it is another matter.
    picture.note(&aside(200));
    let many = told(&mut picture, "aside").pop().unwrap();
    assert!(many.note.text.contains("251 messages were kept aside"), "{}", many.note.text);
    deliver(&mut picture, &many);
    // Whatever came by other doors: from now on alarms are missing.
    let ended =
        ("subscription to arn:aws:sns:eu-west-1:1:alarms".to_owned(), "it was ended".to_owned());
    picture.note(&Entry::KeptAside { doors: [ended].into(), count: 1 });
    let ended = told(&mut picture, "aside").pop().unwrap();
    assert!(ended.note.text.contains(":alarms`: it was ended"), "{}", ended.note.text);
    deliver(&mut picture, &ended);
    picture.now += 7 * 3600;
    picture.see(&Seen { east: "......", ..Seen::default() });
    picture.note(&aside(2));
    let again = told(&mut picture, "aside").pop().unwrap();
    assert!(again.note.text.contains("2 messages were"), "counted anew: {}", again.note.text);
    deliver(&mut picture, &again);
    picture.now += 25 * 3600;
    picture.see(&Seen { east: "............", ..Seen::default() });
    assert!(told(&mut picture, "aside").is_empty(), "nobody's matter any more");
}

#[test]
fn a_copy_that_cannot_be_renewed_is_told_and_so_is_its_end() {
    let mut policy = policy(&[]);
    policy.site = Some(Site {
        pages: vec!["https://shop.example.com/".to_owned()],
        to: SitePlace::Directory { path: "/var/www/copy".to_owned() },
        every: Duration::from_secs(3600),
        retry_after: Duration::from_secs(120),
        friendly: None,
        depth: 1,
        pages_max: 10,
        mib_max: 10,
        assets_from: Vec::new(),
        notice: None,
        form_notice: None,
    });
    let mut picture = Picture::new(policy);
    let copied = |failure: Option<&str>, at: i64| {
        let kept_from = Some(Timestamp::from_secs(at));
        Entry::Copied(Copied {
            failure: failure.map(str::to_owned),
            kept_from,
            pages: 3,
            octets: 9,
        })
    };
    picture.note(&copied(None, picture.now));
    assert!(told(&mut picture, "site").is_empty());
    picture.note(&copied(Some("1 of 1 listed pages could not be copied"), 900_000));
    let note = told(&mut picture, "site").pop().unwrap();
    for part in
        ["no new copy of https://shop.example.com/", "1 of 1 listed", "the copy of 1970-01-11"]
    {
        assert!(note.note.text.contains(part), "{}", note.note.text);
    }
    deliver(&mut picture, &note);
    picture.note(&copied(Some("another reason"), 900_000));
    assert!(told(&mut picture, "site").is_empty(), "the same matter");
    picture.note(&copied(None, picture.now));
    assert!(told(&mut picture, "site").is_empty(), "there is a new one");
}
