//! Channels that work, hang, fail and come back, in virtual time.

use std::time::Duration;

use tokio::time::{Instant, advance};

use super::*;
use crate::domain::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Takes,
    Fails,
    Refuses,
    Hangs,
}

#[derive(Debug)]
struct Fake {
    does: Mutex<Does>,
    got: Mutex<Vec<Bundle>>,
}

#[async_trait]
impl Carrier for Fake {
    async fn carry(&self, bundle: &Bundle) -> Result<(), Untaken> {
        self.got.lock().unwrap().push(bundle.clone());
        let does = *self.does.lock().unwrap();
        match does {
            Does::Takes => Ok(()),
            Does::Fails => Err(Untaken { why: "500".to_owned(), again: true }),
            Does::Refuses => Err(Untaken { why: "401".to_owned(), again: false }),
            Does::Hangs => std::future::pending().await,
        }
    }
}

impl Fake {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self { does: Mutex::new(does), got: Mutex::default() })
    }

    fn got(&self) -> Vec<Vec<u32>> {
        let got = self.got.lock().unwrap();
        let numbers = |bundle: &Bundle| bundle.notes.iter().map(|note| note.sequence).collect();
        got.iter().map(numbers).collect()
    }
}

fn way(name: &str, fake: &Arc<Fake>, from: Severity) -> Way {
    Way {
        name: name.to_owned(),
        carrier: fake.clone(),
        from,
        stands_in: false,
        keeps_alerts: false,
        takes_status: false,
        within: Duration::from_secs(5),
    }
}

fn letter(severity: Severity, thread: &str, sequence: u32) -> Letter {
    let note = Note {
        service: "shop".parse().unwrap(),
        at: Timestamp::from_secs(0),
        severity,
        about: std::collections::BTreeSet::new(),
        text: format!("{thread} {sequence}"),
        thread: serde_json::from_value(thread.into()).unwrap(),
        sequence,
        kind: Kind::Changed,
        account: crate::tell::Account::default(),
        automation_off: None,
        public: None,
    };
    Letter { key: format!("{thread}:{sequence}"), note, page: None }
}

