//! Channels: what they need, and whether they work on the day that they are for.

use super::super::decode::{At, Short, did_you_mean};
use super::super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::super::raw_tell as raw;
use super::super::tell::{Address, Channel, Mail, MailTls, NOTE_PLACES, Tell, Way, Webhook};
use super::super::template::{Malformed, Template};
use super::super::units::{Text, Url};
use super::triggers::secret;
use super::{DAY, SECOND, check_length, limited_span, program};
use crate::tell::Severity;

/// `PagerDuty`'s and Opsgenie's own addresses (`PagerDuty`, "Send an Alert Event"; Opsgenie, "Alert API").
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
const OPSGENIE: &str = "https://api.opsgenie.com/v2/alerts";

/// More ways to the same people are a mistake.
const CHANNELS_MAX: usize = 16;

pub(super) fn tell(written: &raw::Tell, to: &mut Findings<'_>) -> Option<Tell> {
    if let Some(first) = written.channels.value.get(CHANNELS_MAX) {
        let at = first.0.as_ref().map_or(written.channels.at, |channel| channel.at);
        let message = format!("more than {CHANNELS_MAX} channels");
        to.add(Finding::new(Code::TooComplex, at, message).label("too many"));
        return None;
    }
    let mut channels: Vec<Option<Channel>> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (place, channel) in written.channels.value.iter().enumerate() {
        // What is wrong with it was said.
        let Some(channel) = &channel.0 else {
            channels.push(None);
            continue;
        };
        let (common, way) = one(channel, to);
        if common.stands_in && place == 0 {
            to.add(
                Finding::new(Code::Conflict, channel.at, "the first channel stands in for nobody")
                    .label("no channel is before it")
                    .help("put the channel that it stands in for before it"),
            );
        }
        let name = match common.name {
            Some(name) => {
                if names.contains(&name.value.0) {
                    let message = format!("two channels are called {}", quoted(&name.value.0));
                    to.add(Finding::new(Code::Conflict, name.at, message).label("again"));
                }
                name.value.0.clone()
            }
            None => free_name(common.kind, &names),
        };
        names.push(name.clone());
        let (from, stands_in) = (common.from, common.stands_in);
        channels.push(way.map(|way| Channel { name, from, stands_in, way }));
    }
    let status_every = match &written.status_every {
        Some(every) => limited_span(every, SECOND..=DAY, "status_every", to).map(Some),
        None => Some(None),
    };
    let channels = channels.into_iter().collect::<Option<_>>()?;
    Some(Tell { channels, status_every: status_every? })
}

fn free_name(kind: &str, names: &[String]) -> String {
    let mut name = kind.to_owned();
    let mut count = 1;
    while names.contains(&name) {
        count += 1;
        name = format!("{kind} {count}");
    }
    name
}

/// What every kind of channel may say.
struct Common<'r> {
    kind: &'static str,
    name: Option<&'r At<Text>>,
    from: Severity,
    stands_in: bool,
}

macro_rules! common {
    ($kind:literal, $written:expr) => {
        Common {
            kind: $kind,
            name: $written.name.as_ref(),
            from: severity($written.from.as_ref()),
            stands_in: $written.stands_in.as_ref().is_some_and(|at| at.value),
        }
    };
}

fn plain(kind: &'static str) -> Common<'static> {
    Common { kind, name: None, from: Severity::Info, stands_in: false }
}

fn severity(written: Option<&raw::Loudness>) -> Severity {
    match written {
        Some(raw::Loudness::Info) | None => Severity::Info,
        Some(raw::Loudness::Warn) => Severity::Warn,
        Some(raw::Loudness::Page) => Severity::Page,
    }
}

fn one<'r>(channel: &'r At<raw::Channel>, to: &mut Findings<'_>) -> (Common<'r>, Option<Way>) {
    match &channel.value {
        raw::Channel::Webhook(Short::Short(url)) => {
            let webhook = Webhook {
                url: Address::Open(url.value.0.clone()),
                body: None,
                content_type: JSON.to_owned(),
                is_json: true,
            };
            (plain("webhook"), Some(Way::Webhook(webhook)))
        }
        raw::Channel::Webhook(Short::Long(hook)) => {
            (common!("webhook", hook), webhook(hook, to).map(Way::Webhook))
        }
        raw::Channel::Command(Short::Short(words)) => (plain("command"), command(words, to)),
        raw::Channel::Command(Short::Long(program)) => {
            (common!("command", program), command(&program.run, to))
        }
        raw::Channel::Slack(slack) => {
            (common!("slack", slack), secret(&slack.url, to).map(|url| Way::Slack { url }))
        }
        raw::Channel::PagerDuty(alerts) => {
            let url = api(alerts.url.as_ref(), PAGERDUTY);
            let way = secret(&alerts.key, to).map(|key| Way::PagerDuty { key, url });
            (common!("pagerduty", alerts), way)
        }
        raw::Channel::Opsgenie(alerts) => {
            let url = api(alerts.url.as_ref(), OPSGENIE);
            let way = secret(&alerts.key, to).map(|key| Way::Opsgenie { key, url });
            (common!("opsgenie", alerts), way)
        }
        raw::Channel::Sns(sns) => (common!("sns", sns), topic(&sns.topic, to)),
        raw::Channel::Mail(written) => {
            (common!("mail", written), mail(written, to).map(|mail| Way::Mail(Box::new(mail))))
        }
    }
}

