//! The sick region is the one in which the controller is at home, and nothing of `us-east-1` answers: sessions
//! are issued elsewhere, and the levers of the data plane need nobody there.

use std::collections::BTreeSet;
use std::process::Stdio;

use leeward::clock::SystemClock;
use leeward::journal::Journal;
use leeward::memory::{Entry, Outcome};
use leeward::ports::Clock as _;
use tokio::process::Child;

use super::bench::{CENTRAL, EU, arc_lever};
use crate::aws_wire::program::{Place, stop, wait_for};
use crate::aws_wire::service::{Shop, eu};
use crate::wire::cluster::Cluster;
use crate::wire::http;
use crate::wire::proxy::{ALL, Fault, Proxy};
use crate::wire::sts::{Endpoint, Sts, signed_for};

/// Where the control planes of Route 53 and IAM are.
const CONTROL_PLANES: &str = "us-east-1";
const BUCKET: &str = "rescue-home";
const KEY: &str = "shop/0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lever {
    Gates,
    Arc,
}

/// The program with a role's profile, at home in the region that falls sick.
struct Case {
    lever: Lever,
    shop: Shop,
    cluster: Cluster,
    sts: Sts,
    /// In place of everything that is only in `us-east-1`.
    control: Proxy,
    bucket: Proxy,
    place: Place,
}

const PROFILE: &str =
    "[profile rescue]\nrole_arn = arn:aws:iam::111122223333:role/leeward\nsource_profile = keys\n";
const KEYS: &str = "[keys]\naws_access_key_id = test\naws_secret_access_key = test\n";

impl Case {
    async fn prepare(lever: Lever, home: Endpoint) -> Self {
        let shop = Shop::open(1).await;
        let cluster = Cluster::start(&[("eu", true), ("central", false)]).await;
        let now = || SystemClock.now();
        let is = move |region: &str| match region {
            EU => home,
            CONTROL_PLANES => Endpoint::Fails,
            _ => Endpoint::Well,
        };
        let sts = Sts::start(now, is).await;
        let control = Proxy::start(shop.world.server.port).await;
        control.inject(ALL, "impaired", Fault::SilenceBefore, usize::MAX);
        // One of the five endpoints is there, too.
        for (endpoint, (region, _)) in cluster.endpoints.iter().zip(cluster.addresses()) {
            if region == CONTROL_PLANES {
                endpoint.inject(ALL, "impaired", Fault::SilenceBefore, usize::MAX);
            }
        }
        let bucket = Proxy::start(shop.world.server.port).await;
        let there = format!(
            "<CreateBucketConfiguration><LocationConstraint>{CENTRAL}</LocationConstraint></CreateBucketConfiguration>"
        );
        let port = shop.world.server.port;
        http::call(port, "PUT", &format!("/{BUCKET}"), &there).await.unwrap();
        let place = Place::new(&shop);
        let case = Self { lever, shop, cluster, sts, control, bucket, place };
        std::fs::write(&case.place.policy, case.policy()).unwrap();
        std::fs::write(case.place.path("config"), PROFILE).unwrap();
        std::fs::write(case.place.path("credentials"), KEYS).unwrap();
        case
    }

    /// Only the lever under test; the check that looks at the gate can be asked in `us-east-1`.
    fn policy(&self) -> String {
        let text = std::fs::read_to_string(&self.place.policy).unwrap();
        let (head, rest) = text.split_once("levers:\n").unwrap();
        let tail = rest.split_once("signals:\n").unwrap().1;
        let lever = match self.lever {
            Lever::Arc => arc_lever(&self.cluster),
            Lever::Gates => format!(
                "  - gates:\n      regions:\n        {EU}: {{ s3: {{ bucket: {BUCKET}, key: {KEY}, aws_region: {CENTRAL}, \
                 url: \"{}/{BUCKET}/{KEY}\" }}, health_check: 0f0f0f0f-1111-2222-3333-444455556666 }}\n      \
                 check: {{ every: 10s, failures: 1 }}\n      ttl: 60s\n      in_force_within: 2m\n      witness: none\n",
                self.bucket.url(),
            ),
        };
        format!("{head}levers:\n{lever}signals:\n{tail}")
    }

    fn log(&self) -> std::path::PathBuf {
        self.place.path("run.log")
    }