/// Runs the desk until `count` receipts are there, and gives them back with the time that took.
async fn told(teller: Teller, desk: impl Future<Output = ()>) -> (Vec<Receipt>, Duration) {
    let begun = Instant::now();
    let receipts = Arc::clone(&teller.receipts);
    drop(teller);
    desk.await;
    let all = receipts.lock().unwrap().drain(..).collect();
    (all, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn everybody_hears_what_is_grave_enough_for_them() {
    let (chat, pager) = (Fake::new(Does::Takes), Fake::new(Does::Takes));
    let ways = vec![way("chat", &chat, Severity::Info), way("pager", &pager, Severity::Page)];
    let (teller, desk) = Teller::new(ways, None);
    teller.post(letter(Severity::Warn, "a", 1)).unwrap();
    teller.post(letter(Severity::Page, "b", 1)).unwrap();
    let (receipts, _) = told(teller, desk).await;
    let took: Vec<usize> = receipts.iter().map(|receipt| receipt.took.len()).collect();
    assert_eq!(took.iter().sum::<usize>(), 3, "{receipts:?}");
    assert_eq!((chat.got().len(), pager.got().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_hangs_delays_no_other() {
    let (dead, well) = (Fake::new(Does::Hangs), Fake::new(Does::Takes));
    let ways = vec![way("dead", &dead, Severity::Info), way("well", &well, Severity::Info)];
    let (teller, desk) = Teller::new(ways, None);
    let task = tokio::spawn(desk);
    teller.post(letter(Severity::Page, "a", 1)).unwrap();
    tokio::task::yield_now().await;
    advance(Duration::from_millis(10)).await;
    assert_eq!(well.got().len(), 1, "told at once, whatever the other one does");
    let receipts = Arc::clone(&teller.receipts);
    drop(teller);
    task.await.unwrap();
    let receipt = receipts.lock().unwrap().pop_front().unwrap();
    assert!(receipt.delivered);
    assert_eq!(receipt.lost[0].channel, "dead");
    assert!(receipt.lost[0].why.contains("5s"), "{receipt:?}");
}

/// A pager that opened an alert because chat was down closes it when chat is back.
#[tokio::test(start_paused = true)]
async fn who_stood_in_hears_of_the_end_as_well() {
    let (chat, pager) = (Fake::new(Does::Refuses), Fake::new(Does::Takes));
    let stands_in =
        Way { stands_in: true, keeps_alerts: true, ..way("pager", &pager, Severity::Page) };
    let ways = vec![way("chat", &chat, Severity::Info), stands_in];
    let (teller, desk) = Teller::new(ways, None);
    let task = tokio::spawn(desk);
    teller.post(letter(Severity::Page, "a", 1)).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    *chat.does.lock().unwrap() = Does::Takes;
    // Others of its messages are none of the pager's business.
    teller.post(letter(Severity::Page, "a", 2)).unwrap();
    let mut over = letter(Severity::Info, "a", 3);
    over.note.kind = Kind::Resolved;
    teller.post(over).unwrap();
    drop(teller);
    task.await.unwrap();
    assert_eq!(pager.got(), [vec![1], vec![3]]);
    assert_eq!(chat.got().concat(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_channel_gets_a_bounded_number_of_tries() {
    let dead = Fake::new(Does::Hangs);
    let (teller, desk) = Teller::new(vec![way("dead", &dead, Severity::Info)], None);
    teller.post(letter(Severity::Page, "a", 1)).unwrap();
    let (receipts, took) = told(teller, desk).await;
    assert!(!receipts[0].delivered);
    assert_eq!(dead.got().len(), 3);
    assert_eq!(took, Duration::from_secs(5 + 1 + 5 + 5 + 5));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_not_tried_again() {
    let dead = Fake::new(Does::Refuses);
    let (teller, desk) = Teller::new(vec![way("dead", &dead, Severity::Info)], None);
    teller.post(letter(Severity::Page, "a", 1)).unwrap();
    let (receipts, _) = told(teller, desk).await;
    assert_eq!(receipts[0].lost[0].why, "401");
    assert_eq!(dead.got().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_channel_falls_through_to_the_one_that_stands_in() {
    let all = [Fake::new(Does::Fails), Fake::new(Does::Takes), Fake::new(Does::Takes)];
    let mut ways: Vec<Way> = ["pager", "second", "third"]
        .iter()
        .zip(&all)
        .map(|(name, fake)| way(name, fake, Severity::Page))
        .collect();
    (ways[1].stands_in, ways[2].stands_in) = (true, true);
    let (teller, desk) = Teller::new(ways, None);
    teller.post(letter(Severity::Page, "a", 1)).unwrap();
    let (receipts, _) = told(teller, desk).await;
    assert_eq!(receipts[0].took, ["second"]);
    assert_eq!(receipts[0].lost[0].channel, "pager");
    assert!(all[2].got().is_empty(), "one that stands in is enough");
}

#[tokio::test(start_paused = true)]
async fn a_dead_channel_is_stood_in_for_though_another_one_took_it() {
    let (pager, chat) = (Fake::new(Does::Fails), Fake::new(Does::Takes));
    let second = Fake::new(Does::Takes);
    let mut ways = vec![
        way("chat", &chat, Severity::Info),
        way("pager", &pager, Severity::Page),
        way("second", &second, Severity::Page),
    ];
    ways[2].stands_in = true;
    let (teller, desk) = Teller::new(ways, None);
    teller.post(letter(Severity::Page, "a", 1)).unwrap();
    let (receipts, _) = told(teller, desk).await;
    assert_eq!(receipts[0].took, ["chat", "second"], "nobody wakes up of a chat");
}

#[tokio::test(start_paused = true)]
async fn what_is_for_people_never_goes_to_the_public_page() {
    let (chat, public) = (Fake::new(Does::Fails), Fake::new(Does::Takes));
    let mut ways =
        vec![way("chat", &chat, Severity::Info), way("status page", &public, Severity::Status)];
    ways[1].takes_status = true;
    let (teller, desk) = Teller::new(ways, None);
    teller.post(letter(Severity::Page, "a", 1)).unwrap();
    teller.post(letter(Severity::Status, "b", 1)).unwrap();
    let (receipts, _) = told(teller, desk).await;
    let of = |key: &str| receipts.iter().find(|receipt| receipt.letter.key == key).unwrap();
    let lost: Vec<&str> = of("a:1").lost.iter().map(|lost| lost.channel.as_str()).collect();
    assert_eq!((of("a:1").delivered, lost), (false, vec!["chat"]), "no way of its own, no failure");
    assert_eq!(of("b:1").took, ["status page"]);
    assert_eq!(public.got(), [[1]]);
}

/// Each place has readers of its own.
#[tokio::test(start_paused = true)]
async fn a_page_is_published_when_every_place_has_it() {
    let (bucket, folder) = (Fake::new(Does::Fails), Fake::new(Does::Takes));
    let mut ways =
        vec![way("bucket", &bucket, Severity::Status), way("folder", &folder, Severity::Status)];
    (ways[0].takes_status, ways[1].takes_status) = (true, true);
    let (teller, desk) = Teller::new(ways, None);
    let mut page = letter(Severity::Status, "a", 1);
    page.note.public = Some(Box::new(crate::report::samples::bulletin()));
    teller.post(page).unwrap();
    let (receipts, _) = told(teller, desk).await;
    assert_eq!(
        (receipts[0].delivered, receipts[0].took.as_slice()),
        (false, ["folder".to_owned()].as_slice())
    );
    assert_eq!(receipts[0].lost[0].channel, "bucket");
}

#[tokio::test(start_paused = true)]
async fn whoever_hears_of_incidents_hears_of_their_end() {
    let mail = Fake::new(Does::Takes);
    let (teller, desk) = Teller::new(vec![way("mail", &mail, Severity::Page)], None);
    for (thread, sequence) in [("shop-1", 2), ("shop/standby:west", 3)] {
        let mut over = letter(Severity::Info, thread, sequence);
        over.note.kind = Kind::Resolved;
        teller.post(over).unwrap();
    }
    told(teller, desk).await;
    assert_eq!(mail.got(), [[2]], "of an incident, and not of what it never heard of");
}

#[tokio::test(start_paused = true)]
async fn nobody_left_means_whoever_is_there() {
    let (chat, pager) = (Fake::new(Does::Fails), Fake::new(Does::Takes));
    let ways = vec![way("chat", &chat, Severity::Info), way("pager", &pager, Severity::Page)];
    let (teller, desk) = Teller::new(ways, None);
    teller.post(letter(Severity::Warn, "a", 1)).unwrap();
    let (receipts, _) = told(teller, desk).await;
    assert_eq!(receipts[0].took, ["pager"], "a warning on the pager is better than none");
}

#[tokio::test(start_paused = true)]
async fn a_note_that_nobody_wants_is_not_lost() {
    let pager = Fake::new(Does::Takes);
    let (teller, desk) = Teller::new(vec![way("pager", &pager, Severity::Page)], None);
    teller.post(letter(Severity::Info, "a", 1)).unwrap();
    let (receipts, _) = told(teller, desk).await;
    assert!(receipts[0].delivered && receipts[0].took.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_out_together_and_pages_go_first() {
    let slow = Fake::new(Does::Takes);
    let (teller, desk) = Teller::new(vec![way("slow", &slow, Severity::Info)], None);
    for sequence in 1..=3 {
        teller.post(letter(Severity::Warn, "calm", sequence)).unwrap();
    }
    teller.post(letter(Severity::Page, "grave", 1)).unwrap();
    let (receipts, _) = told(teller, desk).await;
    assert_eq!(receipts.len(), 4);
    assert_eq!(slow.got(), [vec![1], vec![1, 2, 3]]);
    assert_eq!(slow.got.lock().unwrap()[0].severity(), Severity::Page);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_spread_and_a_page_overtakes_it() {
    let chat = Fake::new(Does::Takes);
    let (teller, desk) = Teller::new(vec![way("chat", &chat, Severity::Info)], None);
    let task = tokio::spawn(desk);
    for number in 0..20 {
        teller.post(letter(Severity::Warn, &format!("t{number}"), 1)).unwrap();
    }
    advance(Duration::from_millis(1)).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(chat.got().len(), 10, "ten at once");
    teller.post(letter(Severity::Page, "grave", 7)).unwrap();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(chat.got().last().unwrap(), &vec![7], "a page waits for no warning");
    let begun = Instant::now();
    drop(teller);
    task.await.unwrap();
    assert_eq!(chat.got().len(), 21);
    assert!(begun.elapsed() >= Duration::from_secs(90), "the rest one by one");
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_refuses_instead_of_waiting() {
    let dead = Fake::new(Does::Hangs);
    let (teller, _desk) = Teller::new(vec![way("dead", &dead, Severity::Info)], None);
    let posted: Vec<bool> =
        (0..300).map(|n| teller.post(letter(Severity::Info, "a", n)).is_ok()).collect();
    assert_eq!(posted.iter().filter(|ok| **ok).count(), UNDER_WAY_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_back_is_tried_as_often_as_before() {
    let fake = Fake::new(Does::Fails);
    let (teller, desk) = Teller::new(vec![way("pager", &fake, Severity::Info)], None);
    let task = tokio::spawn(desk);
    let mut tries = Vec::new();
    for (number, does) in [(1, Does::Fails), (2, Does::Fails), (3, Does::Takes), (4, Does::Fails)] {
        *fake.does.lock().unwrap() = does;
        let before = fake.got().len();
        teller.post(letter(Severity::Page, "a", number)).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        tries.push(fake.got().len() - before);
    }
    assert_eq!(tries, [3, 1, 1, 3]);
    drop(teller);
    task.await.unwrap();
}
