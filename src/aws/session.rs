//! Credentials that outlast trouble at whoever issues them.
//!
//! A session is renewed at half of its life, in the background and at one issuer after the other, and used
//! to its very end if nobody issues a new one: the SDK's own cache gives a session up as soon as its
//! renewal fails. An issuer is the SDK's standard chain of sources, set up to ask the Security Token
//! Service (STS) of one region; a second and a third one ask in other regions, so that the sick region
//! may be the one in which the controller runs (IAM User Guide, "Manage AWS STS in an AWS Region":
//! every region has an endpoint of its own, and its sessions are good everywhere).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_types::DateTime;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::domain::Timestamp;
use crate::ports::Clock;

/// One issuer may take so long. A healthy one needs well under a second.
const ISSUED_WITHIN: Duration = Duration::from_secs(5);
/// Until the next issuer is asked as well, as long as none has answered: a call to a routing control that
/// waits for its session has two seconds in all.
const NEXT_AFTER: Duration = Duration::from_millis(700);
/// Keys without an end are read anew after so long: somebody may have replaced them in their file.
const REREAD_AFTER: Duration = Duration::from_secs(300);
/// Between two attempts to renew a session that still lives.
const RENEW_EVERY: Duration = Duration::from_secs(30);
/// Where there is no session, those who ask meanwhile are told what the last attempt came to.
const FAILED_FOR: Duration = Duration::from_secs(3);
/// A session is over so long before its end: a call signed now has to arrive.
const MARGIN: Duration = Duration::from_secs(5);

/// Whoever gives out credentials, and where it asks for them.
#[derive(Debug, Clone)]
pub(super) struct Issuer {
    pub(super) region: String,
    pub(super) source: SharedCredentialsProvider,
}

impl Issuer {
    /// The SDK's standard chain, with STS in this region.
    pub(super) async fn standard(region: &str) -> Self {
        let chain = DefaultCredentialsChain::builder().region(Region::new(region.to_owned()));
        let source = SharedCredentialsProvider::new(chain.build().await);
        Self { region: region.to_owned(), source }
    }

    async fn ask(&self) -> Result<Credentials, CredentialsError> {
        let asked = timeout(ISSUED_WITHIN, self.source.provide_credentials()).await;
        asked.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(ISSUED_WITHIN)))
    }
}

/// Hands out the session in force.
#[derive(Debug)]
pub(super) struct Sessions {
    shared: Arc<Shared>,
    renewing: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    issuers: Vec<Issuer>,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
    /// One renewal at a time; who comes second finds the fruit of the first.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    session: Option<Session>,
    tried_at: Option<Timestamp>,
    /// What the last attempt came to, and when.
    failed: Option<(Timestamp, String)>,
}

#[derive(Debug, Clone)]
struct Session {
    credentials: Credentials,
    since: Timestamp,
    /// `None` for keys without an end.
    until: Option<Timestamp>,
}

/// What may be done with what is held.
enum Verdict {
    Good(Credentials),
    /// Good for a while, and to be renewed.
    Ageing(Credentials),
    Over,
}

