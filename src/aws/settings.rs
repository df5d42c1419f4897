//! Where AWS is and how long it may take: endpoints, credentials, time-outs. No IO.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;

use super::Dice;
use crate::clock::SystemClock;
use crate::ports::Clock;

/// How the edge reaches AWS. The default is AWS itself, with the SDK's standard chain of credentials.
///
/// The SDK's own variables (`AWS_PROFILE`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_ROUTE_53`, ...) hold
/// as everywhere. No such variable varies by region, hence [`Settings::endpoints`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// For tests and laboratories; the most exact one wins, and all win over the environment.
    pub endpoints: Vec<Endpoint>,
    /// `None`: the SDK's standard chain.
    pub credentials: Option<SharedCredentialsProvider>,
    /// Where STS may be asked for sessions besides the region that the environment or the profile names,
    /// which comes first. None of them is needed where keys or the machine's own role are at hand.
    pub sts_regions: Vec<String>,
    /// By which a session is old.
    pub clock: Arc<dyn Clock>,
    /// Where the Route 53 API is signed for. `us-east-1` in the commercial partition.
    pub control_region: String,
    /// Where this runs, for the regional endpoint of STS.
    pub home_region: Option<String>,
    pub timeouts: Timeouts,
    /// Which endpoint of a cluster is tried first.
    pub dice: Dice,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            credentials: None,
            sts_regions: Vec::new(),
            clock: Arc::new(SystemClock),
            control_region: "us-east-1".to_owned(),
            home_region: None,
            timeouts: Timeouts::default(),
            dice: Dice::default(),
        }
    }
}

impl Settings {
    /// The address to use in place of AWS's own, if there is one.
    pub(super) fn endpoint(&self, service: Service, aws_region: &str) -> Option<&str> {
        let of_service = || self.endpoints.iter().filter(move |e| e.service == service);
        of_service()
            .find(|e| e.aws_region.as_deref() == Some(aws_region))
            .or_else(|| of_service().find(|e| e.aws_region.is_none()))
            .map(|e| e.url.as_str())
    }
}

/// The services that are called, as endpoints name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Route53,
    Elb,
    CloudWatch,
    RecoveryCluster,
    Sts,
    Iam,
    Sqs,
    Sns,
    S3,
    ZonalShift,
}

impl Service {
    const ALL: [Self; 10] = [
        Self::Route53,
        Self::Elb,
        Self::CloudWatch,
        Self::RecoveryCluster,
        Self::Sts,
        Self::Iam,
        Self::Sqs,
        Self::Sns,
        Self::S3,
        Self::ZonalShift,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Route53 => "route53",
            Self::Elb => "elbv2",
            Self::CloudWatch => "cloudwatch",
            Self::RecoveryCluster => "arc",
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::Sqs => "sqs",
            Self::Sns => "sns",
            Self::S3 => "s3",
            Self::ZonalShift => "arc-zonal-shift",
        }
    }
}

/// A replacement for AWS's own address: `SERVICE=URL`, or `SERVICE@REGION=URL` for one region only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub service: Service,
    pub aws_region: Option<String>,
    pub url: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an endpoint, expected SERVICE=URL or SERVICE@REGION=URL with a service of route53, elbv2, cloudwatch, arc, sts, iam, sqs, sns, s3, arc-zonal-shift"
)]
pub struct MalformedEndpoint {
    pub text: String,
}

impl FromStr for Endpoint {
    type Err = MalformedEndpoint;

    fn from_str(text: &str) -> Result<Self, MalformedEndpoint> {
        let malformed = || MalformedEndpoint { text: text.chars().take(120).collect() };
        let (place, url) = text.split_once('=').ok_or_else(malformed)?;
        let (service, aws_region) = match place.split_once('@') {
            Some((service, region)) => (service, Some(region)),
            None => (place, None),
        };
        let service =
            Service::ALL.into_iter().find(|s| s.as_str() == service).ok_or_else(malformed)?;
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if aws_region.is_some_and(str::is_empty) || host.is_none_or(str::is_empty) {
            return Err(malformed());
        }
        Ok(Self { service, aws_region: aws_region.map(str::to_owned), url: url.to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.service.as_str())?;
        if let Some(region) = &self.aws_region {
            write!(f, "@{region}")?;
        }
        write!(f, "={}", self.url)
    }
}

/// The kinds of call, by what their time-outs weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A page of records, or the zone.
    List,
    /// `ChangeResourceRecordSets`.
    Change,
    /// `GetChange`.
    Status,
    /// `DescribeTargetHealth`.
    Targets,
    /// `GetMetricData`.
    Metrics,
    /// `GetRoutingControlState` and `UpdateRoutingControlStates`.
    Switch,
    /// `ReceiveMessage` and what is done with a message.
    Poll,
    /// A message or a page for people.
    Tell,
    /// `PutObject`, `DeleteObject`, and `GetObject` of a gate.
    Gate,
}

