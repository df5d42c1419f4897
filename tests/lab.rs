//! The laboratory as a person runs it: the real binary, watched by a client of its own that speaks DNS and
//! HTTP by hand and believes nothing that is printed.

#![expect(clippy::disallowed_methods, reason = "real processes on real time, every wait bounded")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use leeward::balancer::cure::Purpose;
use leeward::journal::Journal;
use leeward::memory::Entry;
use leeward::policy::{self, RungKind};
use serde_json::Value;

use crate::cures;

const DUBLIN: Ipv4Addr = Ipv4Addr::new(127, 0, 11, 1);
const FRANKFURT: Ipv4Addr = Ipv4Addr::new(127, 0, 12, 1);
const STATIC: Ipv4Addr = Ipv4Addr::new(127, 0, 14, 1);
/// Generous: a whole run takes 20 seconds on an idle machine.
const RUN_MAX: Duration = Duration::from_secs(150);
/// One exchange of the client on loopback.
const EXCHANGE_MAX: Duration = Duration::from_millis(1500);

/// One laboratory at a time: two of them beside each other on a small machine are a brownout of their own.
static ALONE: Mutex<()> = Mutex::new(());

/// A running laboratory. Killed if a test forgets it.
struct Lab {
    child: Child,
    screen: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    stdout: Arc<Mutex<String>>,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Lab {
    fn start(arguments: &[&str]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = Command::new(env!("CARGO_BIN_EXE_leeward"))
            .args(["lab", "--fast", "--format", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (screen, stdout) =
            (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<String>>::default());
        let (lines, errors) = (Arc::clone(&screen), child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let (text, mut output) = (Arc::clone(&stdout), child.stdout.take().unwrap());
        let other = std::thread::spawn(move || {
            let mut read = String::new();
            output.read_to_string(&mut read).ok();
            *text.lock().unwrap() = read;
        });
        Self { child, screen, readers: vec![reader, other], stdout, _alone: alone }
    }

    fn lines(&self) -> Vec<String> {
        self.screen.lock().unwrap().clone()
    }

    /// Waits for a line with this text.
    fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + RUN_MAX;
        loop {
            if let Some(line) = self.lines().into_iter().find(|line| line.contains(text)) {
                return line;
            }
            assert!(Instant::now() < until, "no `{text}` in\n{}", self.lines().join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn name_server(&self) -> SocketAddr {
        let line = self.wait_for("dig @127.0.0.1 -p");
        let port = line.split_whitespace().skip_while(|word| *word != "-p").nth(1).unwrap();
        SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().unwrap()))
    }

    fn shop_port(&self) -> u16 {
        let line = self.wait_for("primary, http://127.0.11.1:");
        line.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Waits for the end; what was said to stdout, and how it ended.
    fn end(mut self) -> (ExitStatus, Value, Vec<String>) {
        let until = Instant::now() + RUN_MAX;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.lines().join("\n"));
            std::thread::sleep(Duration::from_millis(50));
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let text = self.stdout.lock().unwrap().clone();
        let lines = self.lines();
        let sum = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}\n{}", lines.join("\n")));
        (status, sum, lines)
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }
}

/// What the client saw at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    answer: Option<Ipv4Addr>,
    served: bool,
}

/// A client that asks the name server and then the shop, many times a second, without any cache.
struct Watcher {
    looks: Arc<Mutex<Vec<Look>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    fn over(lab: &Lab) -> Self {
        let (dns, port) = (lab.name_server(), lab.shop_port());
        let (looks, stop) = (Arc::<Mutex<Vec<Look>>>::default(), Arc::<AtomicBool>::default());
        let (seen, ended) = (Arc::clone(&looks), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                let at = Instant::now();
                let answer = address(dns);
                let served = answer.is_some_and(|address| get(SocketAddr::from((address, port))));
                // The laboratory is going home: that is no outage.
                if answer.is_some() {
                    seen.lock().unwrap().push(Look { at, answer, served });
                }
                std::thread::sleep(Duration::from_millis(40));
            }
        });
        Self { looks, stop, thread: Some(thread) }
    }

    fn stop(mut self) -> Vec<Look> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        let mut looks = self.looks.lock().unwrap().clone();
        // Answered, and then the curtain fell before the shop was asked.
        looks.pop_if(|last| !last.served);
        looks
    }
}