fn api(written: Option<&At<Url>>, default: &str) -> String {
    written.map_or(default.to_owned(), |url| url.value.0.clone())
}

pub(super) fn not_a_whole_path(path: &At<Text>, what: &str, to: &mut Findings<'_>) {
    let message = format!("{} is not a whole path", quoted(&path.value.0));
    to.add(
        Finding::new(Code::Malformed, path.at, message)
            .label("relative to what?")
            .help(format!("{what}, from `/` on")),
    );
}

const JSON: &str = "application/json";

fn webhook(written: &raw::Webhook, to: &mut Findings<'_>) -> Option<Webhook> {
    let url = match &written.url {
        Short::Short(url) => Some(Address::Open(url.value.0.clone())),
        Short::Long(hidden) => secret(&hidden.secret, to).map(Address::Hidden),
    };
    let content_type = written.content_type.as_ref().map_or(JSON, |kind| &kind.value.0).to_owned();
    let is_json = content_type.contains("json");
    let body = match &written.body {
        Some(body) => {
            let template = template(body, NOTE_PLACES, to);
            if let Some(template) = template.as_ref().filter(|_| is_json) {
                check_json(template, body.at, to);
            }
            template.map(Some)
        }
        None => Some(None),
    };
    Some(Webhook { url: url?, body: body?, content_type, is_json })
}

fn check_json(template: &Template, at: Bytes, to: &mut Findings<'_>) {
    // A text that cannot stand outside of quotes shows a place that does.
    let filled = template.fill(|_| "a".to_owned());
    if serde_json::from_str::<serde::de::IgnoredAny>(&filled).is_err() {
        to.add(
            Finding::new(Code::Malformed, at, "the body is not JSON when its places are filled")
                .label("not JSON")
                .help("a place stands inside of quotes: `'{\"message\": \"${text}\"}'`; for something else than JSON write `content_type`"),
        );
    }
}

