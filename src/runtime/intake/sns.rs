//! Whether a message over HTTP is SNS's: topic, age, certificate and signature (Amazon SNS Developer Guide,
//! "Verifying the signatures of Amazon SNS messages").
//!
//! A right signature only proves that some topic of SNS sent it; the list of topics makes it ours. Chain,
//! name and expiry of the certificate are checked against the roots of this machine. The file of a
//! certificate that was never seen at AWS here: if it comes without intermediates, they can be given.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};
use bytes::Bytes;
use hyper::Method;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::base64;
use super::bucket::Bucket;
use crate::domain::Timestamp;
use crate::event::Envelope;
use crate::runtime::http::{Ask, ask};

/// SNS tries again for an hour at most (Amazon SNS Developer Guide, "Message delivery retries"); what is
/// older was kept by somebody.
const AGE_MAX: Duration = Duration::from_secs(3600 + 300);
/// Clocks of AWS and of this machine may differ by so much.
const AHEAD_MAX: Duration = Duration::from_secs(300);
/// A chain of four certificates takes 8 KiB.
const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// SNS waits 15 s for an answer.
const FETCH_WITHIN: Duration = Duration::from_secs(5);
/// One file for each region, and the next ones when they are replaced.
const CACHED_MAX: usize = 32;
/// Fetches of files that are not remembered. Whoever knows a topic can name ever new ones, and each is a request
/// of ours; SNS itself has one, and comes again for an hour.
const FETCHES_BURST: f64 = 10.0;
const FETCHES_PER_SECOND: f64 = 1.0 / 6.0;

/// Why a message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error("the topic `{0}` is not on the policy's list")]
    Topic(String),
    #[error("signature version `{0}`, expected 1 or 2")]
    Version(String),
    #[error("without `{0}`")]
    Missing(&'static str),
    #[error("`{0}` is not an address of SNS in the topic's region")]
    Place(String),
    #[error("it is {0:?} old: kept and sent again by somebody")]
    Old(Duration),
    #[error("its time `{0}` is none, or still to come")]
    Time(String),
    /// Our trouble, not theirs: worth another try.
    #[error("fetch the certificate: {0}")]
    Fetch(String),
    #[error("the certificate is not one of SNS's: {0}")]
    Certificate(String),
    #[error("the signature does not fit the message")]
    Signature,
}

/// What fetches certificates, and says yes to subscriptions.
#[async_trait]
pub trait Fetch: Send + Sync + fmt::Debug {
    async fn fetch(&self, url: &str) -> Result<Bytes, String>;
}

/// From AWS, over verified TLS, without following anybody elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct FromAws;