/// One question over UDP, written by hand (RFC 1035, 4.1).
fn ask(server: SocketAddr, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut question = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend_from_slice(label.as_bytes());
    }
    question.push(0);
    question.extend_from_slice(&kind.to_be_bytes());
    question.extend_from_slice(&[0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(EXCHANGE_MAX)).unwrap();
    socket.send_to(&question, server).ok()?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).ok()?;
    let answer = answer.get(..length)?.to_vec();
    // Our question, without error, with authority, one answer.
    let is_ours = answer.get(..2)? == [0x12, 0x34] && answer[2] & 0x84 == 0x84;
    (is_ours && answer[3] % 16 == 0 && answer[7] == 1).then_some(answer)
}

/// The last four octets of the answer to a question for an address are that address.
fn address(server: SocketAddr) -> Option<Ipv4Addr> {
    let answer = ask(server, "shop.lab.test", 1)?;
    let last: [u8; 4] = answer.last_chunk().copied()?;
    Some(Ipv4Addr::from(last))
}

fn get(shop: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&shop, EXCHANGE_MAX) else { return false };
    stream.set_read_timeout(Some(EXCHANGE_MAX)).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: shop.lab.test\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}

fn number(sum: &Value, name: &str) -> f64 {
    sum[name].as_f64().unwrap_or_else(|| panic!("no `{name}` in {sum:#}"))
}

fn lines_with<'a>(lines: &'a [String], text: &str) -> Vec<&'a String> {
    lines.iter().filter(|line| line.contains(text)).collect()
}

#[test]
fn a_lost_region_is_left_and_the_summary_is_true() {
    let state = tempfile::tempdir().unwrap();
    let lab = Lab::start(&["--outage", "region-loss", "--state", state.path().to_str().unwrap()]);
    let watcher = Watcher::over(&lab);
    let server = lab.name_server();
    assert!(ask(server, "_leeward.shop.lab.test", 16).is_none(), "nobody has moved anything yet");
    lab.wait_for("seen in the answers");
    let epoch = ask(server, "_leeward.shop.lab.test", 16).expect("who moved it?");
    let epoch = String::from_utf8_lossy(&epoch).into_owned();
    assert!(epoch.contains("service=shop epoch=1 split=dublin:0,frankfurt:100"), "{epoch}");
    let (status, sum, lines) = lab.end();
    let looks = watcher.stop();
    let screen = lines.join("\n");
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{screen}");

    // The answers changed once, from home to the standby, and never back.
    let turned = looks.iter().position(|look| look.answer == Some(FRANKFURT)).expect("it moves");
    assert!(turned > 20, "it begins at home");
    assert!(looks[..turned].iter().all(|look| look.answer == Some(DUBLIN)));
    assert!(looks[turned..].iter().all(|look| look.answer == Some(FRANKFURT)));

    // The client saw the outage itself, and all was well before it and after the change.
    let lost = looks.iter().position(|look| !look.served).expect("an outage");
    assert!(lost > 20, "all is well at first: {screen}");
    let last_lost = looks.iter().rposition(|look| !look.served).unwrap();
    assert!(last_lost <= turned + 1, "all is well afterwards");
    assert!(looks.len() - turned > 20, "and stays so for a while");
    assert!(looks[lost..turned].iter().all(|look| !look.served));

    // Its own clock agrees with the summary.
    let dark = (looks[turned].at - looks[lost].at).as_secs_f64();
    let in_force = number(&sum, "in_force_after");
    // It looks once a second whether what it ordered is answered.
    let agree = in_force > dark - 1.0 && in_force < dark + 3.0;
    assert!(agree, "seen {dark}, told {in_force}\n{screen}");
    let stages: Vec<f64> = ["detected_after", "decided_after", "accepted_after", "in_force_after"]
        .map(|name| number(&sum, name))
        .to_vec();
    assert!(stages.is_sorted(), "{stages:?}");
    // The policy asks for five seconds of evidence, and a change takes one to be in force.
    assert!(stages[1] >= 5.0 && stages[3] >= stages[2] + 1.0, "{stages:?}");

    // Visitors keep an answer for one second (one of them for two), so they lose a little longer.
    let again = number(&sum, "last_loss_after");
    assert!(again >= dark - 0.5 && again <= dark + 5.0, "seen {dark}, told {again}");
    let (lost, requests) = (number(&sum, "lost"), number(&sum, "requests"));
    assert!(lost >= dark * 50.0 * 0.6 && lost <= (again + 1.0) * 50.0 * 1.2, "{sum:#}");
    assert!(requests > lost && number(&sum, "lost_without") > lost, "{sum:#}");
    assert_eq!(sum["moves"], 1);

    // What it worked by and what it did can be read afterwards.
    let text = std::fs::read_to_string(state.path().join("policy.yaml")).unwrap();
    policy::load(&text, "policy.yaml").unwrap();
    let journal = Journal::read(&state.path().join("shop.journal")).unwrap();
    let place = |wanted: fn(&Entry) -> bool| {
        journal.iter().position(|record| wanted(&record.entry)).expect("an entry")
    };
    let intended = place(|entry| matches!(entry, Entry::Intended(_)));
    let sending = place(|entry| matches!(entry, Entry::Sending { .. }));
    let accepted = place(|entry| matches!(entry, Entry::Accepted { .. }));
    assert!(intended < sending && sending < accepted);
}

