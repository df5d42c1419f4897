//! The port [`Objects`] over S3, each bucket at the endpoint of its own AWS region.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Region};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;

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

#[derive(Debug)]
pub(super) struct S3 {
    base: Base,
    clients: PerRegion<Client>,
}

impl S3 {
    pub(super) fn new(base: Base) -> Self {
        Self { base, clients: PerRegion::new() }
    }

    fn client(&self, aws_region: &str) -> Client {
        let make = |call| {
            let config = Builder::from(&self.base.sdk)
                .region(Region::new(aws_region.to_owned()))
                .retry_config(Base::retries(call))
                .timeout_config(self.base.timeouts(call));
            Client::from_conf(match self.base.settings.endpoint(Service::S3, aws_region) {
                // Servers on loopback have no host name for each bucket.
                Some(url) => config.endpoint_url(url).force_path_style(true).build(),
                None => config.build(),
            })
        };
        self.clients.client(aws_region, || make(Call::Gate))
    }
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
        let write = self.client(aws_region);
        write
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
        Ok(())
    }

    async fn delete(&self, aws_region: &str, bucket: &str, key: &str) -> Result<(), CallFailed> {
        let write = self.client(aws_region);
        let deleted = write.delete_object().bucket(bucket).key(key).send().await;
        deleted.map_err(|error| failed(&error))?;
        Ok(())
    }

    async fn exists(&self, aws_region: &str, bucket: &str, key: &str) -> Result<bool, CallFailed> {
        let read = self.client(aws_region);
        // Not a HEAD, whose refusals have no code: 403 and 404 would be all there is to go by.
        match read.get_object().bucket(bucket).key(key).send().await {
            Ok(_) => Ok(true),
            Err(error) => {
                let absent = error.as_service_error().is_some_and(GetObjectError::is_no_such_key);
                if absent { Ok(false) } else { Err(failed(&error)) }
            }
        }
    }
}
