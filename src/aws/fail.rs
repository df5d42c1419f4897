//! What may be believed after an AWS call went wrong: SDK errors into [`CallFailed`].
//!
//! Three questions, in this order: was it sent, was it refused, and if neither is sure, it is unknown.
//! The code of an answer decides, never its HTTP status alone: Route 53 throttles with a 400, and
//! Elastic Load Balancing says "I cannot tell" with a 500. The text is kept for people only.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::ports::CallFailed;

/// Of the text of an error or of a body that nobody understood: enough to see what it was.
const EXCERPT_CHARS_MAX: usize = 400;

/// A port's word for what the SDK says.
pub(super) fn failed<E>(error: &SdkError<E, HttpResponse>) -> CallFailed
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => CallFailed::NotSent { why: chain(error) },
        SdkError::DispatchFailure(failure) => {
            not_sent(error, failure.is_user()).unwrap_or_else(|| unknown(error))
        }
        SdkError::ServiceError(answer) => classify(&Answer {
            status: answer.raw().status().as_u16(),
            code: answer.err().meta().code(),
            message: answer.err().meta().message(),
            body: answer.raw().body().bytes().unwrap_or_default(),
            bucket_region: answer.raw().headers().get("x-amz-bucket-region"),
        }),
        // A time-out (also while connecting was over), a body that broke off, and whatever a later
        // SDK adds: it may have happened.
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) | _ => unknown(error),
    }
}

/// An answer that says no, or that says nothing.
struct Answer<'a> {
    status: u16,
    code: Option<&'a str>,
    message: Option<&'a str>,
    body: &'a [u8],
    /// Where S3 says that the bucket is (API reference, `HeadBucket`, response elements).
    bucket_region: Option<&'a str>,
}

fn classify(answer: &Answer<'_>) -> CallFailed {
    let Some(code) = answer.code.filter(|code| !code.is_empty()) else {
        return without_code(answer);
    };
    let why = clip(answer.message.unwrap_or("no message"));
    let code = clip(code);
    match code.as_str() {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "SlowDown" => CallFailed::Throttled { code, why },
        "PriorRequestNotComplete" => CallFailed::Busy,
        // "The bucket that you are attempting to access must be addressed using the specified endpoint" (S3
        // API reference, "Error responses"): it will be as wrong the next time.
        "PermanentRedirect" => {
            let place = answer.bucket_region.map(clip).map_or_else(
                || "in another region than the policy says".to_owned(),
                |region| format!("in {region}, not where the policy says"),
            );
            CallFailed::Refused { code, why: format!("the bucket is {place}: {why}") }
        }
        // A batch of ours is compare-and-swap throughout, so a batch that does not fit means that
        // somebody else was there. Its text is for people; AWS changed it in 2024.
        "InvalidChangeBatch" => CallFailed::Conflict { why },
        "NoSuchChange"
        | "NoSuchHostedZone"
        | "NoSuchHealthCheck"
        | "TargetGroupNotFound"
        | "LoadBalancerNotFound"
        | "ResourceNotFoundException" => CallFailed::NotFound { code, why },
        // Of one endpoint of a cluster, which asks to go to the next; and of a session that is over.
        // Those that follow will do, so an order is kept for them.
        "EndpointTemporarilyUnavailableException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired" => CallFailed::NotSent { why: format!("{code}: {why}") },
        _ if (400..500).contains(&answer.status) && answer.status != REQUEST_TIMEOUT => {
            CallFailed::Refused { code, why }
        }
        // `HealthUnavailable` of Elastic Load Balancing among them, which says no more than that.
        _ => CallFailed::Unknown { why: format!("{code} (HTTP {}): {why}", answer.status) },
    }
}

/// Somebody between us and the service gave up waiting. The service may have done it.
const REQUEST_TIMEOUT: u16 = 408;
const TOO_MANY_REQUESTS: u16 = 429;

/// An answer that is not in the form of the service: an old form of refusal, or somebody between us and
/// the service. The older `InvalidChangeBatch` document, still in some manuals, arrives like this.
fn without_code(answer: &Answer<'_>) -> CallFailed {
    let why = format!("HTTP {}, the answer was {}", answer.status, excerpt(answer.body));
    match answer.status {
        TOO_MANY_REQUESTS => CallFailed::Throttled { code: "429".to_owned(), why },
        REQUEST_TIMEOUT => CallFailed::Unknown { why },
        400..=499 => CallFailed::Refused { code: "reason unknown".to_owned(), why },
        // Garbage with status 200 among them: the change may well have been taken.
        _ => CallFailed::Unknown { why },
    }
}

/// Certainly not sent: no credentials, no address, no connection. `None` if that cannot be told.
fn not_sent(error: &(dyn Error + 'static), our_mistake: bool) -> Option<CallFailed> {
    if find::<CredentialsError>(error).is_some() {
        return Some(CallFailed::NotSent {
            why: format!(
                "no AWS credentials ({}); set AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role",
                chain(error)
            ),
        });
    }
    // Refused, timed out before there was a connection, or no address for the name. The wire tests
    // hold the SDK to this: another HTTP client below it may put it differently.
    let never_connected = our_mistake
        || find::<hyper_util::client::legacy::Error>(error)
            .is_some_and(hyper_util::client::legacy::Error::is_connect);
    never_connected.then(|| CallFailed::NotSent { why: chain(error) })
}

fn unknown(error: &(dyn Error + 'static)) -> CallFailed {
    CallFailed::Unknown { why: chain(error) }
}

/// The first error of this type among an error and its sources.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    sources(error).find_map(|e| e.downcast_ref::<T>())
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    /// Far more than any chain of the SDK; a chain that runs in a circle must end too.
    const SOURCES_MAX: usize = 32;
    std::iter::successors(Some(error), |&e| e.source()).take(SOURCES_MAX)
}

/// What each error of the chain says, outermost first, without repetition.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in sources(error) {
        let part = error.to_string();
        if !part.is_empty() && !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
    }
    clip(&text)
}

