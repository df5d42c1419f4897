//! Sessions in virtual time: renewed early, used to the end, issued elsewhere.

use std::time::SystemTime;

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::*;

#[derive(Debug)]
struct Hands(AtomicI64);

impl Hands {
    fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// What a source does when asked.
#[derive(Debug, Clone, Copy)]
enum Mood {
    /// Sessions of an hour.
    Well,
    Down,
    Hangs,
    Nothing,
    Keys,
}

#[derive(Debug, Clone)]
struct Source {
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
    clock: Arc<Hands>,
}

impl Source {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    async fn issue(&self) -> Result<Credentials, CredentialsError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mood = *self.mood.lock().unwrap();
        let until = match mood {
            Mood::Well => Some(HOUR),
            Mood::Keys => None,
            Mood::Down => return Err(CredentialsError::provider_error("503")),
            Mood::Nothing => return Err(CredentialsError::not_loaded("nothing configured")),
            Mood::Hangs => std::future::pending().await,
        };
        let now = u64::try_from(self.clock.now().as_millis()).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now);
        let until = until.map(|span| now + span);
        Ok(Credentials::new(format!("key-{number}"), "secret", None, until, "test"))
    }
}

impl ProvideCredentials for Source {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.issue())
    }
}

const HOUR: Duration = Duration::from_secs(3600);

struct World {
    clock: Arc<Hands>,
    sources: Vec<Source>,
    sessions: Sessions,
}

fn world(moods: &[Mood]) -> World {
    let clock = Arc::new(Hands(AtomicI64::new(1_800_000_000_000)));
    let source = |mood: &Mood| Source {
        mood: Arc::new(Mutex::new(*mood)),
        asked: Arc::default(),
        clock: Arc::clone(&clock),
    };
    let sources: Vec<Source> = moods.iter().map(source).collect();
    let issuer = |(place, source): (usize, &Source)| Issuer {
        region: format!("region-{place}"),
        source: SharedCredentialsProvider::new(source.clone()),
    };
    let issuers = sources.iter().enumerate().map(issuer).collect();
    let shared: Arc<dyn Clock> = Arc::<Hands>::clone(&clock);
    World { sessions: Sessions::new(issuers, shared), clock, sources }
}

impl World {
    async fn key(&self) -> Result<String, CredentialsError> {
        let given = self.sessions.provide_credentials().await;
        given.map(|credentials| credentials.access_key_id().to_owned())
    }

    /// Lets what was begun beside come to its end.
    async fn settle(&self) {
        tokio::time::sleep(ISSUED_WITHIN * 4).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_issued_once_and_renewed_at_half_of_its_life() {
    let world = world(&[Mood::Well]);
    for _ in 0..100 {
        assert_eq!(world.key().await.unwrap(), "key-1");
    }
    world.clock.forward(HOUR / 2);
    assert_eq!(world.key().await.unwrap(), "key-1", "nobody waits for the new one");
    world.settle().await;
    assert_eq!(world.key().await.unwrap(), "key-2");
    assert_eq!(world.sources[0].asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_issues_the_old_session_works_to_its_very_end() {
    for mood in [Mood::Down, Mood::Hangs] {
        let world = world(&[Mood::Well, mood]);
        world.key().await.unwrap();
        world.sources[0].is(mood);
        world.clock.forward(HOUR / 2);
        let mut looks = 0;
        while world.clock.now().as_millis() < 1_800_000_000_000 + 3_594_000 {
            assert_eq!(world.key().await.unwrap(), "key-1", "{mood:?}");
            world.settle().await;
            world.clock.forward(Duration::from_secs(6));
            looks += 1;
        }
        // Half an hour, with an attempt every thirty seconds.
        let asked = world.sources[0].asked();
        assert!(looks > 290 && (55..=62).contains(&asked), "{mood:?}: {looks} {asked}");
        world.clock.forward(Duration::from_secs(10));
        assert!(world.key().await.is_err(), "{mood:?}: over is over");
        world.sources[1].is(Mood::Well);
        assert!(world.key().await.is_ok(), "{mood:?}: and back as soon as somebody issues");
    }
}

#[tokio::test(start_paused = true)]
async fn when_home_is_sick_another_region_issues() {
    for mood in [Mood::Down, Mood::Hangs] {
        let world = world(&[mood, Mood::Well]);
        assert_eq!(world.key().await.unwrap(), "key-1", "{mood:?}");
        assert_eq!((world.sources[0].asked(), world.sources[1].asked()), (1, 1), "{mood:?}");
    }
}

/// A call to a routing control waits for two seconds in all, and is then made again elsewhere.
#[tokio::test(start_paused = true)]
async fn whoever_gives_up_waiting_leaves_the_renewal_alone() {
    let give_up = Duration::from_millis(500);
    let world = world(&[Mood::Hangs, Mood::Hangs, Mood::Well]);
    for _ in 0..2 {
        assert!(timeout(give_up, world.key()).await.is_err(), "nobody has issued one yet");
    }
    assert_eq!(timeout(give_up, world.key()).await.unwrap().unwrap(), "key-1");
    let asked: Vec<usize> = world.sources.iter().map(Source::asked).collect();
    assert_eq!(asked, [1, 1, 1], "and not begun anew each time");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_configured_nobody_else_is_asked() {
    let world = world(&[Mood::Nothing, Mood::Well]);
    assert!(matches!(world.key().await, Err(CredentialsError::CredentialsNotLoaded(_))));
    assert_eq!(world.sources[1].asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn keys_without_an_end_are_read_anew_and_kept_if_that_fails() {
    let world = world(&[Mood::Keys]);
    assert_eq!(world.key().await.unwrap(), "key-1");
    world.clock.forward(REREAD_AFTER);
    world.key().await.unwrap();
    world.settle().await;
    assert_eq!(world.key().await.unwrap(), "key-2");
    world.sources[0].is(Mood::Down);
    world.clock.forward(HOUR * 24);
    assert_eq!(world.key().await.unwrap(), "key-2");
}

#[tokio::test(start_paused = true)]
async fn many_who_need_a_session_at_once_ask_once() {
    let world = world(&[Mood::Well]);
    let asking = (0..20).map(|_| world.key());
    for key in futures_util::future::join_all(asking).await {
        assert_eq!(key.unwrap(), "key-1");
    }
    assert_eq!(world.sources[0].asked(), 1);
}
