//! Messages that openssl signed, and messages of a made-up AWS.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_RSA_SHA256,
    RsaKeySize,
};

use super::super::http;
use super::*;

const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:alarms";
const URL: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem";
/// 2027-01-15T08:00:30Z.
const NOW: Timestamp = Timestamp::from_secs(1_800_000_030);

/// Serves one file under one address, as AWS does, and counts how often.
#[derive(Debug)]
struct Shelf {
    file: String,
    fetched: AtomicUsize,
}

#[async_trait]
impl Fetch for Shelf {
    async fn fetch(&self, url: &str) -> Result<Bytes, String> {
        self.fetched.fetch_add(1, Ordering::SeqCst);
        // As long as it takes: others may ask in between.
        tokio::task::yield_now().await;
        if url == URL {
            Ok(Bytes::from(self.file.clone()))
        } else {
            Err(format!("nothing at {url}"))
        }
    }
}

/// A certificate authority and an SNS of its own.
struct Aws {
    verifier: Verifier,
    shelf: Arc<Shelf>,
    key: RsaKeyPair,
    authority: CertificateDer<'static>,
}

fn year(year: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 12, 31);
    params
}

impl Aws {
    fn with(name: &str, valid_to: i32, root_trusted: bool) -> Self {
        let mut authority = year(2040);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let signing = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = year(valid_to);
        params.subject_alt_names =
            CertificateParams::new([name.to_owned()]).unwrap().subject_alt_names;
        let certificate = params.signed_by(&signing, &authority).unwrap();
        let shelf = Arc::new(Shelf { file: pem(certificate.der()), fetched: AtomicUsize::new(0) });
        let roots = if root_trusted { vec![authority.der().clone()] } else { Vec::new() };
        let verifier = Verifier::new(Arc::clone(&shelf) as Arc<dyn Fetch>, &roots, Vec::new());
        let key = RsaKeyPair::from_pkcs8(&signing.serialize_der()).unwrap();
        let authority = authority.der().clone();
        Self { verifier, shelf, key, authority }
    }

    fn new() -> Self {
        Self::with("sns.amazonaws.com", 2030, true)
    }

    fn sign(&self, envelope: Envelope) -> Envelope {
        let text = envelope.signed_text().unwrap();
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .unwrap();
        Envelope { signature: Some(encode(&signature)), ..envelope }
    }

    async fn says(&self, envelope: &Envelope) -> Result<(), Untrusted> {
        self.verifier.verify(envelope, &[TOPIC.to_owned()].into(), NOW).await
    }
}