/// A text with places that can be filled.
pub(super) fn template(
    written: &At<Text>,
    places: &[&'static str],
    to: &mut Findings<'_>,
) -> Option<Template> {
    let (message, label, help) = match Template::parse(&written.value.0, places) {
        Ok(template) => return Some(template),
        Err(Malformed::Unknown(name)) => {
            let help = did_you_mean(&name, places.iter().copied(), to)
                .unwrap_or_else(|| format!("the places are `${{{}}}`", places.join("}`, `${")));
            (format!("nothing fills the place {}", quoted(&name)), "unknown place", help)
        }
        Err(Malformed::Open) => (
            "a place is not closed".to_owned(),
            "`${` without `}`",
            "a place is written as `${text}`, a dollar sign as `$$`".to_owned(),
        ),
    };
    to.add(Finding::new(Code::UnknownPlace, written.at, message).label(label).help(help));
    None
}

fn command(words: &At<Vec<Text>>, to: &mut Findings<'_>) -> Option<Way> {
    let help = "a whole path cannot be mistaken: `[\"/usr/bin/logger\", ...]`; arguments are words of their own, no shell is started";
    let (program, arguments) = program(words, help, to)?;
    Some(Way::Command { program, arguments })
}

/// `arn:aws:sns:REGION:ACCOUNT:NAME` (Service Authorization Reference, "Resource types defined by Amazon
/// SNS").
fn topic(written: &At<Text>, to: &mut Findings<'_>) -> Option<Way> {
    let text = &written.value.0;
    let parts: Vec<&str> = text.split(':').collect();
    if let ["arn", partition, "sns", region, account, name] = parts.as_slice()
        && partition.starts_with("aws")
        && !region.is_empty()
        && !account.is_empty()
        && account.chars().all(|c| c.is_ascii_digit())
        && !name.is_empty()
    {
        return Some(Way::Sns { topic: text.clone(), aws_region: (*region).to_owned() });
    }
    let message = format!("{} is not the ARN of an SNS topic", quoted(text));
    to.add(
        Finding::new(Code::Malformed, written.at, message)
            .label("not a topic")
            .help("like `arn:aws:sns:eu-central-1:111122223333:on-call`"),
    );
    None
}

fn mail(written: &raw::Mail, to: &mut Findings<'_>) -> Option<Mail> {
    let server = server(&written.server, to);
    let sender = mailbox(&written.sender, to);
    check_length(&written.to.value, "addresses", to)?;
    let recipients: Vec<Option<String>> =
        written.to.value.iter().map(|address| mailbox(address, to)).collect();
    if written.to.value.is_empty() {
        to.add(
            Finding::new(Code::WrongShape, written.to.at, "nobody gets the mail").label("empty"),
        );
    }
    let password = match &written.password {
        Some(password) => secret(password, to).map(Some),
        None => Some(None),
    };
    let half = match (&written.user, &written.password) {
        (Some(user), None) => {
            Some((user.at, "a user without a password cannot log in", "`password` is missing"))
        }
        (None, Some(_)) => {
            Some((written.server.at, "a password without a user is of no use", "`user` is missing"))
        }
        (Some(_), Some(_)) | (None, None) => None,
    };
    if let Some((at, message, label)) = half {
        to.add(
            Finding::new(Code::Conflict, at, message)
                .label(label)
                .help("both, or none of them: `user: leeward` and `password: { file: /run/secrets/smtp-password }`"),
        );
    }
    let tls = match written.tls.value {
        raw::MailTls::Implicit => MailTls::Implicit,
        raw::MailTls::Starttls => MailTls::Starttls,
        raw::MailTls::Nothing => MailTls::Nothing,
    };
    let (host, port) = server?;
    if tls == MailTls::Nothing && !is_here(&host) {
        to.add(
            Finding::new(
                Code::PlainMail,
                written.tls.at,
                "mail to another machine goes unprotected",
            )
            .label("everybody on the way can read and change it")
            .help("`tls: starttls` or `tls: implicit`"),
        );
    }
    let user = written.user.as_ref().map(|user| user.value.0.clone());
    let recipients = recipients.into_iter().collect::<Option<_>>()?;
    Some(Mail { host, port, tls, user, password: password?, sender: sender?, to: recipients })
}

fn is_here(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn server(written: &At<Text>, to: &mut Findings<'_>) -> Option<(String, u16)> {
    let found = written.value.0.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_matches(['[', ']']);
        let port: u16 = port.parse().ok()?;
        (!host.is_empty() && !host.contains('/') && port > 0).then(|| (host.to_owned(), port))
    });
    if found.is_none() {
        let message = format!("{} is not a server with its port", quoted(&written.value.0));
        to.add(
            Finding::new(Code::Malformed, written.at, message)
                .label("not a server")
                .help("like `smtp.example.com:465`"),
        );
    }
    found
}

/// Only what is needed to send mail: one `@`, something on both sides, no white space.
fn mailbox(written: &At<Text>, to: &mut Findings<'_>) -> Option<String> {
    let text = &written.value.0;
    let sides = text.split_once('@');
    let fits =
        sides.is_some_and(|(who, host)| !who.is_empty() && !host.is_empty() && !host.contains('@'));
    if fits && text.chars().all(|c| c.is_ascii_graphic()) {
        return Some(text.clone());
    }
    let message = format!("{} is not a mail address", quoted(text));
    to.add(
        Finding::new(Code::Malformed, written.at, message)
            .label("not an address")
            .help("the address alone: `on-call@example.com`"),
    );
    None
}

/// Channels in a region that may be down when they are needed.
pub(super) fn check_places(
    written: &raw::Tell,
    watched: &impl Fn(&str) -> Option<String>,
    to: &mut Findings<'_>,
) {
    for channel in written.channels.value.iter().filter_map(|channel| channel.0.as_ref()) {
        let (at, text): (Bytes, &str) = match &channel.value {
            raw::Channel::Sns(sns) => (sns.topic.at, &sns.topic.value.0),
            raw::Channel::Mail(mail) => (mail.server.at, &mail.server.value.0),
            raw::Channel::Webhook(
                Short::Short(url) | Short::Long(raw::Webhook { url: Short::Short(url), .. }),
            ) => (url.at, &url.value.0),
            raw::Channel::Webhook(Short::Long(_))
            | raw::Channel::Command(_)
            | raw::Channel::Slack(_)
            | raw::Channel::PagerDuty(_)
            | raw::Channel::Opsgenie(_) => continue,
        };
        let Some(region) = watched(text) else { continue };
        let message = format!("this channel lives in `{region}`, which this policy watches");
        to.add(
            Finding::new(Code::WatchedChannel, at, message)
                .label("may be down when it is needed")
                .help("use one in another region, or put one that `stands_in` after it"),
        );
    }
}
