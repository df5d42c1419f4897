//! A proxy before a wire server: records every request, and breaks the answers it is told to break.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::http::{self, Message};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) action: String,
    pub(crate) request: Message,
    /// Whether the server behind got it.
    pub(crate) forwarded: bool,
    /// The status of the server's answer, whether or not that was passed back.
    pub(crate) status: Option<u16>,
    /// What was done to it.
    pub(crate) fault: Option<String>,
}

/// In place of an action: whatever comes.
pub(crate) const ALL: &str = "*";

/// What happens to a request in place of being passed on and answered.
#[derive(Clone)]
pub(crate) enum Fault {
    /// Not passed on; this is the answer.
    Answer(Message),
    /// Passed on after this request of somebody else, who was faster.
    Before(Message),
    /// Passed on; the answer is changed on its way back.
    Rewrite(Arc<dyn Fn(Message) -> Message + Send + Sync>),
    /// Passed on and answered, but not before this long.
    Slow(Duration),
    /// Not passed on; the connection is reset.
    Reset,
    /// Neither passed on nor answered, with the connection held open: a time-out before the effect.
    SilenceBefore,
    /// Passed on, but the answer is kept back: a time-out after the effect.
    SilenceAfter,
    /// Passed on, and the connection closed in place of an answer.
    CloseAfter,
    /// Passed on, and the answer breaks off in the middle of its body.
    CutBody,
}

impl Fault {
    pub(crate) fn rewrite(change: impl Fn(Message) -> Message + Send + Sync + 'static) -> Self {
        Self::Rewrite(Arc::new(change))
    }

    /// The text of the answer with `from` replaced by `to`, which must occur.
    pub(crate) fn replace(from: &str, to: &str) -> Self {
        let (from, to) = (from.to_owned(), to.to_owned());
        Self::rewrite(move |mut answer| {
            let text = answer.text();
            assert!(text.contains(&from), "{from} is not in {text}");
            answer.body = text.replace(&from, &to).into_bytes();
            answer
        })
    }

    /// A refusal in the JSON of a cluster of routing controls.
    pub(crate) fn json_error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "__type": code, "message": message }).to_string();
        Self::Answer(Message::answer(status, "application/x-amz-json-1.0", body))
    }

    /// A refusal in the XML of Route 53 and Elastic Load Balancing.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        );
        Self::Answer(Message::answer(status, "text/xml", body))
    }
}

/// A rule that was given to the proxy. A test of a fault must see that it fired.
#[derive(Clone)]
pub(crate) struct Rule {
    action: String,
    /// Must occur in the body.
    about: String,
    name: String,
    fault: Fault,
    times: usize,
    fired: Arc<AtomicUsize>,
    /// Not before this one fired.
    first: Option<Arc<AtomicUsize>>,
}

impl Rule {
    pub(crate) fn fired(&self) -> usize {
        self.fired.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct Inner {
    seen: Mutex<Vec<Seen>>,
    rules: Mutex<Vec<Rule>>,
    shut: watch::Sender<bool>,
}

/// Ends when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    inner: Arc<Inner>,
    task: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::<Inner>::default();
        let task = tokio::spawn(listen(listener, upstream, Arc::clone(&inner)));
        Self { port, inner, task: task.abort_handle() }
    }

