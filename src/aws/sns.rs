//! The port [`Topics`] over SNS, each topic at the endpoint of its own AWS region.

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::types::MessageAttributeValue;

use super::fail::failed;
use super::{Base, Call, PerRegion, Service};
use crate::ports::{Announcement, CallFailed, Topics};

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] = &["sns:Publish"];

/// "Subjects must be ASCII text that begins with a letter, number, or punctuation mark; must not include
/// line breaks or control characters; and must be less than 100 characters long" (API reference, "Publish").
const SUBJECT_MAX: usize = 99;
/// A message is at most 256 KiB (same page).
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Group and deduplication ids are up to 128 letters, digits and punctuation marks (same page).
const ID_MAX: usize = 128;

#[derive(Debug)]
pub(super) struct Sns {
    base: Base,
    clients: PerRegion<Client>,
}

impl Sns {
    pub(super) fn new(base: Base) -> Self {
        Self { base, clients: PerRegion::new() }
    }

    fn client(&self, aws_region: &str) -> Client {
        self.clients.client(aws_region, || {
            let config = configured!(aws_sdk_sns, &self.base, Service::Sns, aws_region, Call::Tell);
            Client::from_conf(config.build())
        })
    }
}

#[async_trait]
impl Topics for Sns {
    async fn publish(
        &self,
        aws_region: &str,
        topic: &str,
        message: &Announcement<'_>,
    ) -> Result<(), CallFailed> {
        let attribute = |value: &str| {
            MessageAttributeValue::builder().data_type("String").string_value(value).build()
        };
        let malformed =
            |error: aws_sdk_sns::error::BuildError| CallFailed::NotSent { why: error.to_string() };
        let mut request = self
            .client(aws_region)
            .publish()
            .topic_arn(topic)
            .subject(subject(message.subject))
            .message(cut(message.text))
            .message_attributes("severity", attribute(message.severity).map_err(malformed)?)
            .message_attributes("thread", attribute(message.thread).map_err(malformed)?);
        // Only such a topic takes these, and it takes nothing without them.
        if topic.strip_suffix(".fifo").is_some() {
            let once = format!("{}.{}", message.thread, message.sequence);
            request =
                request.message_group_id(id(message.thread)).message_deduplication_id(id(&once));
        }
        match request.send().await.map_err(|error| failed(&error))?.message_id() {
            Some(_) => Ok(()),
            // SNS numbers what it has taken; somebody on the way who says 200 to everything does not.
            None => Err(CallFailed::Unknown { why: "the answer is not that of SNS".to_owned() }),
        }
    }
}

fn subject(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' });
    let plain: String = plain.take(SUBJECT_MAX).collect();
    plain.trim().to_owned()
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The end of it, which tells more than the beginning.
fn id(text: &str) -> String {
    let plain: Vec<char> =
        text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    plain.iter().skip(plain.len().saturating_sub(ID_MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_what_sns_takes() {
        let told = subject(&format!("[page] shop: `é` is\ndown {}", "x".repeat(200)));
        assert!(told.starts_with("[page] shop: `"), "{told}");
        assert!(told.is_ascii() && told.len() < 100 && !told.contains('\n'));
    }

    #[test]
    fn an_id_is_short_and_keeps_its_number() {
        let long = id(&format!("{}.17", "a b".repeat(100)));
        assert!(long.len() <= 128 && long.ends_with(".17") && !long.contains(' '));
        assert_eq!(cut(&"é".repeat(MESSAGE_BYTES_MAX)).len(), MESSAGE_BYTES_MAX);
    }
}
