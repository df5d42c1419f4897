//! Events and the journal: what is written, what comes back after a restart, and what counts once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bulletin::{Bulletin, Phase};
use crate::decide::Decision;
use crate::domain::Timestamp;
use crate::event::{self, Event};
use crate::health::Happening;
use crate::journal::{JournalError, Log};
use crate::memory::{Acts, Entry};
use crate::pace::Pacer;
use crate::policy::Pace;
use crate::ports::{Clock, Levers};
use crate::report::samples;
use crate::runtime::intake::Taken;
use crate::runtime::round::Service;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_030);

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Entry>>>);

impl Log for Kept {
    fn append(&mut self, _: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        self.0.lock().unwrap().push(entry.clone());
        Ok(())
    }
}

fn service(log: &Kept) -> Service {
    let mut policy = samples::policy();
    for (name, region) in &mut policy.regions {
        region.aws_region = Some(name.to_string());
    }
    let pace = Arc::new(Pacer::new(Pace::default()));
    let log = Box::new(log.clone());
    Service::new(policy, Levers::default(), log, Arc::new(Still), pace, "t".to_owned())
}

fn event(body: &[u8]) -> Event {
    event::parse(body).remove(0).unwrap()
}

fn alarm() -> Event {
    event(include_bytes!("../../../tests/events/alarm-metric.json"))
}

fn approval() -> Event {
    event(include_bytes!("../../../tests/events/ours-approve.json"))
}

#[test]
fn an_event_is_written_down_and_counts_once_also_after_a_restart() {
    let log = Kept::default();
    let mut first = service(&log);
    let heard = first.hear_event(&alarm(), None, NOW).unwrap();
    assert!(heard.look && matches!(heard.taken, Taken::Handled { .. }));
    let again = first.hear_event(&alarm(), None, NOW).unwrap();
    assert_eq!((again.taken, again.look), (Taken::Duplicate, false));
    let entries = log.0.lock().unwrap().clone();
    assert!(matches!(entries.as_slice(), [Entry::Heard { event: Some(_), .. }]), "{entries:?}");
    // Another process, from the journal.
    let mut second = service(&Kept::default());
    for entry in &entries {
        second.memory.acts.apply(NOW, entry);
    }
    assert_eq!(second.hear_event(&alarm(), None, NOW).unwrap().taken, Taken::Duplicate);
}

#[test]
fn an_answer_becomes_the_entry_of_the_command_and_only_with_a_name() {
    let log = Kept::default();
    let mut service = service(&log);
    let nobody = service.hear_event(&approval(), None, NOW).unwrap();
    assert!(matches!(nobody.taken, Taken::Nothing { .. }));
    assert!(log.0.lock().unwrap().is_empty());
    service.hear_event(&approval(), Some("ada"), NOW).unwrap();
    let approved = service.memory.acts.approved.clone().unwrap();
    assert_eq!(approved.by, "ada (standby looks fine)");
    assert_eq!(approved.until, Some(NOW.plus(std::time::Duration::from_secs(1800))));
    let denied = event(include_bytes!("../../../tests/events/ours-deny.json"));
    // A no is heard whatever its id, and is no copy of the yes; then it is one of itself.
    let mut hears =
        || service.hear_event(&denied, Some("ada"), NOW).map(|heard| heard.taken).unwrap();
    assert!(matches!(hears(), Taken::Handled { .. }));
    assert_eq!(hears(), Taken::Duplicate);
    assert_eq!(service.memory.acts.approved, None);
}