#[test]
fn a_blip_moves_nothing() {
    let lab = Lab::start(&["--outage", "blip"]);
    let watcher = Watcher::over(&lab);
    let (status, sum, lines) = lab.end();
    let looks = watcher.stop();
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{}", lines.join("\n"));
    assert!(looks.iter().any(|look| !look.served), "there was a blip");
    assert!(looks.iter().all(|look| look.answer == Some(DUBLIN)));
    assert_eq!(sum["moves"], 0);
    assert!(number(&sum, "lost") > 0.0);
    assert_eq!(sum["lost_without"], Value::Null);
}

#[test]
fn a_brownout_is_left_though_half_of_it_works() {
    let lab = Lab::start(&["--outage", "brownout", "--regions", "3"]);
    let watcher = Watcher::over(&lab);
    let (status, sum, lines) = lab.end();
    let looks = watcher.stop();
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{}", lines.join("\n"));
    assert_eq!(sum["moves"], 1);
    let turned = looks.iter().position(|look| look.answer != Some(DUBLIN)).expect("it moves");
    let lost = looks[..turned].iter().filter(|look| !look.served).count();
    assert!(lost > 0 && lost < turned, "a part of the requests fails");
    assert!(looks[turned..].iter().all(|look| look.served), "nobody fails afterwards");
    // Had it stayed, about half would have failed on.
    let how = sum["lost_without_how"].as_str().unwrap();
    assert!(how.contains("failed"), "{how}");
}

#[test]
fn a_region_that_answers_too_late_is_left() {
    let (status, sum, lines) = Lab::start(&["--outage", "slow"]).end();
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{}", lines.join("\n"));
    assert_eq!(sum["moves"], 1);
}

#[test]
fn a_rotten_standby_is_not_moved_to_before_it_is_well() {
    let lab = Lab::start(&["--outage", "standby-rotten"]);
    let watcher = Watcher::over(&lab);
    let (status, sum, lines) = lab.end();
    let looks = watcher.stop();
    let screen = lines.join("\n");
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{screen}");
    let place = |text: &str| {
        lines
            .iter()
            .position(|line| line.contains(text))
            .unwrap_or_else(|| panic!("{text}\n{screen}"))
    };
    assert!(place("frankfurt is rotten") < place("dublin is down"));
    assert!(place("dublin is down") < place("frankfurt is well again"));
    assert!(place("frankfurt is well again") < place("decides to move"));
    assert_eq!(lines_with(&lines, "decides to move").len(), 1, "{screen}");
    // The client never was sent into the rotten region.
    let turned = looks.iter().position(|look| look.answer == Some(FRANKFURT)).expect("it moves");
    assert!(looks[turned..].iter().all(|look| look.served));
}

#[test]
fn an_isolated_observer_moves_nothing_while_visitors_are_well() {
    let lab = Lab::start(&["--outage", "observer-isolated"]);
    let (status, sum, lines) = lab.end();
    let screen = lines.join("\n");
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{screen}");
    assert_eq!(sum["moves"], 0);
    assert!(!lines_with(&lines, "ObserverIsolated").is_empty(), "{screen}");
    assert!(number(&sum, "lost") <= number(&sum, "requests") / 100.0, "{sum:#}");
}