#[async_trait]
impl Fetch for FromAws {
    async fn fetch(&self, url: &str) -> Result<Bytes, String> {
        let asked = Ask {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: Bytes::new(),
            answer_max: CERTIFICATE_BYTES_MAX,
            within: FETCH_WITHIN,
        };
        match ask(asked).await {
            Ok((status, body)) if status.is_success() => Ok(body),
            Ok((status, _)) => Err(format!("the answer was {status}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Checks messages of SNS.
pub struct Verifier {
    aws: Arc<dyn Fetch>,
    roots: Vec<TrustAnchor<'static>>,
    /// Between SNS's certificate and the roots, where SNS's own file does not bring them.
    between: Vec<CertificateDer<'static>>,
    cache: Mutex<BTreeMap<String, Vec<CertificateDer<'static>>>>,
    /// One at a time, so that a storm whose file is not remembered yet fetches it once.
    fetches: tokio::sync::Mutex<Bucket>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

impl Verifier {
    pub fn new(
        aws: Arc<dyn Fetch>,
        roots: &[CertificateDer<'_>],
        between: Vec<CertificateDer<'static>>,
    ) -> Self {
        let anchors = roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok());
        let roots = anchors.map(|anchor| anchor.to_owned()).collect();
        let fetches = tokio::sync::Mutex::new(Bucket::new(FETCHES_BURST, FETCHES_PER_SECOND));
        Self { aws, roots, between, cache: Mutex::default(), fetches }
    }

    /// Against the roots of this machine. `between` is PEM; what is no certificate in it is left aside.
    pub fn of_this_machine(between: &[u8]) -> Self {
        let found = rustls_native_certs::load_native_certs();
        let between = CertificateDer::pem_slice_iter(between).filter_map(Result::ok).collect();
        Self::new(Arc::new(FromAws), &found.certs, between)
    }

    /// Fetches an address that [`check_place`] found to be SNS's own.
    pub(super) async fn get(&self, url: &str) -> Result<(), String> {
        self.aws.fetch(url).await.map(drop)
    }

    /// Fails unless one of `topics` sent exactly this, lately.
    pub async fn verify(
        &self,
        envelope: &Envelope,
        topics: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(), Untrusted> {
        if !topics.contains(&envelope.topic) {
            return Err(Untrusted::Topic(envelope.topic.chars().take(300).collect()));
        }
        let algorithm = algorithm(envelope.signature_version.as_deref())?;
        check_age(envelope, now)?;
        let signature = envelope.signature.as_deref().ok_or(Untrusted::Missing("Signature"))?;
        let signature = base64::decode(signature).ok_or(Untrusted::Signature)?;
        let text = envelope.signed_text().ok_or(Untrusted::Missing("SubscribeURL or Token"))?;
        let url =
            envelope.certificate_url.as_deref().ok_or(Untrusted::Missing("SigningCertURL"))?;
        let path = check_place(url, envelope.aws_region())?;
        if path.strip_suffix(".pem").is_none() || path.contains('?') {
            return Err(Untrusted::Place(url.chars().take(300).collect()));
        }
        let chain = self.chain(url).await?;
        let key = self.key(&chain, envelope.aws_region(), now)?;
        UnparsedPublicKey::new(algorithm, &key)
            .verify(text.as_bytes(), &signature)
            .map_err(|_| Untrusted::Signature)
    }

    /// The certificates behind an address, SNS's own first. Remembered: AWS names a new file when it changes.
    async fn chain(&self, url: &str) -> Result<Vec<CertificateDer<'static>>, Untrusted> {
        let known = || self.lock().get(url).cloned();
        if let Some(chain) = known() {
            return Ok(chain);
        }
        let mut fetches = self.fetches.lock().await;
        if let Some(chain) = known() {
            return Ok(chain);
        }
        if !fetches.take() {
            return Err(Untrusted::Fetch("too many unknown files were asked for".to_owned()));
        }
        let file = self.aws.fetch(url).await.map_err(Untrusted::Fetch)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file).collect();
        let chain = chain.map_err(|error| Untrusted::Certificate(format!("{error:?}")))?;
        if chain.is_empty() {
            return Err(Untrusted::Certificate("the file has none in it".to_owned()));
        }
        let mut cache = self.lock();
        if cache.len() >= CACHED_MAX {
            cache.clear();
        }
        cache.insert(url.to_owned(), chain.clone());
        Ok(chain)
    }

    /// The public key, after chain, expiry and name were found right.
    fn key(
        &self,
        chain: &[CertificateDer<'static>],
        aws_region: &str,
        now: Timestamp,
    ) -> Result<Vec<u8>, Untrusted> {
        let wrong = |why: String| Untrusted::Certificate(why);
        let [own, brought @ ..] = chain else { return Err(wrong("there is none".to_owned())) };
        let certificate = EndEntityCert::try_from(own).map_err(|error| wrong(error.to_string()))?;
        let between: Vec<CertificateDer<'_>> = brought
            .iter()
            .chain(&self.between)
            .map(|der| CertificateDer::from(der.as_ref()))
            .collect();
        let seconds = u64::try_from(now.as_secs()).unwrap_or_default();
        certificate
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &self.roots,
                &between,
                UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(|error| wrong(error.to_string()))?;
        let dot = if aws_region.starts_with("cn-") { ".cn" } else { "" };
        let names = [
            format!("sns.amazonaws.com{dot}"),
            format!("sns.{aws_region}.amazonaws.com{dot}"),
            format!("sns-signing.{aws_region}.amazonaws.com{dot}"),
        ];
        let mut right = names.into_iter().filter_map(|name| ServerName::try_from(name).ok());
        if !right.any(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok()) {
            return Err(wrong("it is made out to another name".to_owned()));
        }
        Ok(certificate.subject_public_key_info().to_vec())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<CertificateDer<'static>>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn algorithm(version: Option<&str>) -> Result<&'static RsaParameters, Untrusted> {
    match version {
        Some("1") => Ok(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
        Some("2") => Ok(&RSA_PKCS1_2048_8192_SHA256),
        other => Err(Untrusted::Version(other.unwrap_or_default().chars().take(20).collect())),
    }
}

fn check_age(envelope: &Envelope, now: Timestamp) -> Result<(), Untrusted> {
    let odd = || Untrusted::Time(envelope.timestamp.chars().take(60).collect());
    let at = envelope.at().ok_or_else(odd)?;
    if at > now.plus(AHEAD_MAX) {
        return Err(odd());
    }
    let age = now.since(at);
    if age > AGE_MAX { Err(Untrusted::Old(age)) } else { Ok(()) }
}

/// The path and query of an address that is SNS's own in this region, and of nobody else: the exact host,
/// `https`, no user, no port. This is also what may be fetched to confirm a subscription.
pub fn check_place<'a>(url: &'a str, aws_region: &str) -> Result<&'a str, Untrusted> {
    let elsewhere = || Untrusted::Place(url.chars().take(300).collect());
    let dot = if aws_region.starts_with("cn-") { ".cn" } else { "" };
    let host = format!("sns.{aws_region}.amazonaws.com{dot}");
    let uri: hyper::Uri = url.parse().map_err(|_| elsewhere())?;
    // The authority as a whole, so that neither a user before it nor a port behind it gets through.
    let exact = uri.authority().is_some_and(|authority| authority.as_str() == host);
    if uri.scheme_str() != Some("https") || !exact || aws_region.is_empty() {
        return Err(elsewhere());
    }
    url.strip_prefix("https://").and_then(|rest| rest.strip_prefix(&host)).ok_or_else(elsewhere)
}

#[cfg(test)]
mod tests;
