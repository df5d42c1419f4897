//! Who hears of it and what the public reads, as written in the policy file.

use super::decode::{At, Entries, Part, Short, choice, record};
use super::raw::Secret;
use super::units::{Span, Text, Url};

record! {
    /// Who hears of it.
    "`tell`" Tell {
        /// Where notes go.
        channels: At<Vec<Part<At<Channel>>>> = "channels: [{ webhook: \"https://example.com/hook\" }]",
        /// The public status is renewed at least this often: while an incident is open, and with a status page at all times.
        status_every: Option<At<Span>> = "status_every: 15m",
    }
}

choice! {
    /// Where a note goes.
    "a channel" Channel {
        /// JSON to an HTTP address: the address alone, or with more about it.
        Webhook(Short<At<Url>, Webhook>) = "webhook" "webhook: \"https://example.com/hook\"",
        /// A local program, with the note as JSON on its standard input: the words alone, or with more about it.
        Command(Short<At<Vec<Text>>, Command>) = "command" "command: [\"/usr/bin/logger\", \"-t\", \"leeward\"]",
        /// An incoming webhook of Slack, or of what speaks like it (Mattermost, Rocket.Chat).
        Slack(Slack) = "slack" "slack: { url: { file: /run/secrets/slack-url } }",
        /// PagerDuty, by its Events API v2. One incident is one alert, and is resolved when it is over.
        PagerDuty(Alerts) = "pagerduty" "pagerduty: { key: { file: /run/secrets/pagerduty-key }, from: page }",
        /// Opsgenie, by its Alert API. One incident is one alert, and is closed when it is over.
        Opsgenie(Alerts) = "opsgenie" "opsgenie: { key: { env: OPSGENIE_KEY }, from: page }",
        /// An SNS topic.
        Sns(Sns) = "sns" "sns: { topic: \"arn:aws:sns:eu-central-1:111122223333:on-call\" }",
        /// Mail, through one SMTP server.
        Mail(Mail) = "mail" "mail: { server: \"smtp.example.com:465\", tls: implicit, sender: leeward@example.com, to: [on-call@example.com] }",
    }
}

choice! {
    /// From which severity on a channel hears of it.
    "a severity" Loudness {
        /// Everything.
        Info = "info" "from: info",
        /// What somebody should look at today, and what wakes somebody.
        Warn = "warn" "from: warn",
        /// What wakes somebody.
        Page = "page" "from: page",
    }
}

record! {
    /// JSON to an HTTP address.
    "a webhook" Webhook {
        /// The address; in the open, or as a secret.
        url: Short<At<Url>, Hidden> = "url: \"https://example.com/hook\"",
        /// The body, with places such as `${text}`; the note as JSON if it is not written. In JSON, values are written as inside of quotes.
        body: Option<At<Text>> = "body: '{\"title\": \"${subject}\", \"message\": \"${text}\"}'",
        /// What the body is; `application/json` if it is not written.
        content_type: Option<At<Text>> = "content_type: text/plain",
        /// What the channel is called; its kind if it is not written.
        name: Option<At<Text>> = "name: chat",
        /// From which severity on it hears of it; from `info` on if it is not written.
        from: Option<Loudness> = "from: warn",
        /// It hears only of what a channel before it did not take.
        stands_in: Option<At<bool>> = "stands_in: true",
    }
}

record! {
    /// A secret, where something in the open may stand too.
    "a secret" Hidden {
        /// The secret.
        secret: At<Secret> = "secret: { env: HOOK_URL }",
    }
}

record! {
    /// A local program.
    "a command" Command {
        /// The whole path of the program and its arguments, a word each. After five seconds it is ended; what it started goes on, unless it is started by `exec`.
        run: At<Vec<Text>> = "run: [\"/usr/bin/logger\", \"-t\", \"leeward\"]",
        /// What the channel is called; its kind if it is not written.
        name: Option<At<Text>> = "name: log",
        /// From which severity on it hears of it; from `info` on if it is not written.
        from: Option<Loudness> = "from: warn",
        /// It hears only of what a channel before it did not take.
        stands_in: Option<At<bool>> = "stands_in: true",
    }
}

record! {
    /// An incoming webhook of Slack.
    "a Slack channel" Slack {
        /// The address of the webhook. Whoever knows it can write there, so it is a secret.
        url: At<Secret> = "url: { file: /run/secrets/slack-url }",
        /// What the channel is called; its kind if it is not written.
        name: Option<At<Text>> = "name: inc-shop",
        /// From which severity on it hears of it; from `info` on if it is not written.
        from: Option<Loudness> = "from: info",
        /// It hears only of what a channel before it did not take.
        stands_in: Option<At<bool>> = "stands_in: true",
    }
}

record! {
    /// A service that keeps alerts open until they are over.
    "an alert service" Alerts {
        /// The integration key.
        key: At<Secret> = "key: { file: /run/secrets/pagerduty-key }",
        /// Another address of its API, such as that of its European data centre.
        url: Option<At<Url>> = "url: \"https://events.eu.pagerduty.com/v2/enqueue\"",
        /// What the channel is called; its kind if it is not written.
        name: Option<At<Text>> = "name: pager",
        /// From which severity on it hears of it; from `info` on if it is not written.
        from: Option<Loudness> = "from: page",
        /// It hears only of what a channel before it did not take.
        stands_in: Option<At<bool>> = "stands_in: true",
    }
}