#[test]
fn sigterm_ends_it_in_order() {
    let lab = Lab::start(&["--outage", "region-loss"]);
    lab.wait_for("1s  ");
    lab.terminate();
    let asked = Instant::now();
    let (status, sum, _) = lab.end();
    assert!(asked.elapsed() < Duration::from_secs(20));
    assert_eq!(status.code(), Some(5), "it was not played to its end");
    assert_eq!(sum["verdict"], "stopped before its time");
}

#[test]
fn hands_on_is_broken_and_healed_from_another_terminal() {
    let lab = Lab::start(&["--hands-on", "--control", "127.0.0.1:0", "--for", "120"]);
    let usage = lab.wait_for("curl -X POST http://");
    let control = usage.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let order = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leeward"));
        command.arg("lab").args(words).args(["--control", &control]).output().unwrap()
    };
    lab.wait_for("all well");
    assert!(order(&["break", "dublin", "down"]).status.success());
    lab.wait_for("dublin is down");
    lab.wait_for("seen in the answers");
    assert_eq!(address(lab.name_server()), Some(FRANKFURT));
    let unknown = order(&["break", "atlantis", "down"]);
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("there are dublin, frankfurt"), "{said}");
    assert!(order(&["heal", "dublin"]).status.success());
    lab.wait_for("dublin is well again");
    lab.terminate();
    let (status, sum, _) = lab.end();
    assert!(status.success(), "{status} {sum:#}");
    assert_eq!(sum["moves"], 1);
}

#[test]
fn a_directory_with_an_earlier_journal_is_not_taken() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("shop.journal"), "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_leeward"))
        .args(["lab", "--outage", "blip", "--state", state.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("holds the journal of an earlier run"), "{said}");
}

/// The API of Route 53 answers no call from before the outage to the end: the bucket, the health checks
/// and the name server of the laboratory go on, as its data plane does. The laboratory's policy has weights
/// before gates.
#[test]
fn a_gate_moves_visitors_while_the_control_plane_is_dead() {
    let state = tempfile::tempdir().unwrap();
    let place = state.path().to_str().unwrap();
    let lab = Lab::start(&["--outage", "control-plane-down", "--state", place]);
    let watcher = Watcher::over(&lab);
    let (status, sum, lines) = lab.end();
    let looks = watcher.stop();
    let screen = lines.join("\n");
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{screen}");
    assert_eq!(sum["lever"], "gates");
    assert!(
        sum["verdict"].as_str().unwrap().contains("by a gate while the API was dead"),
        "{sum:#}"
    );
    lab_line(&lines, "the API of Route 53 is dead");

    // Out within thirty seconds of the time at which it could be known that the region is lost, by the
    // client's own clock: as long as the policy wants it seen, over a window that is full of it.
    let text = std::fs::read_to_string(state.path().join("policy.yaml")).unwrap();
    let (policy, _) = policy::load(&text, "policy.yaml").unwrap();
    let detection = (policy.judge.window + policy.judge.sustain).as_secs_f64();
    let lost = looks.iter().position(|look| !look.served).expect("an outage");
    let turned = looks.iter().position(|look| look.answer == Some(FRANKFURT)).expect("it moves");
    assert!(looks[turned..].iter().all(|look| look.answer == Some(FRANKFURT)), "{screen}");
    let dark = (looks[turned].at - looks[lost].at).as_secs_f64();
    assert!(dark <= detection + 30.0, "dark for {dark} s\n{screen}");
    // No change of a record was ever accepted.
    let entries = Journal::read(&state.path().join("shop.journal")).unwrap();
    assert!(
        !entries.iter().any(|record| matches!(record.entry, Entry::Accepted { .. })),
        "{screen}"
    );
    let turned =
        entries.iter().filter(|record| matches!(record.entry, Entry::Turned { failure: None, .. }));
    assert_eq!(turned.count(), 1);
}

fn lab_line(lines: &[String], text: &str) {
    assert!(!lines_with(lines, text).is_empty(), "no `{text}` in\n{}", lines.join("\n"));
}

