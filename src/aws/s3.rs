//! The port [`Objects`] over S3, each bucket at the endpoint of its own AWS region.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::retry::RetryConfig;

use super::fail::failed;
use super::{Base, Call, PerRegion, Service};
use crate::ports::{CallFailed, Objects};

/// What this client calls, for the policy of least privilege.
///
/// Without `s3:ListBucket` an object that is not there is answered with `AccessDenied` in place of
/// `NoSuchKey` (API reference, `GetObject`, permissions), and a gate that is open could not be told from
/// one that cannot be read.
pub(super) const ACTIONS: &[&str] =
    &["s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"];

/// Those of them that change nothing.
pub(super) const READS: &[&str] = &["s3:GetObject", "s3:ListBucket"];

#[derive(Debug)]
pub(super) struct S3 {
    base: Base,
    reads: PerRegion<Client>,
    writes: PerRegion<Client>,
}

impl S3 {
    pub(super) fn new(base: Base) -> Self {
        Self { base, reads: PerRegion::new(), writes: PerRegion::new() }
    }

    fn read(&self, aws_region: &str) -> Client {
        self.reads.client(aws_region, || client(&self.base, aws_region, Call::Gate))
    }

    /// Tried once: of several tries only the last is told, and an earlier one that got no answer may have
    /// landed. Whoever asked tries again, after reading.
    fn write(&self, aws_region: &str) -> Client {
        self.writes.client(aws_region, || {
            let once = RetryConfig::standard().with_max_attempts(1);
            let config = client(&self.base, aws_region, Call::Gate);
            Client::from_conf(config.config().to_builder().retry_config(once).build())
        })
    }
}

/// A client of one AWS region's endpoint.
pub(super) fn client(base: &Base, aws_region: &str, call: Call) -> Client {
    let config = configured!(aws_sdk_s3, base, Service::S3, aws_region, call);
    // Servers on loopback have no host name for each bucket.
    let elsewhere = base.settings.endpoint(Service::S3, aws_region).is_some();
    Client::from_conf(config.force_path_style(elsewhere).build())
}

#[async_trait]
impl Objects for S3 {
    async fn put(
        &self,
        aws_region: &str,
        bucket: &str,
        key: &str,
        body: &str,
    ) -> Result<(), CallFailed> {
        let write = self.write(aws_region);
        let taken = write
            .put_object()
            .bucket(bucket)
            .key(key)
            .content_type("text/plain")
            // What looks at a gate must see it as it is.
            .cache_control("no-store")
            .body(ByteStream::from(body.as_bytes().to_vec()))
            .send()
            .await
            .map_err(|error| failed(&error))?;
        told_by_s3(taken.e_tag())
    }

    async fn delete(&self, aws_region: &str, bucket: &str, key: &str) -> Result<(), CallFailed> {
        let write = self.write(aws_region);
        let deleted = write.delete_object().bucket(bucket).key(key).send().await;
        deleted.map_err(|error| failed(&error))?;
        Ok(())
    }

    async fn exists(&self, aws_region: &str, bucket: &str, key: &str) -> Result<bool, CallFailed> {
        let read = self.read(aws_region);
        // Not a HEAD, whose refusals have no code: 403 and 404 would be all there is to go by.
        match read.get_object().bucket(bucket).key(key).send().await {
            Ok(found) => told_by_s3(found.e_tag()).map(|()| true),
            Err(error) => {
                let absent = error.as_service_error().is_some_and(GetObjectError::is_no_such_key);
                if absent { Ok(false) } else { Err(failed(&error)) }
            }
        }
    }
}

/// Every object has an entity tag, which is told when it is written and when it is read (API reference,
/// `PutObject` and `GetObject`). Somebody on the way who says 200 to everything does not know it.
fn told_by_s3(tag: Option<&str>) -> Result<(), CallFailed> {
    match tag.filter(|tag| !tag.is_empty()) {
        Some(_) => Ok(()),
        None => Err(CallFailed::Unknown { why: "the answer is not that of S3".to_owned() }),
    }
}