/// Time limits of one call. Tests set shorter ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// One attempt of a call that only reads.
    pub read_attempt: Duration,
    /// Such a call with its retries.
    pub read_whole: Duration,
    /// The one attempt of a change.
    pub change: Duration,
    /// One attempt of a call that reads or sets a gate.
    pub gate: Duration,
    /// Such a call with its retries.
    pub gate_whole: Duration,
    /// One call to one endpoint of a cluster, connecting included.
    pub switch: Duration,
    /// Until the next endpoint is asked as well, as long as none has answered.
    pub switch_stagger: Duration,
    /// After this no further endpoint is tried; the last one may take `switch` more.
    pub switch_whole: Duration,
}

impl Timeouts {
    /// Far above a round trip around the globe (0.3 s) with a TLS handshake of two, and below the
    /// SDK's own 3.1 s: an address that does not answer is the commonest face of an impaired API.
    pub const CONNECT: Duration = Duration::from_secs(2);
    /// A page of 300 records or 1,000 targets comes in well under a second; an impaired API is worth
    /// one second chance soon rather than a long wait.
    pub const READ_ATTEMPT: Duration = Duration::from_secs(5);
    /// Two attempts that time out and half a third, so that a round is never held up for longer.
    pub const READ_WHOLE: Duration = Duration::from_secs(12);
    /// Longer than a read: giving up on a change costs its outcome, hence a whole reading to find out.
    /// A batch of 1,000 changes is answered in seconds. Not much longer, because the next lever waits for
    /// it. The executor takes a change for settled after more than twice this.
    pub const CHANGE: Duration = Duration::from_secs(8);
    /// A small object, written and read: two attempts that time out, so that the next lever is taken soon.
    pub const GATE: Duration = Duration::from_secs(3);
    pub const GATE_WHOLE: Duration = Duration::from_secs(7);
    /// A dead endpoint costs this once, and there are four more: several round trips around the globe,
    /// with the two of a TLS handshake.
    pub const SWITCH: Duration = Duration::from_secs(2);
    /// A healthy endpoint on another continent has answered by then.
    pub const SWITCH_STAGGER: Duration = Duration::from_millis(500);
    /// All five endpoints silent after they took the call, and some waiting for the pace.
    pub const SWITCH_WHOLE: Duration = Duration::from_secs(12);

    /// The longest poll of a queue takes 20 s; the SDK's read time-out must be longer.
    pub const POLL: Duration = Duration::from_secs(26);

    pub(super) const fn attempt(self, call: Call) -> Duration {
        match call {
            Call::Change => self.change,
            Call::Switch => self.switch,
            Call::Poll => Self::POLL,
            Call::Gate => self.gate,
            Call::List | Call::Status | Call::Targets | Call::Metrics | Call::Tell => {
                self.read_attempt
            }
        }
    }

    pub(super) const fn whole(self, call: Call) -> Duration {
        match call {
            // Credentials and connecting come before the attempt.
            Call::Change => self.change.saturating_add(self.read_attempt),
            Call::Switch => self.switch.saturating_add(self.read_attempt),
            Call::Poll => Self::POLL.saturating_add(self.read_attempt),
            Call::Gate => self.gate_whole,
            Call::List | Call::Status | Call::Targets | Call::Metrics | Call::Tell => {
                self.read_whole
            }
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Self::CONNECT,
            read_attempt: Self::READ_ATTEMPT,
            read_whole: Self::READ_WHOLE,
            change: Self::CHANGE,
            gate: Self::GATE,
            gate_whole: Self::GATE_WHOLE,
            switch: Self::SWITCH,
            switch_stagger: Self::SWITCH_STAGGER,
            switch_whole: Self::SWITCH_WHOLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_written_as_it_is_read() {
        for text in ["route53=http://127.0.0.1:5002", "elbv2@eu-west-1=http://127.0.0.1:5017"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["", "route53", "ses=http://x", "elbv2@=http://x", "elbv2=x", "elbv2=http://"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_endpoint_of_the_region_wins_over_the_one_of_the_service() {
        let endpoints = ["elbv2=http://all", "elbv2@eu-west-1=http://west", "cloudwatch=http://cw"];
        let settings = Settings {
            endpoints: endpoints.iter().map(|e| e.parse().unwrap()).collect(),
            ..Settings::default()
        };
        assert_eq!(settings.endpoint(Service::Elb, "eu-west-1"), Some("http://west"));
        assert_eq!(settings.endpoint(Service::Elb, "us-east-2"), Some("http://all"));
        assert_eq!(settings.endpoint(Service::Route53, "us-east-1"), None);
    }
}