record! {
    /// An SNS topic.
    "an SNS channel" Sns {
        /// The ARN of the topic. Best outside of every region that this policy rescues.
        topic: At<Text> = "topic: \"arn:aws:sns:eu-central-1:111122223333:on-call\"",
        /// What the channel is called; its kind if it is not written.
        name: Option<At<Text>> = "name: sms",
        /// From which severity on it hears of it; from `info` on if it is not written.
        from: Option<Loudness> = "from: page",
        /// It hears only of what a channel before it did not take.
        stands_in: Option<At<bool>> = "stands_in: true",
    }
}

record! {
    /// Mail, through one SMTP server.
    "a mail channel" Mail {
        /// The server, with its port.
        server: At<Text> = "server: \"smtp.example.com:465\"",
        /// How the connection is protected.
        tls: At<MailTls> = "tls: implicit",
        /// The name to log in with; no log-in if it is not written.
        user: Option<At<Text>> = "user: leeward",
        /// The password to log in with.
        password: Option<At<Secret>> = "password: { file: /run/secrets/smtp-password }",
        /// The address that it comes from.
        sender: At<Text> = "sender: leeward@example.com",
        /// The addresses that it goes to.
        to: At<Vec<At<Text>>> = "to: [on-call@example.com]",
        /// What the channel is called; its kind if it is not written.
        name: Option<At<Text>> = "name: mail",
        /// From which severity on it hears of it; from `info` on if it is not written.
        from: Option<Loudness> = "from: warn",
        /// It hears only of what a channel before it did not take.
        stands_in: Option<At<bool>> = "stands_in: true",
    }
}

choice! {
    /// How a connection to a mail server is protected.
    "a protection" MailTls {
        /// TLS from the first byte on (RFC 8314), usually port 465.
        Implicit = "implicit" "tls: implicit",
        /// The connection is turned into TLS, or given up (RFC 3207), usually port 587.
        Starttls = "starttls" "tls: starttls",
        /// Not at all: for a server on this machine.
        Nothing = "none" "tls: none",
    }
}

record! {
    /// A status page that everybody can read.
    "a status page" StatusPage {
        /// What stands at its top.
        title: At<Text> = "title: Example Shop status",
        /// Who sends what is new in an incident; `draft` if it is not written.
        mode: Option<PageMode> = "mode: draft",
        /// What the public knows the service by; the whole service as one if it is not written.
        components: Option<Entries<Component>> = "components: { shop: { name: Web shop } }",
        /// Where it is published.
        publish: At<Vec<At<Place>>> = "publish: [{ directory: /var/www/status }]",
        /// Where it can be read, for the links in its feed.
        url: Option<At<Url>> = "url: \"https://status.example.com/\"",
        /// What is said in each phase of an incident.
        words: Option<Words> = "words: { investigating: \"We see errors and are looking into them.\" }",
    }
}

choice! {
    /// Who sends what is new in an incident.
    "a mode of the status page" PageMode {
        /// A human, with `leeward status-page publish`. What was sent is renewed by itself.
        Draft = "draft" "mode: draft",
        /// The controller, in the words of the policy.
        Auto = "auto" "mode: auto",
    }
}

record! {
    /// A part of the service that the public knows, named by its key.
    "a component" Component {
        /// What it is called on the page.
        name: At<Text> = "name: Web shop",
        /// The regions that it lives in; all if it is not written.
        regions: Option<Vec<At<Text>>> = "regions: [eu-west-1]",
    }
}

choice! {
    /// Where a status page is published.
    "a place" Place {
        /// A directory of this machine, by its whole path. Each file is replaced at once.
        Directory(At<Text>) = "directory" "directory: /var/www/status",
        /// A bucket of S3.
        S3(Bucket) = "s3" "s3: { bucket: example-status, region: eu-central-1 }",
        /// Statuspage, or what speaks like its API.
        Statuspage(HostedPage) = "statuspage" "statuspage: { page: kctbh9vrtdwd, key: { env: STATUSPAGE_KEY } }",
    }
}

record! {
    /// A bucket of S3.
    "a bucket" Bucket {
        /// Its name.
        bucket: At<Text> = "bucket: example-status",
        /// Its AWS region, outside of every region whose outage the page must announce.
        region: At<Text> = "region: eu-central-1",
        /// What stands before the names of the files.
        prefix: Option<At<Text>> = "prefix: status/",
    }
}

record! {
    /// A page at Statuspage.
    "a hosted page" HostedPage {
        /// The id of the page.
        page: At<Text> = "page: kctbh9vrtdwd",
        /// The API key.
        key: At<Secret> = "key: { env: STATUSPAGE_KEY }",
        /// Another address of the API.
        url: Option<At<Url>> = "url: \"https://api.statuspage.io/v1\"",
        /// The id there of each component here.
        components: Option<Entries<At<Text>>> = "components: { shop: 8kbf7d35c070 }",
    }
}

record! {
    /// What the public reads in each phase. Places are `${service}`, `${components}` and `${since}`.
    "words" Words {
        /// Something is wrong, and nothing is done about it yet.
        investigating: Option<At<Text>> = "investigating: \"We see errors and are looking into them.\"",
        /// Something is done about it.
        identified: Option<At<Text>> = "identified: \"We are moving visitors to another location.\"",
        /// It should be over, and is watched.
        monitoring: Option<At<Text>> = "monitoring: \"Visitors are served again. We are watching.\"",
        /// It is over.
        resolved: Option<At<Text>> = "resolved: \"It is over. We are sorry for the trouble.\"",
    }
}