    fn start(&self) -> Child {
        let mut program = self.place.leeward("run", &self.shop.world.proxy.url());
        let at = |service: &str, proxy: &Proxy| format!("{service}={}", proxy.url());
        // What is given later is looked at later: the exact one wins.
        program.arg("--endpoint").arg(at("s3", &self.bucket));
        program.arg("--endpoint").arg(at(&format!("route53@{CONTROL_PLANES}"), &self.control));
        program.args(["--listen", "127.0.0.1:0", "--state"]).arg(self.place.path("state"));
        program.env("AWS_PROFILE", "rescue").env("AWS_REGION", EU);
        program.env("AWS_CONFIG_FILE", self.place.path("config"));
        program.env("AWS_SHARED_CREDENTIALS_FILE", self.place.path("credentials"));
        program.env("AWS_ENDPOINT_URL_STS", format!("http://127.0.0.1:{}", self.sts.port));
        program.stderr(std::fs::File::create(self.log()).unwrap()).stdout(Stdio::null());
        program.spawn().unwrap()
    }

    fn is_done(&self) -> bool {
        let done = |entry: &Entry| matches!(entry, Entry::Ended { outcome: Outcome::Done, .. });
        let journal = Journal::read(&self.place.path("state").join("shop.journal")).unwrap();
        journal.iter().any(|record| done(&record.entry))
    }

    async fn is_out(&self) -> bool {
        let path = format!("/{BUCKET}/{KEY}");
        let object = http::call(self.shop.world.server.port, "GET", &path, "").await.unwrap();
        match self.lever {
            Lever::Arc => !self.cluster.is_on("eu") && self.cluster.is_on("central"),
            Lever::Gates => object.status() == 200,
        }
    }

    /// The AWS regions of requests that were answered.
    fn answered(&self) -> BTreeSet<String> {
        let proxies = self.cluster.endpoints.iter().chain([
            &self.bucket,
            &self.shop.world.proxy,
            &self.control,
        ]);
        let seen = proxies.flat_map(Proxy::seen).filter(|seen| seen.status.is_some());
        seen.filter_map(|seen| signed_for(&seen.request)).collect()
    }

    async fn play(self) {
        let (what, log) = (self.lever, self.log());
        let running = self.start();
        let looks = || self.shop.world.proxy.count("DescribeTargetHealth");
        wait_for("the first looks", &log, async || looks() > 12).await;
        assert!(!self.is_out().await, "{what:?}: a calm day");
        self.shop.kill(&eu());
        wait_for("the end of the move", &log, async || self.is_done()).await;
        assert!(self.is_out().await, "{what:?}");
        assert_eq!(stop(running).await, Some(0), "{what:?}");
        // At home first, then where the standby is, whose session is good everywhere.
        let asked = self.sts.asked();
        assert_eq!(asked.first().map(String::as_str), Some(EU), "{what:?}: {asked:?}");
        assert_eq!(asked.last().map(String::as_str), Some(CENTRAL), "{what:?}: {asked:?}");
        assert!(!asked.iter().any(|region| region == CONTROL_PLANES), "{what:?}: {asked:?}");
        let answered = self.answered();
        assert!(!answered.contains(CONTROL_PLANES), "{what:?}: {answered:?}");
    }
}

#[tokio::test]
async fn the_rescue_needs_neither_the_sick_home_nor_us_east_1() {
    let play =
        async |lever, home| Box::pin(Box::pin(Case::prepare(lever, home)).await.play()).await;
    tokio::join!(
        play(Lever::Gates, Endpoint::Fails),
        play(Lever::Gates, Endpoint::Hangs),
        play(Lever::Arc, Endpoint::Fails),
        play(Lever::Arc, Endpoint::Hangs),
    );
}

/// Where no signal is read from AWS nothing is asked of it on a calm day, and whoever issues sessions may be
/// down on another one.
#[tokio::test]
async fn a_session_is_at_hand_before_it_is_needed() {
    let case = Box::pin(Case::prepare(Lever::Arc, Endpoint::Well)).await;
    let text = std::fs::read_to_string(&case.place.policy).unwrap();
    let (head, rest) = text.split_once("  targets: ").unwrap();
    let pushed = "  targets: { class: inside, fresh_for: 2m, pushed: {} }";
    let text = format!("{head}{pushed}\n{}", rest.split_once('\n').unwrap().1);
    std::fs::write(&case.place.policy, text).unwrap();
    let running = case.start();
    wait_for("a session", &case.log(), async || !case.sts.asked().is_empty()).await;
    assert_eq!(stop(running).await, Some(0));
    assert_eq!(case.sts.asked(), [EU]);
    assert!(case.answered().is_empty(), "nothing else was asked");
}
