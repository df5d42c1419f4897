//! The port [`Pages`] over S3, each bucket at the endpoint of its own AWS region.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::fail::failed;
use super::{Base, Call, PerRegion, s3};
use crate::ports::{CallFailed, Pages};

/// What this client calls, for the policy of least privilege.
///
/// A status page is only written. Of a cached copy the list is read as well, and what it no longer names is
/// removed; without `s3:ListBucket` a list that is not there yet is answered with `AccessDenied` (API
/// reference, `GetObject`, permissions).
pub(super) const ACTIONS: &[&str] =
    &["s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"];

/// A cache on the way may keep a page for half a minute: it says itself when it was renewed.
const CACHED_FOR: &str = "public, max-age=30";

#[derive(Debug)]
pub(super) struct S3Pages {
    base: Base,
    clients: PerRegion<Client>,
}

impl S3Pages {
    pub(super) fn new(base: Base) -> Self {
        Self { base, clients: PerRegion::new() }
    }

    fn client(&self, aws_region: &str) -> Client {
        self.clients.client(aws_region, || s3::client(&self.base, aws_region, Call::Tell))
    }
}

#[async_trait]
impl Pages for S3Pages {
    async fn publish(
        &self,
        aws_region: &str,
        bucket: &str,
        key: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<(), CallFailed> {
        let put = self.client(aws_region).put_object().bucket(bucket).key(key);
        let put = put.content_type(content_type).cache_control(CACHED_FOR);
        let sent = put.body(ByteStream::from(body)).send().await;
        match sent.map_err(|error| failed(&error))?.e_tag() {
            Some(_) => Ok(()),
            // S3 names the object that it has taken; somebody on the way who says 200 to everything does not.
            None => Err(CallFailed::Unknown { why: "the answer is not that of S3".to_owned() }),
        }
    }

    async fn read(
        &self,
        aws_region: &str,
        bucket: &str,
        key: &str,
        octets_max: usize,
    ) -> Result<Option<Bytes>, CallFailed> {
        let got = self.client(aws_region).get_object().bucket(bucket).key(key).send().await;
        let found = match got {
            Ok(found) => found,
            Err(error) => {
                let absent = error.as_service_error().is_some_and(GetObjectError::is_no_such_key);
                return if absent { Ok(None) } else { Err(failed(&error)) };
            }
        };
        let octets = found.content_length().and_then(|octets| usize::try_from(octets).ok());
        if octets.is_none_or(|octets| octets > octets_max) {
            let why = format!("`{key}` has more than {octets_max} octets");
            return Err(CallFailed::Refused { code: "TooLarge".to_owned(), why });
        }
        let body = found.body.collect().await;
        let body = body.map_err(|error| CallFailed::Unknown { why: error.to_string() })?;
        Ok(Some(body.into_bytes()))
    }

    async fn remove(&self, aws_region: &str, bucket: &str, key: &str) -> Result<(), CallFailed> {
        let removed = self.client(aws_region).delete_object().bucket(bucket).key(key).send().await;
        removed.map(drop).map_err(|error| failed(&error))
    }
}