fn pem(der: &[u8]) -> String {
    let text = encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut padded = [0; 3];
        padded[..three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..4 {
            let digit = bits >> (18 - 6 * place) & 63;
            let used = place <= three.len();
            text.push(if used { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    text
}

fn envelope() -> Envelope {
    let body = include_bytes!("../../../../tests/sns/v2.json");
    Envelope::parse(body).unwrap()
}

#[tokio::test]
async fn what_openssl_signed_is_believed_in_both_versions() {
    let root: CertificateDer<'static> =
        CertificateDer::from_pem_slice(include_bytes!("../../../../tests/sns/root.pem")).unwrap();
    let file = include_str!("../../../../tests/sns/chain.pem").to_owned();
    let shelf = Arc::new(Shelf { file, fetched: AtomicUsize::new(0) });
    let verifier = Verifier::new(shelf.clone(), &[root], Vec::new());
    let bodies: [&[u8]; 2] = [
        include_bytes!("../../../../tests/sns/v1.json"),
        include_bytes!("../../../../tests/sns/v2.json"),
    ];
    for body in bodies {
        let envelope = Envelope::parse(body).unwrap();
        verifier.verify(&envelope, &[TOPIC.to_owned()].into(), NOW).await.unwrap();
        let other = if envelope.signature_version.as_deref() == Some("1") { "2" } else { "1" };
        let swapped = Envelope { signature_version: Some(other.to_owned()), ..envelope };
        let refused = verifier.verify(&swapped, &[TOPIC.to_owned()].into(), NOW).await;
        assert_eq!(refused, Err(Untrusted::Signature));
    }
    assert_eq!(shelf.fetched.load(Ordering::SeqCst), 1, "fetched once, then remembered");
}

#[tokio::test]
async fn a_signed_message_of_our_topic_is_believed_and_any_change_of_it_is_not() {
    let aws = Aws::new();
    let good = aws.sign(envelope());
    aws.says(&good).await.unwrap();
    let tampered = [
        Envelope { message: good.message.replace("ALARM", "OK"), ..good.clone() },
        Envelope { message_id: "another".to_owned(), ..good.clone() },
        Envelope { subject: None, ..good.clone() },
        Envelope { timestamp: "2027-01-15T08:00:00.641Z".to_owned(), ..good.clone() },
        Envelope { signature: Some("AAAA".to_owned()), ..good.clone() },
        Envelope { signature: Some("not base64".to_owned()), ..good.clone() },
    ];
    for envelope in tampered {
        assert_eq!(aws.says(&envelope).await, Err(Untrusted::Signature), "{envelope:?}");
    }
    assert!(matches!(
        aws.says(&Envelope { signature: None, ..good.clone() }).await,
        Err(Untrusted::Missing("Signature"))
    ));
    for version in [None, Some("3".to_owned())] {
        let odd = Envelope { signature_version: version, ..good.clone() };
        assert!(matches!(aws.says(&odd).await, Err(Untrusted::Version(_))));
    }
}

#[tokio::test]
async fn a_topic_that_is_not_on_the_list_is_refused_before_anything_is_fetched() {
    let aws = Aws::new();
    let topic = "arn:aws:sns:eu-west-1:999999999999:alarms".to_owned();
    let good = aws.sign(Envelope { topic, ..envelope() });
    assert!(matches!(aws.says(&good).await, Err(Untrusted::Topic(_))));
    assert_eq!(aws.shelf.fetched.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_certificate_is_fetched_from_the_topics_own_sns_and_from_nowhere_else() {
    let aws = Aws::new();
    let good = aws.sign(envelope());
    for url in [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.test/x.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.test/x.pem",
        "https://user@sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/x.pem",
        "https://sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com.cn/x.pem",
        "https://evil.test/sns.eu-west-1.amazonaws.com/x.pem",
        "https://evil-sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com/x.crt",
        "https://sns.eu-west-1.amazonaws.com/?x=.pem",
        "https://sns.eu-west-1.amazonaws.com\\@evil.test/x.pem",
        "sns.eu-west-1.amazonaws.com/x.pem",
        "",
    ] {
        let odd = Envelope { certificate_url: Some(url.to_owned()), ..good.clone() };
        assert!(matches!(aws.says(&odd).await, Err(Untrusted::Place(_))), "{url}");
    }
    assert_eq!(aws.shelf.fetched.load(Ordering::SeqCst), 0);
    let missing = Envelope { certificate_url: Some(URL.replace("-1.pem", "-2.pem")), ..good };
    assert!(matches!(aws.says(&missing).await, Err(Untrusted::Fetch(_))), "worth another try");
}

#[tokio::test(start_paused = true)]
async fn whoever_names_ever_new_files_has_few_of_them_fetched_and_shuts_nobody_out() {
    let aws = Aws::new();
    let good = aws.sign(envelope());
    let storm = (0..50).map(|_| aws.says(&good));
    for said in futures_util::future::join_all(storm).await {
        said.unwrap();
    }
    assert_eq!(aws.shelf.fetched.load(Ordering::SeqCst), 1, "a storm of ours fetches once");
    let forged = |number: u32| Envelope {
        certificate_url: Some(URL.replace("-1.pem", &format!("-forged-{number}.pem"))),
        ..good.clone()
    };
    for number in 0..200 {
        let said = aws.says(&forged(number)).await;
        assert!(matches!(said, Err(Untrusted::Fetch(_))), "worth another try: {said:?}");
    }
    let fetched = aws.shelf.fetched.load(Ordering::SeqCst);
    assert!((5..=20).contains(&fetched), "{fetched}");
    aws.says(&good).await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    let _ = aws.says(&forged(1)).await;
    assert_eq!(aws.shelf.fetched.load(Ordering::SeqCst), fetched + 1, "later there is room again");
}

#[tokio::test]
async fn a_certificate_that_is_over_or_anothers_or_from_nobody_is_no_proof() {
    let bad = [
        ("over", Aws::with("sns.amazonaws.com", 2026, true)),
        ("another name", Aws::with("evil.test", 2030, true)),
        ("another service", Aws::with("sqs.amazonaws.com", 2030, true)),
        ("another region", Aws::with("sns-signing.us-east-1.amazonaws.com", 2030, true)),
        ("no root", Aws::with("sns.amazonaws.com", 2030, false)),
    ];
    for (why, aws) in bad {
        let good = aws.sign(envelope());
        let refused = aws.says(&good).await;
        assert!(matches!(refused, Err(Untrusted::Certificate(_))), "{why}: {refused:?}");
    }
    let newer = Aws::with("sns-signing.eu-west-1.amazonaws.com", 2030, true);
    newer.says(&newer.sign(envelope())).await.unwrap();
}

#[tokio::test]
async fn what_was_kept_and_sent_again_is_refused() {
    let aws = Aws::new();
    for (timestamp, kept) in [
        ("2027-01-15T06:50:00.000Z", true),
        ("2027-01-15T08:10:00.000Z", false),
        ("yesterday", false),
    ] {
        let signed = aws.sign(Envelope { timestamp: timestamp.to_owned(), ..envelope() });
        let refused = aws.says(&signed).await.unwrap_err();
        let right = if kept {
            matches!(refused, Untrusted::Old(_))
        } else {
            matches!(refused, Untrusted::Time(_))
        };
        assert!(right, "{timestamp}: {refused}");
    }
}

/// Also takes a yes to a subscription, at any address, and remembers where it was said.
#[derive(Debug)]
struct Confirming {
    shelf: Arc<Shelf>,
    said: Mutex<Vec<String>>,
}

#[async_trait]
impl Fetch for Confirming {
    async fn fetch(&self, url: &str) -> Result<Bytes, String> {
        if url.contains("Action=ConfirmSubscription") {
            self.said.lock().unwrap().push(url.to_owned());
            return Ok(Bytes::from_static(b"<ConfirmSubscriptionResponse/>"));
        }
        self.shelf.fetch(url).await
    }
}

#[derive(Debug)]
struct Still;

impl crate::ports::Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A door of SNS over a real socket, and the status that each body gets.
async fn answers(verifier: Verifier, bodies: &[String]) -> Vec<u16> {
    let mut policy = crate::report::samples::policy();
    policy.triggers.topics = [TOPIC.to_owned()].into();
    let state = tempfile::tempdir().unwrap();
    let registry = Arc::new(super::super::Registry::default());
    let (arriving, _arrivals) = tokio::sync::mpsc::channel(1);
    let (sender, _samples) = tokio::sync::mpsc::channel(1);
    let door = format!("/v1/events/{}/sns", policy.service);
    registry.enter(Arc::new(policy), arriving, sender);
    let intake = Arc::new(super::super::Intake {
        registry,
        quarantine: super::super::Quarantine::new(state.path()),
        verifier,
        clock: Arc::new(Still),
        numbers: Arc::new(crate::telemetry::Numbers::new()),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{door}", listener.local_addr().unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(http::serve(listener, http::router(intake), stop.clone()));
    let mut statuses = Vec::new();
    for body in bodies {
        let asked = Ask {
            method: Method::POST,
            url: &url,
            headers: Vec::new(),
            body: Bytes::from(body.clone()),
            answer_max: 4096,
            within: Duration::from_secs(10),
        };
        statuses.push(ask(asked).await.unwrap().0.as_u16());
    }
    stop.cancel();
    task.await.unwrap();
    statuses
}

#[tokio::test]
async fn a_subscription_is_confirmed_at_the_address_of_sns_and_nowhere_else() {
    let aws = Aws::new();
    let confirm = |topic: &str, place: &str, signed: bool| {
        let mut body = serde_json::json!({
            "Type": "SubscriptionConfirmation",
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Token": "2336412f37f",
            "TopicArn": topic,
            "Message": "You have chosen to subscribe to the topic.",
            "SubscribeURL": place,
            "Timestamp": "2027-01-15T08:00:00.000Z",
            "SignatureVersion": "2",
            "Signature": "",
            "SigningCertURL": URL,
        });
        let envelope = Envelope::parse(body.to_string().as_bytes()).unwrap();
        body["Signature"] = aws.sign(envelope).signature.into();
        if !signed {
            body["Token"] = "another".into();
        }
        body.to_string()
    };
    let right = format!(
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37f"
    );
    let elsewhere = "https://sns.eu-west-1.amazonaws.com.evil.example/?Action=ConfirmSubscription";
    let other = "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe";
    let fetch = Arc::new(Confirming { shelf: Arc::clone(&aws.shelf), said: Mutex::default() });
    let verifier = Verifier::new(fetch.clone(), std::slice::from_ref(&aws.authority), Vec::new());
    let statuses = answers(
        verifier,
        &[
            confirm(TOPIC, elsewhere, true),
            confirm(TOPIC, other, true),
            confirm(TOPIC, &right, false),
            confirm("arn:aws:sns:eu-west-1:111122223333:others", &right, true),
            confirm(TOPIC, &right, true),
        ],
    )
    .await;
    assert_eq!(statuses, [403, 403, 403, 403, 200]);
    assert_eq!(*fetch.said.lock().unwrap(), [right], "once, and only there");
}