/// One exchange by hand: status line, head and body.
fn exchange(shop: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&shop, EXCHANGE_MAX).ok()?;
    stream.set_read_timeout(Some(EXCHANGE_MAX)).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: shop.lab.test\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).ok()?;
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn without_power_anywhere_visitors_get_a_copy_and_come_home() {
    let lab = Lab::start(&["--outage", "no-power"]);
    let watcher = Watcher::over(&lab);
    let (dns, port) = (lab.name_server(), lab.shop_port());
    // What a visitor reads, asked for at the address that the name server answers in the dark.
    let until = Instant::now() + RUN_MAX;
    let copy = loop {
        if address(dns) == Some(STATIC) {
            break SocketAddr::from((STATIC, port));
        }
        assert!(Instant::now() < until, "no last resort:\n{}", lab.lines().join("\n"));
        std::thread::sleep(Duration::from_millis(50));
    };
    let home = exchange(copy, "/").expect("the copy answers");
    assert!(home.starts_with("HTTP/1.1 200 ") && home.contains("<h1>The shop</h1>"), "{home}");
    assert!(home.contains("This is a saved copy of the page"), "{home}");
    let sheet = home.split("stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(exchange(copy, &format!("/{sheet}")).unwrap().contains("font: 1.1rem/1.5 sans-serif"));
    assert!(exchange(copy, "/help/").unwrap().contains("We are here for you"));
    let cart = exchange(copy, "/cart").expect("a friendly page");
    assert!(cart.starts_with("HTTP/1.1 503 ") && cart.contains("retry-after: 30\r\n"), "{cart}");
    assert!(cart.contains("We will be right back"), "{cart}");
    assert!(exchange(SocketAddr::from((DUBLIN, port)), "/").is_none(), "it is dark there");

    let (status, sum, lines) = lab.end();
    let looks = watcher.stop();
    let screen = lines.join("\n");
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{screen}");
    assert_eq!(sum["moves"], 2, "{screen}");
    // Patience of the policy: five seconds bad, and five more.
    assert!(number(&sum, "decided_after") >= 10.0, "{sum:#}");
    let answers: Vec<_> = looks.iter().filter_map(|look| look.answer).collect();
    let mut turns = answers.clone();
    turns.dedup();
    assert_eq!(turns, [DUBLIN, STATIC, DUBLIN], "{screen}");
    let there = looks.iter().position(|look| look.answer == Some(STATIC)).unwrap();
    assert!(looks[there..].iter().all(|look| look.served), "served from the copy on, to the end");
}

#[test]
fn a_bad_deploy_is_taken_back_and_nothing_moves() {
    let state = tempfile::tempdir().unwrap();
    let lab = Lab::start(&["--outage", "bad-deploy", "--state", state.path().to_str().unwrap()]);
    let watcher = Watcher::over(&lab);
    let (status, sum, lines) = lab.end();
    let looks = watcher.stop();
    let screen = lines.join("\n");
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{screen}");
    assert_eq!(sum["moves"], 0, "{screen}");
    assert!(looks.iter().all(|look| look.answer == Some(DUBLIN)), "never shifts");
    let lost = looks.iter().position(|look| !look.served).expect("an outage");
    let final_loss = looks.iter().rposition(|look| !look.served).unwrap();
    assert!(
        lost > 20 && looks.len() - final_loss > 20,
        "well before it, and well after the cure\n{screen}"
    );
    let place = |text: &str| {
        lines
            .iter()
            .position(|line| line.contains(text))
            .unwrap_or_else(|| panic!("{text}\n{screen}"))
    };
    assert!(place("v42 is rolled out everywhere") < place("the pipeline was called"));
    let journal = Journal::read(&state.path().join("shop.journal")).unwrap();
    let heard = journal
        .iter()
        .any(|record| matches!(&record.entry, Entry::Heard { text, .. } if text.contains("v42")));
    assert!(heard, "the deploy came in by the door of the pipeline");
    let paged = journal.iter().find_map(|record| {
        let Entry::Posted(letter) = &record.entry else { return None };
        let pages = letter.note.severity == leeward::tell::Severity::Page;
        pages.then(|| letter.note.text.clone())
    });
    assert!(paged.as_ref().is_some_and(|text| text.contains("`v42`")), "{paged:?}");
    let called = |record: &&leeward::journal::Record| matches!(record.entry, Entry::HookCalled(_));
    assert_eq!(journal.iter().filter(called).count(), 1);
    assert!(!journal.iter().any(|record| matches!(record.entry, Entry::Intended(_))));
}

/// One request past the name server: when, and whether it was served; `None` without a connection.
type Asked = (Instant, Option<bool>);

/// Asks two balancers in turn, past the name server, until the laboratory is gone.
struct TwoFronts {
    seen: Arc<Mutex<[Vec<Asked>; 2]>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TwoFronts {
    fn over(lab: &Lab) -> Self {
        let port = lab.shop_port();
        let (seen, stop) = (Arc::<Mutex<[Vec<Asked>; 2]>>::default(), Arc::<AtomicBool>::default());
        let (kept, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                for (place, last) in [1, 2].into_iter().enumerate() {
                    let address = SocketAddr::from((Ipv4Addr::new(127, 0, 11, last), port));
                    let at = Instant::now();
                    let open = TcpStream::connect_timeout(&address, EXCHANGE_MAX).is_ok();
                    kept.lock().unwrap()[place].push((at, open.then(|| get(address))));
                }
                std::thread::sleep(Duration::from_millis(40));
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// What each balancer did, without what was asked when the curtain had fallen.
    fn stop(mut self) -> [Vec<(Instant, bool)>; 2] {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.seen.lock().unwrap().clone().map(|mut seen| {
            while seen.pop_if(|(_, served)| served.is_none()).is_some() {}
            // Connected, and then it fell.
            seen.pop_if(|(_, served)| *served == Some(false));
            seen.into_iter().map(|(at, served)| (at, served == Some(true))).collect()
        })
    }
}

#[test]
fn grey_balancers_are_cured_one_after_the_other_where_they_stand() {
    let state = tempfile::tempdir().unwrap();
    let place = state.path().to_str().unwrap();
    let lab = Lab::start(&["--outage", "grey-balancer", "--state", place]);
    let fronts = TwoFronts::over(&lab);
    let (status, sum, lines) = lab.end();
    let [web, api] = fronts.stop();
    let screen = lines.join("\n");
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{screen}");
    assert_eq!(sum["moves"], 0, "{screen}");
    lab_line(&lines, "diagnosis: BalancerFault (web-dublin)");
    lab_line(&lines, "web-dublin: targets is done");
    lab_line(&lines, "api-dublin: targets is done");

    // Each was well, then failed, then was well; the busier one first.
    let last_lost = |seen: &[(Instant, bool)]| {
        let first = seen.iter().position(|(_, served)| !served).expect("it fails");
        assert!(first > 20, "well at first\n{screen}");
        let last = seen.iter().rposition(|(_, served)| !served).unwrap();
        assert!(last + 5 < seen.len(), "well at last\n{screen}");
        let during = &seen[first..=last];
        let failures = during.iter().filter(|(_, served)| !served).count();
        assert!(failures * 4 < during.len() * 3, "a refresh is no outage of its own\n{screen}");
        seen[last].0
    };
    assert!(last_lost(&web) < last_lost(&api), "{screen}");

    // By the executor of `run`, mildest first, one balancer after the other.
    let (reassert, targets) = (Purpose::Rung(RungKind::Reassert), Purpose::Rung(RungKind::Targets));
    let rungs = cures::begun(state.path());
    assert_eq!(rungs[0].0, "web-dublin", "{screen}");
    for name in ["web-dublin", "api-dublin"] {
        let of_it: Vec<_> =
            rungs.iter().filter(|(of, _)| of == name).map(|(_, rung)| *rung).collect();
        assert_eq!(of_it, [reassert, targets], "{name}\n{screen}");
    }
}

#[test]
fn a_refresh_that_does_harm_is_the_last_one_and_the_region_is_left() {
    let state = tempfile::tempdir().unwrap();
    let place = state.path().to_str().unwrap();
    let arguments = ["--outage", "grey-balancer", "--refresh-makes-it-worse", "--state", place];
    let (status, sum, lines) = Lab::start(&arguments).end();
    let screen = lines.join("\n");
    assert!(status.success() && sum["ok"] == true, "{status} {sum:#}\n{screen}");
    assert_eq!(sum["moves"], 1, "{screen}");
    lab_line(&lines, "its probes fail more than before");
    assert!(lines_with(&lines, "is well again").is_empty(), "{screen}");
    assert_eq!(
        cures::begun(state.path()),
        [
            ("web-dublin".to_owned(), Purpose::Rung(RungKind::Reassert)),
            ("web-dublin".to_owned(), Purpose::Undo),
        ],
        "{screen}"
    );
}

#[test]
fn harm_is_for_grey_balancers_only() {
    let output = Command::new(env!("CARGO_BIN_EXE_leeward"))
        .args(["lab", "--outage", "blip", "--refresh-makes-it-worse"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("needs `--outage grey-balancer`"), "{said}");
}
