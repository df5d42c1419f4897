//! By which ways events may come: queues, topics, keys, and who may send what.

use std::collections::{BTreeMap, BTreeSet};

use super::super::decode::{At, Entries, Entry};
use super::super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::super::units::Text;
use super::super::{KeyTrigger, May, QueueTrigger, Secret, Sender, Triggers, raw};
use super::regions::{aws_region_code, is_aws_region};
use super::{HOUR, MINUTE, check_entries, check_length, limited_span};

pub(super) fn compile(written: &At<raw::Triggers>, to: &mut Findings<'_>) -> Option<Triggers> {
    let triggers = &written.value;
    let late_after = match &triggers.late_after {
        Some(late) => limited_span(late, MINUTE..=24 * HOUR, "late_after", to),
        None => Some(Triggers::LATE_AFTER),
    };
    let queues = match &triggers.queues {
        Some(queues) => self::queues(queues, to),
        None => Some(Vec::new()),
    };
    let topics = self::topics(triggers.topics.as_ref(), to);
    let eventbridge = match &triggers.eventbridge {
        Some(key) => key_header(key, to).map(Some),
        None => Some(None),
    };
    let alertmanager = match &triggers.alertmanager {
        Some(secret) => self::secret(secret, to).map(Some),
        None => Some(None),
    };
    let senders = match &triggers.senders {
        Some(senders) => self::senders(senders, to),
        None => Some(BTreeMap::new()),
    };
    Some(Triggers {
        late_after: late_after?,
        queues: queues?,
        topics: topics?,
        eventbridge: eventbridge?,
        alertmanager: alertmanager?,
        senders: senders?,
    })
}

fn queues(written: &At<Vec<At<raw::Queue>>>, to: &mut Findings<'_>) -> Option<Vec<QueueTrigger>> {
    check_length(&written.value, "queues", to)?;
    let mut all: Vec<QueueTrigger> = Vec::new();
    let errors = to.errors();
    for entry in &written.value {
        let Some(queue) = queue(&entry.value, to) else { continue };
        if all.iter().any(|other| other.url == queue.url) {
            let message = format!("the queue {} is written twice", quoted(&queue.url));
            to.add(Finding::new(Code::Conflict, entry.value.url.at, message).label("again"));
        } else {
            all.push(queue);
        }
    }
    (to.errors() == errors).then_some(all)
}

fn queue(written: &raw::Queue, to: &mut Findings<'_>) -> Option<QueueTrigger> {
    let url = written.url.value.0.clone();
    let topics = self::topics(written.topics.as_ref(), to);
    let aws_region = match &written.aws_region {
        Some(text) => aws_region_code(&text.value.0, text.at, to),
        None => {
            let region = region_in(&url);
            if region.is_none() {
                let message =
                    format!("the address {} does not say in which region it is", quoted(&url));
                to.add(
                    Finding::new(Code::MissingField, written.url.at, message)
                        .label("in which region?")
                        .help("an address of SQS looks like `https://sqs.eu-central-1.amazonaws.com/111122223333/leeward`")
                        .help("or add `aws_region: eu-central-1`"),
                );
            }
            region
        }
    };
    Some(QueueTrigger { url, aws_region: aws_region?, topics: topics? })
}

/// `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
fn region_in(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?.strip_prefix("sqs.")?;
    let region = host.strip_suffix(".amazonaws.com").or(host.strip_suffix(".amazonaws.com.cn"))?;
    is_aws_region(region).then(|| region.to_owned())
}

fn topics(written: Option<&At<Vec<At<Text>>>>, to: &mut Findings<'_>) -> Option<BTreeSet<String>> {
    let Some(written) = written else { return Some(BTreeSet::new()) };
    check_length(&written.value, "topics", to)?;
    if written.value.is_empty() {
        to.add(
            Finding::new(Code::WrongShape, written.at, "no topic could send anything")
                .label("empty")
                .help("name the topics, or leave `topics` out"),
        );
        return None;
    }
    let errors = to.errors();
    let mut all = BTreeSet::new();
    for text in &written.value {
        if !is_topic(&text.value.0) {
            let message = format!("{} is not the ARN of an SNS topic", quoted(&text.value.0));
            to.add(
                Finding::new(Code::Malformed, text.at, message)
                    .label("not a topic")
                    .help("expected something like `arn:aws:sns:eu-west-1:111122223333:alarms`"),
            );
        } else if !all.insert(text.value.0.clone()) {
            let message = format!("{} is named twice", quoted(&text.value.0));
            to.add(Finding::new(Code::Conflict, text.at, message).label("again"));
        }
    }
    (to.errors() == errors).then_some(all)
}

