//! A copy that is kept fresh: when, and when not.

use super::*;
use crate::ports::Clock;
use crate::report::samples;
use crate::runtime::site::tests::{Site as Web, html, status};
use crate::telemetry::Numbers;

#[derive(Debug)]
struct Still;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

struct Bench {
    keeper: Keeper,
    site: Site,
    reports: mpsc::Receiver<Report>,
    home: tempfile::TempDir,
}

fn bench(at: &str, view: View) -> Bench {
    let home = tempfile::tempdir().unwrap();
    let site = Site {
        pages: vec![format!("{at}/")],
        to: SitePlace::Directory { path: home.path().join("copy").display().to_string() },
        every: Duration::from_secs(3600),
        retry_after: Duration::from_secs(120),
        friendly: None,
        depth: 0,
        pages_max: 10,
        mib_max: 1,
        assets_from: Vec::new(),
        notice: None,
        form_notice: None,
    };
    let mut policy = samples::policy();
    policy.site = Some(site.clone());
    let board = Arc::new(Board::new(Arc::new(Numbers::new()), Arc::new(Still)));
    board.publish(view);
    let (reports, heard) = mpsc::channel(8);
    let keeper = Keeper { policy: Arc::new(policy), board, pages: None, reports };
    Bench { keeper, site, reports: heard, home }
}

#[tokio::test]
async fn a_copy_is_made_while_all_is_well() {
    let web = Web::start(&[("/", html("<h1>Shop</h1>"))]).await;
    let bench = bench(&web.at, samples::calm_view());
    assert_eq!(bench.keeper.first_due(&bench.site).await, NOW, "there is none yet");
    let copied = bench.keeper.renew(&bench.site).await.unwrap();
    assert_eq!((copied.failure, copied.pages), (None, 1));
    assert!(bench.home.path().join("copy/index.html").exists());
    let due = bench.keeper.first_due(&bench.site).await;
    assert_eq!(due, NOW.plus(Duration::from_secs(3600)), "a restart waits for its time");
    web.set("/", status(500));
    let copied = bench.keeper.renew(&bench.site).await.unwrap();
    assert!(copied.failure.unwrap().contains("answers 500"));
    assert_eq!((copied.kept_from, copied.pages), (Some(NOW), 1), "the one before stays");
    let page = std::fs::read_to_string(bench.home.path().join("copy/index.html")).unwrap();
    assert!(page.contains("<h1>Shop</h1>"));
}

#[tokio::test]
async fn in_an_outage_nothing_is_copied() {
    let web = Web::start(&[("/", html("<h1>Shop</h1>"))]).await;
    let bench = bench(&web.at, samples::outage_view());
    assert!(!bench.keeper.all_is_well());
    // It began while the pages were fetched.
    assert_eq!(bench.keeper.renew(&bench.site).await, None);
    assert!(!bench.home.path().join("copy").exists());
}

#[test]
fn who_shows_the_copy_to_visitors_is_not_calm() {
    let (mut policy, view) = (samples::policy(), samples::calm_view());
    assert!(is_calm(&policy, &view));
    assert!(!is_calm(&policy, &View { decision: None, ..view.clone() }));
    // Nobody reads records where switches are the only levers: an incident is open while one is turned.
    let mut view = view;
    let decision = view.decision.as_mut().unwrap();
    let split = decision.split.take();
    assert!(!is_calm(&policy, &view), "records that are to be read and cannot be");
    let levers = std::mem::take(&mut policy.levers);
    assert!(is_calm(&policy, &view));
    policy.levers = levers;
    view.decision.as_mut().unwrap().split = split;
    // The region with all the visitors is the copy itself.
    let home = policy.home_split().unwrap();
    let carrying = home.weights().keys().find(|name| home.weight(name).0 > 0).unwrap().clone();
    policy.regions.get_mut(&carrying).unwrap().role = crate::policy::Role::LastResort;
    assert!(!is_calm(&policy, &view));
}

#[derive(Debug)]
struct Ticking(tokio::time::Instant);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        NOW.plus(self.0.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_once_and_tried_again() {
    // Nobody listens there.
    let mut bench = bench("http://127.0.0.1:9", samples::calm_view());
    let (stop, keeper) = (CancellationToken::new(), bench.keeper);
    let clock = Arc::new(Ticking(tokio::time::Instant::now()));
    let board = Arc::new(Board::new(Arc::new(Numbers::new()), clock));
    board.publish(samples::calm_view());
    let task = tokio::spawn(Keeper { board, ..keeper }.run(stop.clone()));
    sleep(Duration::from_secs(7200)).await;
    let Some(Report::Copied(copied)) = bench.reports.recv().await else { panic!("it is told") };
    assert!(copied.failure.is_some() && copied.kept_from.is_none());
    assert!(bench.reports.try_recv().is_err(), "once");
    stop.cancel();
    task.await.unwrap();
}