#[test]
fn an_id_is_its_senders_and_no_one_uses_up_that_of_another() {
    let mut service = service(&Kept::default());
    let look = event(br#"{"leeward": 1, "id": "4711", "look": {"reason": "a drill"}}"#);
    assert_eq!(look.key, approval().key, "the same id");
    service.hear_event(&look, Some("bell"), NOW).unwrap();
    let heard = service.hear_event(&approval(), Some("ada"), NOW).unwrap();
    assert!(matches!(heard.taken, Taken::Handled { .. }), "{heard:?}");
    assert!(service.memory.acts.approved.is_some());
    let again = service.hear_event(&approval(), Some("ada"), NOW).unwrap();
    assert_eq!(again.taken, Taken::Duplicate);
    // An alarm is the same by whichever way it comes.
    service.hear_event(&alarm(), None, NOW).unwrap();
    assert_eq!(service.hear_event(&alarm(), Some("bell"), NOW).unwrap().taken, Taken::Duplicate);
}

#[test]
fn the_same_words_without_a_time_are_a_copy_only_for_a_while() {
    let mut service = service(&Kept::default());
    let later = |seconds: u64| NOW.plus(Duration::from_secs(seconds));
    let look = event(br#"{"leeward": 1, "look": {"reason": "every five minutes"}}"#);
    let yes = event(br#"{"leeward": 1, "approve": {"reason": "standby looks fine"}}"#);
    let dated = event(br#"{"leeward": 1, "at": "2027-01-15T08:00:00Z", "look": {"reason": "x"}}"#);
    let mut takes = |event: &Event, after: u64| {
        let heard = service.hear_event(event, Some("ada"), later(after)).unwrap();
        matches!(heard.taken, Taken::Handled { .. })
    };
    assert!(takes(&look, 0) && !takes(&look, 59) && takes(&look, 300) && takes(&look, 600));
    // Not before a signed request is too old to be sent again.
    assert!(takes(&yes, 0) && !takes(&yes, 899) && takes(&yes, 1000));
    assert!(takes(&dated, 0) && !takes(&dated, 300), "one of a kind");
    // The same version rolled out once more in the week.
    let deploy = br#"{"leeward": 1, "deploy": {"version": "v41", "regions": ["eu-west-1"]}}"#;
    let deploy = event(deploy);
    assert!(takes(&deploy, 0) && !takes(&deploy, 600) && takes(&deploy, 2 * 24 * 3600));
    // A no with the id of a yes takes it back.
    let [yes, no] = ["approve", "deny"].map(|word| {
        event(format!(r#"{{"leeward": 1, "id": "7", "{word}": {{"reason": "seen"}}}}"#).as_bytes())
    });
    assert!(takes(&yes, 2000) && !takes(&yes, 2001) && takes(&no, 2002));
}

#[tokio::test]
async fn a_deploy_is_not_forgotten_by_a_restart() {
    let log = Kept::default();
    let mut first = service(&log);
    let deploy = event(include_bytes!("../../../tests/events/bridge-codedeploy-start.json"));
    first.hear_event(&deploy, None, NOW).unwrap();
    let mut acts = Acts::default();
    for entry in log.0.lock().unwrap().iter() {
        acts.apply(NOW, entry);
    }
    let kept: Acts = serde_json::from_slice(&serde_json::to_vec(&acts).unwrap()).unwrap();
    assert!(matches!(kept.context[0].what, Happening::Deploy { .. }));
    let mut second = service(&Kept::default());
    second.memory.acts = kept;
    second.start().await.unwrap();
    let deploys = second.memory.evidence.deploys();
    assert_eq!((deploys.len(), deploys[0].version.as_str()), (1, "d-123456789"));
}

#[test]
fn what_is_remembered_of_events_is_bounded() {
    let mut acts = Acts::default();
    for place in 0..3000_i64 {
        let event = crate::health::Event {
            at: NOW,
            heard_at: NOW,
            what: Happening::Notice { text: place.to_string() },
        };
        let entry =
            Entry::Heard { key: format!("k{place}"), text: String::new(), event: Some(event) };
        acts.apply(Timestamp::from_secs(place), &entry);
    }
    assert_eq!((acts.heard.len(), acts.context.len()), (1024, 64));
    assert!(acts.heard.contains_key("k2999") && !acts.heard.contains_key("k0"), "the newest");
}

#[test]
fn words_for_the_public_stand_with_an_incident_and_cannot_call_it_over() {
    let kept = Kept::default();
    let mut service = service(&kept);
    let mut say = |bulletin: Option<Bulletin>| {
        service.last = Some(Decision { public: bulletin, ..samples::outage() });
        let heard = service.say_publicly("ada", Some("We are on it."), Some(Phase::Resolved));
        (heard.unwrap(), std::mem::take(&mut *kept.0.lock().unwrap()))
    };
    assert_eq!(say(None), (false, Vec::new()), "nothing was seen yet: they wait");
    let calm = Bulletin { incident: None, ..samples::bulletin() };
    assert_eq!(say(Some(calm.clone())), (true, Vec::new()), "no page would show them");
    let (heard, lines) = say(Some(samples::bulletin()));
    let [Entry::Worded { by, bulletin }] = lines.as_slice() else { panic!("{lines:?}") };
    let update = bulletin.update.as_ref().unwrap();
    assert_eq!((heard, by.as_str(), update.text.as_str()), (true, "ada", "We are on it."));
    assert_eq!((update.phase, update.at), (Phase::Monitoring, NOW), "it is not over yet");
    // Told to the public, over since, and not called over yet.
    let (_, lines) = say(Some(calm));
    let [Entry::Worded { bulletin, .. }] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(
        (&bulletin.incident, &bulletin.update.as_ref().unwrap().text),
        (&None, &"We are on it.".to_owned())
    );
}