fn is_topic(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let ["arn", partition, "sns", region, account, name] = parts.as_slice() else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    partition.starts_with("aws")
        && is_aws_region(region)
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(plain)
}

fn key_header(written: &raw::KeyHeader, to: &mut Findings<'_>) -> Option<KeyTrigger> {
    let text = written.header.value.0.to_ascii_lowercase();
    let name = text.parse::<http::HeaderName>().ok();
    if name.is_none() {
        let message = format!("{} is not the name of a header", quoted(&written.header.value.0));
        to.add(
            Finding::new(Code::Malformed, written.header.at, message)
                .label("not a header")
                .help("expected something like `x-leeward-key`"),
        );
    }
    let key = secret(&written.key, to);
    name.and(Some(KeyTrigger { header: text, key: key? }))
}

/// A path or a name; that there is nothing behind it is only found out on the machine.
pub(super) fn secret(written: &At<raw::Secret>, to: &mut Findings<'_>) -> Option<Secret> {
    let malformed = |at: Bytes, message: String, expected: &str, to: &mut Findings<'_>| {
        to.add(Finding::new(Code::Malformed, at, message).label("where?").help(expected));
        None
    };
    match &written.value {
        raw::Secret::Env(name) => {
            let text = name.value.0.as_str();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if text.bytes().all(plain) && !text.starts_with(|c: char| c.is_ascii_digit()) {
                return Some(Secret::Env(text.to_owned()));
            }
            let message = format!("{} is not the name of an environment variable", quoted(text));
            malformed(name.at, message, "expected something like `LEEWARD_PIPELINE_KEY`", to)
        }
        raw::Secret::File(path) => {
            let text = path.value.0.as_str();
            if text.starts_with('/') {
                return Some(Secret::File(text.to_owned()));
            }
            let message = format!("{} is not the whole path of a file", quoted(text));
            malformed(path.at, message, "expected something like `/etc/leeward/pipeline.key`", to)
        }
    }
}

fn senders(
    written: &Entries<raw::Sender>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<String, Sender>> {
    check_entries(written, "senders", to)?;
    let errors = to.errors();
    let mut all: BTreeMap<String, Sender> = BTreeMap::new();
    for entry in &written.list {
        check_name(entry, to);
        let Some(sender) = &entry.value else { continue };
        let Some(key) = secret(&sender.key, to) else { continue };
        if let Some((other, _)) = all.iter().find(|(_, other)| other.key == key) {
            let message = format!("{} signs with the key of `{other}`", quoted(&entry.name));
            to.add(
                Finding::new(Code::Conflict, sender.key.at, message)
                    .label("the same key")
                    .help("give each sender a key of its own: it tells who has sent something"),
            );
        }
        let may = may(&sender.may, to);
        all.insert(entry.name.clone(), Sender { key, may });
    }
    (to.errors() == errors && all.len() == written.list.len()).then_some(all)
}

/// The name goes into a header, into the journal and beside an approval.
fn check_name(entry: &Entry<raw::Sender>, to: &mut Findings<'_>) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@');
    if (1..=63).contains(&entry.name.len()) && entry.name.bytes().all(plain) {
        return;
    }
    let message = format!("{} is not a sender name", quoted(&entry.name));
    to.add(
        Finding::new(Code::Malformed, entry.at, message)
            .label("not a sender name")
            .help("expected 1 to 63 letters, digits, `-`, `_`, `.` or `@`"),
    );
}

fn may(written: &At<Vec<At<raw::May>>>, to: &mut Findings<'_>) -> BTreeSet<May> {
    if written.value.is_empty() {
        to.add(
            Finding::new(Code::WrongShape, written.at, "this sender may send nothing")
                .label("empty"),
        );
    }
    let all: BTreeSet<May> = written
        .value
        .iter()
        .map(|may| match may.value {
            raw::May::Look => May::Look,
            raw::May::Deploy => May::Deploy,
            raw::May::Notice => May::Notice,
            raw::May::Reading => May::Reading,
            raw::May::Approve => May::Approve,
        })
        .collect();
    if all.contains(&May::Approve) && all.len() > 1 {
        to.add(
            Finding::new(Code::Conflict, written.at, "who approves may send nothing else")
                .label("`approve` and others")
                .help("a key that a machine has is no human's yes; give the human a sender of their own"),
        );
    }
    all
}
