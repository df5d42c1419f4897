//! The port [`Queue`] over SQS.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::MessageSystemAttributeName;

use super::fail::failed;
use super::{Base, Call, PerRegion, Service};
use crate::ports::{CallFailed, Message, Queue, QueuePlace};

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] =
    &["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"];

/// The longest poll there is (Amazon SQS API Reference, `ReceiveMessage`, `WaitTimeSeconds`).
const WAIT_SECONDS: i32 = 20;
/// The most that one poll brings.
const MESSAGES_MAX: i32 = 10;
/// So long nobody else gets a message that we have: several times what handling it takes.
const HIDDEN_SECONDS: i32 = 60;

#[derive(Debug)]
pub(super) struct Sqs {
    base: Base,
    clients: PerRegion<Client>,
}

impl Sqs {
    pub(super) fn new(base: Base) -> Self {
        Self { base, clients: PerRegion::new() }
    }

    fn client(&self, aws_region: &str) -> Client {
        self.clients.client(aws_region, || {
            let config = configured!(aws_sdk_sqs, &self.base, Service::Sqs, aws_region, Call::Poll);
            Client::from_conf(config.build())
        })
    }
}

#[async_trait]
impl Queue for Sqs {
    async fn receive(&self, place: &QueuePlace) -> Result<Vec<Message>, CallFailed> {
        let received = self
            .client(&place.aws_region)
            .receive_message()
            .queue_url(&place.url)
            .wait_time_seconds(WAIT_SECONDS)
            .max_number_of_messages(MESSAGES_MAX)
            .visibility_timeout(HIDDEN_SECONDS)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await
            .map_err(|error| failed(&error))?;
        let messages = received.messages().iter().filter_map(|message| {
            let count = message
                .attributes()
                .and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
            Some(Message {
                id: message.message_id().unwrap_or_default().to_owned(),
                body: message.body().unwrap_or_default().to_owned(),
                // Without it a message can only run out and come again.
                receipt: message.receipt_handle()?.to_owned(),
                times: count.and_then(|count| count.parse().ok()).unwrap_or(1),
            })
        });
        Ok(messages.collect())
    }

    async fn delete(&self, place: &QueuePlace, message: &Message) -> Result<(), CallFailed> {
        let deleted = self
            .client(&place.aws_region)
            .delete_message()
            .queue_url(&place.url)
            .receipt_handle(&message.receipt);
        deleted.send().await.map(drop).map_err(|error| failed(&error))
    }

    async fn release(
        &self,
        place: &QueuePlace,
        message: &Message,
        after: Duration,
    ) -> Result<(), CallFailed> {
        let seconds = i32::try_from(after.as_secs()).unwrap_or(HIDDEN_SECONDS);
        let released = self
            .client(&place.aws_region)
            .change_message_visibility()
            .queue_url(&place.url)
            .receipt_handle(&message.receipt)
            .visibility_timeout(seconds);
        released.send().await.map(drop).map_err(|error| failed(&error))
    }
}