fn excerpt(body: &[u8]) -> String {
    if body.is_empty() {
        return "empty".to_owned();
    }
    // Four bytes is the longest character of UTF-8.
    let start = &body[..body.len().min(EXCERPT_CHARS_MAX * 4)];
    format!("`{}`", clip(String::from_utf8_lossy(start).trim()))
}

/// Bounded, on one line, without control characters: this goes to terminals and journals.
fn clip(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut clipped: String = chars.by_ref().take(EXCERPT_CHARS_MAX).collect();
    if chars.next().is_some() {
        clipped.push_str("...");
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: Option<&str>, body: &str) -> CallFailed {
        let (message, body) = (Some("text"), body.as_bytes());
        classify(&Answer { status, code, message, body, bucket_region: None })
    }

    #[test]
    fn a_bucket_elsewhere_is_said_with_its_region_and_would_be_refused_again() {
        let said = |bucket_region| {
            let (code, message) = (Some("PermanentRedirect"), Some("use the endpoint"));
            classify(&Answer { status: 301, code, message, body: b"", bucket_region })
        };
        for (region, place) in [
            (Some("ap-south-1"), "the bucket is in ap-south-1, not where the policy says"),
            (None, "the bucket is in another region than the policy says"),
        ] {
            let failure = said(region);
            assert!(failure.is_for_good() && failure.to_string().contains(place), "{failure}");
        }
        assert!(answer(403, Some("AccessDenied"), "").is_for_good());
        assert!(answer(403, Some("AuthorizationError"), "").is_for_good(), "of SNS");
        assert!(!answer(403, Some("ExpiredToken"), "").is_for_good());
        assert!(!answer(503, Some("SlowDown"), "").is_for_good());
    }

    fn kind(failed: &CallFailed) -> &'static str {
        match failed {
            CallFailed::NotSent { .. } => "not sent",
            CallFailed::Throttled { .. } => "throttled",
            CallFailed::Busy => "busy",
            CallFailed::Conflict { .. } => "conflict",
            CallFailed::Refused { .. } => "refused",
            CallFailed::NotFound { .. } => "not found",
            CallFailed::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn the_code_decides_and_not_the_status() {
        for (status, code, expected) in [
            (400, "Throttling", "throttled"),
            (503, "RequestLimitExceeded", "throttled"),
            (400, "ThrottlingException", "throttled"),
            (400, "PriorRequestNotComplete", "busy"),
            (400, "InvalidChangeBatch", "conflict"),
            (400, "InvalidInput", "refused"),
            (403, "AccessDenied", "refused"),
            (403, "ExpiredToken", "not sent"),
            (400, "ExpiredTokenException", "not sent"),
            (400, "RequestExpired", "not sent"),
            (503, "EndpointTemporarilyUnavailableException", "not sent"),
            (404, "ResourceNotFoundException", "not found"),
            (409, "ConflictException", "refused"),
            (402, "ServiceLimitExceededException", "refused"),
            (429, "ThrottlingException", "throttled"),
            (500, "InternalServerException", "unknown"),
            (404, "NoSuchHostedZone", "not found"),
            (404, "NoSuchChange", "not found"),
            (400, "TargetGroupNotFound", "not found"),
            (500, "HealthUnavailable", "unknown"),
            (500, "InternalFailure", "unknown"),
            (503, "ServiceUnavailable", "unknown"),
            (408, "RequestTimeout", "unknown"),
        ] {
            assert_eq!(kind(&answer(status, Some(code), "")), expected, "{status} {code}");
        }
    }

    #[test]
    fn an_answer_without_a_code_is_refused_only_if_its_status_says_so() {
        for (status, expected) in [
            (200, "unknown"),
            (302, "unknown"),
            (400, "refused"),
            (403, "refused"),
            (408, "unknown"),
            (429, "throttled"),
            (500, "unknown"),
            (503, "unknown"),
        ] {
            assert_eq!(kind(&answer(status, None, "<html>")), expected, "{status}");
            assert_eq!(kind(&answer(status, Some(""), "<html>")), expected, "{status}");
        }
    }

    #[test]
    fn what_nobody_understood_is_kept_in_bounds_and_on_one_line() {
        let CallFailed::Refused { code, why } = answer(400, None, &"<a>\n\u{7}".repeat(10_000))
        else {
            panic!("a 400 is a refusal");
        };
        assert_eq!(code, "reason unknown");
        assert!(why.contains("<a>"), "{why}");
        assert!(why.chars().count() < EXCERPT_CHARS_MAX + 100, "{}", why.len());
        assert!(!why.chars().any(char::is_control), "{why}");
    }
}
