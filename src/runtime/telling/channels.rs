//! The channels that a policy names, one try at a time.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::secret::{address, read};
use super::{Bundle, Carrier, Untaken, Way, forms, mail};
use crate::policy::{self, Channel, Policy};
use crate::ports::{Announcement, Topics};
use crate::runtime::http::{Ask, NoAnswer, ask};
use crate::tell::{Note, Thread};

/// One try at a channel. One that works answers within a second.
const TRY_WITHIN: Duration = Duration::from_secs(5);

/// Notes that are remembered as taken: many times what waits for a channel.
const TAKEN_MAX: usize = 1024;

/// What is answered is a few words; a page of a proxy is cut.
const ANSWER_MAX: usize = 64 * 1024;

/// The ways to people of a policy, in its order.
pub(super) fn ways(policy: &Policy, topics: Option<&Arc<dyn Topics>>) -> Vec<Way> {
    let public = policy.status_page.is_some();
    let way = |channel: &Channel| Way {
        name: channel.name.clone(),
        carrier: Arc::new(Post {
            channel: channel.clone(),
            topics: topics.cloned(),
            taken: Taken::default(),
        }),
        from: channel.from,
        stands_in: channel.stands_in,
        keeps_alerts: matches!(
            channel.way,
            policy::Way::PagerDuty { .. } | policy::Way::Opsgenie { .. }
        ),
        // Whoever has no status page of ours may feed one by these.
        takes_status: !public
            && matches!(channel.way, policy::Way::Webhook(_) | policy::Way::Command { .. }),
        within: TRY_WITHIN,
    };
    policy.tell.channels.iter().map(way).collect()
}

#[derive(Debug)]
struct Post {
    channel: Channel,
    topics: Option<Arc<dyn Topics>>,
    taken: Taken,
}

/// Notes that were taken one by one of messages that were not taken as a whole. They are not sent again with
/// the rest.
#[derive(Debug, Default)]
struct Taken(Mutex<BTreeSet<(Thread, u32)>>);

impl Taken {
    /// Carries those that are not taken yet, in their order. When all are, nobody will try them again, and they
    /// are forgotten.
    async fn one_by_one<'a, F>(
        &self,
        notes: &'a [Note],
        carry: impl Fn(&'a Note) -> F,
    ) -> Result<(), Untaken>
    where
        F: Future<Output = Result<(), Untaken>>,
    {
        for note in notes {
            let key = key(note);
            if self.lock().contains(&key) {
                continue;
            }
            carry(note).await?;
            let mut taken = self.lock();
            if taken.len() >= TAKEN_MAX {
                taken.clear();
            }
            taken.insert(key);
        }
        let mut taken = self.lock();
        for note in notes {
            taken.remove(&key(note));
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<(Thread, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(note: &Note) -> (Thread, u32) {
    (note.thread.clone(), note.sequence)
}

/// Whether an answer means that it was taken.
type Took = fn(&[u8]) -> bool;

#[async_trait]
impl Carrier for Post {
    async fn carry(&self, bundle: &Bundle) -> Result<(), Untaken> {
        match &self.channel.way {
            policy::Way::Webhook(hook) => {
                let (url, kind) = (address(&hook.url)?, hook.content_type.as_str());
                let post = |note| send(&url, kind, None, forms::webhook(note, hook), |_| true);
                self.taken.one_by_one(&bundle.notes, post).await
            }
            policy::Way::Command { program, arguments } => {
                let run = async move |note: &Note| {
                    let body = serde_json::to_vec(note)
                        .map_err(|error| Untaken::for_good(error.to_string()))?;
                    command(program, arguments, &body).await
                };
                self.taken.one_by_one(&bundle.notes, run).await
            }
            policy::Way::Slack { url } => {
                json(&read(url)?, None, &forms::slack(bundle), forms::slack_took).await
            }
            policy::Way::PagerDuty { key, url } => {
                let body = forms::pagerduty(bundle, &read(key)?);
                json(url, None, &body, forms::pagerduty_took).await
            }
            policy::Way::Opsgenie { key, url } => {
                let key = format!("GenieKey {}", read(key)?);
                for (what, body) in forms::opsgenie(bundle) {
                    json(&format!("{url}{what}"), Some(&key), &body, forms::opsgenie_took).await?;
                }
                Ok(())
            }
            policy::Way::Sns { topic, aws_region } => self.publish(topic, aws_region, bundle).await,
            policy::Way::Mail(server) => mail::send(server, bundle).await,
        }
    }
}

impl Post {
    async fn publish(&self, topic: &str, region: &str, bundle: &Bundle) -> Result<(), Untaken> {
        let Some(topics) = &self.topics else {
            return Err(Untaken::for_good("this build cannot reach SNS".to_owned()));
        };
        let (thread, sequence) = bundle
            .newest()
            .map_or((String::new(), 0), |note| (note.thread.to_string(), note.sequence));
        let message = Announcement {
            subject: &forms::subject(bundle),
            text: &forms::everything(bundle),
            severity: forms::word(bundle.severity()),
            thread: &thread,
            sequence,
        };
        let published = topics.publish(region, topic, &message).await;
        published.map_err(|failure| Untaken::by(&failure))
    }
}

async fn json(
    url: &str,
    authorization: Option<&str>,
    body: &serde_json::Value,
    took: Took,
) -> Result<(), Untaken> {
    send(url, "application/json", authorization, body.to_string(), took).await
}

async fn send(
    url: &str,
    content_type: &str,
    authorization: Option<&str>,
    body: String,
    took: Took,
) -> Result<(), Untaken> {
    let (method, within) = (Method::POST, TRY_WITHIN);
    let answer = exchange(method, url, content_type, authorization, body, within).await?;
    if took(&answer) { Ok(()) } else { Err(Untaken::strange()) }
}

/// One request; anything but success is said in a few words, without the address, which may be a secret.
pub(super) async fn exchange(
    method: Method,
    url: &str,
    content_type: &str,
    authorization: Option<&str>,
    body: String,
    within: Duration,
) -> Result<Bytes, Untaken> {
    let mut headers = vec![("content-type", content_type.to_owned())];
    headers.extend(authorization.map(|value| ("authorization", value.to_owned())));
    let (body, answer_max) = (Bytes::from(body), ANSWER_MAX);
    match ask(Ask { method, url, headers, body, answer_max, within }).await {
        Ok((status, answer)) if status.is_success() => Ok(answer),
        Ok((status, _)) => {
            let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            Err(Untaken { why: format!("it answered {status}"), again })
        }
        Err(NoAnswer::Address(_)) => Err(Untaken::for_good("its address is none".to_owned())),
        Err(error @ (NoAnswer::Connect { .. } | NoAnswer::Broken { .. } | NoAnswer::Late(_))) => {
            Err(Untaken { why: error.to_string(), again: true })
        }
    }
}

async fn command(program: &str, arguments: &[String], body: &[u8]) -> Result<(), Untaken> {
    let broken = |error: std::io::Error| Untaken::for_good(format!("{program}: {error}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Whoever does not end in time is ended with us no longer waiting. What it started is not.
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input may still do its work: its status decides.
        let _ = input.write_all(body).await;
        let _ = input.write_all(b"\n").await;
    }
    let status = child.wait().await.map_err(broken)?;
    if status.success() {
        return Ok(());
    }
    Err(Untaken { why: format!("{program} ended with {status}"), again: true })
}

#[cfg(test)]
mod tests;