impl Sessions {
    pub(super) fn new(issuers: Vec<Issuer>, clock: Arc<dyn Clock>) -> Self {
        let (held, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        let shared = Arc::new(Shared { issuers, clock, held, turn });
        Self { shared, renewing: Mutex::default() }
    }

    async fn current(&self) -> Result<Credentials, CredentialsError> {
        match self.shared.verdict() {
            Verdict::Good(credentials) => Ok(credentials),
            Verdict::Ageing(credentials) => {
                self.renew_beside();
                Ok(credentials)
            }
            Verdict::Over => self.renewed().await,
        }
    }

    /// In a task of its own: the call that needs the session may give up sooner than the renewal, and its
    /// next attempt finds what came of it.
    async fn renewed(&self) -> Result<Credentials, CredentialsError> {
        let shared = Arc::clone(&self.shared);
        let renewing = tokio::spawn(async move { shared.renew().await });
        renewing.await.unwrap_or_else(|error| Err(CredentialsError::unhandled(error)))
    }

    /// Nobody waits for it: the session in force will do.
    fn renew_beside(&self) {
        let mut renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        while renewing.try_join_next().is_some() {}
        if renewing.is_empty() && self.shared.may_try() {
            let shared = Arc::clone(&self.shared);
            renewing.spawn(async move {
                // What went wrong was logged; the next call tries again.
                let _ = shared.renew().await;
            });
        }
    }
}

impl ProvideCredentials for Sessions {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

impl Shared {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self) -> Verdict {
        let now = self.clock.now();
        let held = self.held();
        let Some(session) = &held.session else { return Verdict::Over };
        let credentials = session.credentials.clone();
        let age = now.since(session.since);
        let renew_after = match session.until {
            Some(until) if until.minus(MARGIN) <= now => return Verdict::Over,
            Some(until) => until.since(session.since) / 2,
            None => REREAD_AFTER,
        };
        if age < renew_after { Verdict::Good(credentials) } else { Verdict::Ageing(credentials) }
    }

    fn may_try(&self) -> bool {
        let now = self.clock.now();
        self.held().tried_at.is_none_or(|at| now.since(at) >= RENEW_EVERY)
    }

    /// Asks the issuers in their order, the next one as soon as one fails or is silent for a moment. The first
    /// that gives something wins.
    async fn renew(&self) -> Result<Credentials, CredentialsError> {
        let asked_at = self.clock.now();
        let _turn = self.turn.lock().await;
        if let Verdict::Good(credentials) = self.verdict() {
            return Ok(credentials);
        }
        if let Some(failure) = self.just_failed() {
            return Err(failure);
        }
        self.held().tried_at = Some(asked_at);
        let mut last = CredentialsError::not_loaded("there is no source of credentials");
        let mut unasked = self.issuers.iter();
        let mut asked = FuturesUnordered::new();
        loop {
            if let Some(issuer) = unasked.next() {
                asked.push(async move { (issuer.region.as_str(), issuer.ask().await) });
            }
            let patience = async {
                if unasked.as_slice().is_empty() {
                    std::future::pending::<()>().await;
                }
                sleep(NEXT_AFTER).await;
            };
            let answer = tokio::select! {
                answer = asked.next() => answer,
                () = patience => continue,
            };
            let (region, failure) = match answer {
                Some((region, Ok(credentials))) => return Ok(self.hold(credentials, region)),
                Some((region, Err(failure))) => (region, failure),
                None => break,
            };
            warn!(region, error = &failure as &dyn std::error::Error, "No session was issued.");
            let nothing_configured = matches!(failure, CredentialsError::CredentialsNotLoaded(_));
            last = failure;
            // The others would look in the same places.
            if nothing_configured {
                return Err(last);
            }
        }
        self.held().failed = Some((self.clock.now(), last.to_string()));
        Err(last)
    }

    fn just_failed(&self) -> Option<CredentialsError> {
        let now = self.clock.now();
        let held = self.held();
        let (at, why) = held.failed.as_ref()?;
        let recent = held.session.is_none() && now.since(*at) < FAILED_FOR;
        recent.then(|| CredentialsError::provider_error(why.clone()))
    }

    fn hold(&self, credentials: Credentials, region: &str) -> Credentials {
        let now = self.clock.now();
        let until = credentials.expiry().map(|at| timestamp(at.into()));
        let mut held = self.held();
        // A source that gives out the same session again has not made it younger.
        let same = held.session.as_ref().filter(|session| {
            until.is_some()
                && session.until == until
                && session.credentials.access_key_id() == credentials.access_key_id()
        });
        let since = same.map_or(now, |session| session.since);
        if same.is_none() && until.is_some() {
            info!(region, until = ?until, "A session was issued.");
        }
        held.failed = None;
        held.session = Some(Session { credentials: credentials.clone(), since, until });
        credentials
    }
}

fn timestamp(at: DateTime) -> Timestamp {
    // Before 1970 and after the year 292 million: neither is the end of a session.
    Timestamp::from_millis(at.to_millis().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