    /// From now on nobody listens, or somebody does again.
    pub(crate) async fn shut(&self, shut: bool) {
        self.inner.shut.send_replace(shut);
        let until = tokio::time::Instant::now() + http::PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() != shut {
            assert!(tokio::time::Instant::now() < until, "the port does not follow");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Breaks the next `times` answers to `action`. The rule given last comes first.
    pub(crate) fn inject(&self, action: &str, name: &str, fault: Fault, times: usize) -> Rule {
        self.add(action, "", name, fault, times)
    }

    /// Breaks, from now on, every answer to `action` about whatever has `about` in its request.
    pub(crate) fn inject_about(&self, action: &str, about: &str, fault: Fault) -> Rule {
        self.add(action, about, about, fault, usize::MAX)
    }

    /// The same, behind all rules that there are.
    pub(crate) fn inject_last(&self, action: &str, about: &str, fault: Fault) {
        let (action, about, name) = (action.to_owned(), about.to_owned(), about.to_owned());
        let rule = Rule {
            action,
            about,
            name,
            fault,
            times: usize::MAX,
            fired: Arc::default(),
            first: None,
        };
        self.inner.rules.lock().unwrap().push(rule);
    }

    fn add(&self, action: &str, about: &str, name: &str, fault: Fault, times: usize) -> Rule {
        let (action, about, name) = (action.to_owned(), about.to_owned(), name.to_owned());
        let rule = Rule { action, about, name, fault, times, fired: Arc::default(), first: None };
        self.inner.rules.lock().unwrap().insert(0, rule.clone());
        rule
    }

    /// A rule of another proxy here as well: what it counts, it counts over both.
    pub(crate) fn share(&self, rule: &Rule) {
        self.inner.rules.lock().unwrap().insert(0, rule.clone());
    }

    /// Breaks every answer once `first` has fired.
    pub(crate) fn inject_after(&self, first: &Rule, name: &str, fault: Fault) -> Rule {
        let (action, about, name) = (ALL.to_owned(), String::new(), name.to_owned());
        let (times, fired) = (usize::MAX, Arc::default());
        let rule = Rule {
            action,
            about,
            name,
            fault,
            times,
            fired,
            first: Some(Arc::clone(&first.fired)),
        };
        self.inner.rules.lock().unwrap().insert(0, rule.clone());
        rule
    }

    pub(crate) fn calm(&self) {
        self.inner.rules.lock().unwrap().clear();
    }

    /// Takes one rule away.
    pub(crate) fn relieve(&self, gone: &Rule) {
        let mut rules = self.inner.rules.lock().unwrap();
        rules.retain(|rule| !Arc::ptr_eq(&rule.fired, &gone.fired));
    }

    /// Everything that came since the last [`Proxy::forget`].
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, action: &str) -> usize {
        self.seen().iter().filter(|seen| seen.action == action).count()
    }

    pub(crate) fn forget(&self) {
        self.inner.seen.lock().unwrap().clear();
    }
}

async fn listen(first: TcpListener, upstream: u16, inner: Arc<Inner>) {
    let address = first.local_addr().unwrap();
    let (mut shut, mut open) = (inner.shut.subscribe(), JoinSet::new());
    // It may have been told before it got here.
    shut.mark_changed();
    let mut listening = Some(first);
    loop {
        let stream = match &listening {
            Some(listener) => tokio::select! {
                accepted = listener.accept() => accepted.ok().map(|(stream, _)| stream),
                _ = shut.changed() => None,
            },
            None => shut.changed().await.map(|()| None).unwrap(),
        };
        match stream {
            Some(stream) => drop(open.spawn(serve(stream, upstream, Arc::clone(&inner)))),
            None if *shut.borrow() => listening = None,
            None if listening.is_none() => {
                listening = Some(TcpListener::bind(address).await.unwrap());
            }
            None => {}
        }
        while open.try_join_next().is_some() {}
    }
}

async fn serve(mut client: TcpStream, upstream: u16, inner: Arc<Inner>) {
    let Ok(Some(request)) = http::read(&mut client).await else { return };
    let action = action(&request);
    let mut slow = None;
    let fault = {
        let rules = inner.rules.lock().unwrap();
        let text = request.text();
        let is_due = |rule: &&Rule| {
            (rule.action == action || rule.action == ALL)
                && text.contains(&rule.about)
                && rule.fired() < rule.times
                && rule.first.as_ref().is_none_or(|first| first.load(Ordering::SeqCst) > 0)
        };
        let mut due = rules.iter().filter(is_due).map(|rule| {
            rule.fired.fetch_add(1, Ordering::SeqCst);
            (rule.name.clone(), rule.fault.clone())
        });
        let mut first = due.next();
        // What is slow may be broken as well, by the next rule.
        if let Some((name, Fault::Slow(wait))) = first {
            slow = Some(wait);
            first = due.next().or(Some((name, Fault::Slow(wait))));
        }
        first
    };
    let forwarded =
        !matches!(&fault, Some((_, Fault::Answer(_) | Fault::SilenceBefore | Fault::Reset)));
    if let Some((_, Fault::Before(edit))) = &fault {
        let answer = http::exchange(upstream, edit).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    // Answered before it is noted, so that what a test sees as forwarded has had its effect.
    let answer = if forwarded { http::exchange(upstream, &request).await.ok() } else { None };
    let (name, fault) = fault.unzip();
    let status = answer.as_ref().map(Message::status);
    inner.seen.lock().unwrap().push(Seen { action, request, forwarded, status, fault: name });
    let bytes = match (fault, answer) {
        (None | Some(Fault::Before(_) | Fault::Slow(_)), Some(answer))
        | (Some(Fault::Answer(answer)), _) => answer.last(),
        (Some(Fault::Reset), _) => {
            // Closed with data unread and nothing to linger for: the peer sees a reset.
            let _ = client.set_zero_linger();
            return;
        }
        (Some(Fault::Rewrite(change)), Some(answer)) => change(answer).last(),
        (Some(Fault::CutBody), Some(answer)) => {
            let whole = answer.last();
            let kept = whole.len() - answer.body.len() / 2;
            whole[..kept].to_vec()
        }
        (Some(Fault::SilenceBefore | Fault::SilenceAfter), _) => {
            // Until the client gives up; the task ends with the proxy at the latest.
            let _ = http::read(&mut client).await;
            return;
        }
        (Some(Fault::CloseAfter), _) | (_, None) => return,
    };
    if let Some(wait) = slow {
        tokio::time::sleep(wait).await;
    }
    let _ = client.write_all(&bytes).await;
}

/// The name of the operation, whatever the protocol.
fn action(request: &Message) -> String {
    let mut words = request.first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default().trim_end_matches('/');
    if let Some(target) = request.header("x-amz-target") {
        return target.rsplit('.').next().unwrap_or_default().to_owned();
    }
    if let Some((_, operation)) = path.split_once("/operation/") {
        return operation.to_owned();
    }
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (method, parts.as_slice()) {
        ("POST", ["2013-04-01", "hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
        ("GET", ["2013-04-01", "hostedzone", _, "rrset"]) => "ListResourceRecordSets",
        ("POST", ["2013-04-01", "hostedzone"]) => "CreateHostedZone",
        ("GET", ["2013-04-01", "hostedzone", _]) => "GetHostedZone",
        ("GET", ["2013-04-01", "change", _]) => "GetChange",
        ("GET", ["2013-04-01", "hostedzonelimit", _, _]) => "GetHostedZoneLimit",
        ("GET", ["2013-04-01", "healthcheck", _]) => "GetHealthCheck",
        ("GET", ["2013-04-01", "healthcheck", _, "status"]) => "GetHealthCheckStatus",
        _ => {
            let text = request.text();
            let named = text.split('&').find_map(|pair| pair.strip_prefix("Action="));
            return named.map_or_else(|| format!("{method} {path}"), str::to_owned);
        }
    }
    .to_owned()
}
