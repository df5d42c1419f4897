//! Publishes the status page: to a directory, a bucket, or a hosted page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::channels::exchange;
use super::secret::read;
use super::{Bundle, Carrier, Untaken, Way};
use crate::bulletin::{Incident, Light, Page, Phase};
use crate::policy::{PagePlace, Policy, Secret};
use crate::ports::Pages;
use crate::runtime::disk::{beside, replace};
use crate::status_site::files;
use crate::tell::Severity;

/// One try at a place: some files, or some requests.
const TRY_WITHIN: Duration = Duration::from_secs(15);
/// One request of those.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// The places of a policy's status page, as ways that only the public's notes take.
pub(super) fn ways(policy: &Policy, pages: Option<&Arc<dyn Pages>>) -> Vec<Way> {
    let places = policy.status_page.iter().flat_map(|page| &page.publish);
    let way = |place: &PagePlace| Way {
        name: match place {
            PagePlace::Directory { path } => format!("status page in {path}"),
            PagePlace::S3 { bucket, .. } => format!("status page in s3://{bucket}"),
            PagePlace::Statuspage { page, .. } => format!("hosted status page {page}"),
        },
        carrier: Arc::new(Publisher {
            place: place.clone(),
            pages: pages.cloned(),
            writing: Arc::new(Semaphore::new(1)),
        }),
        from: Severity::Status,
        stands_in: false,
        keeps_alerts: false,
        takes_status: true,
        within: TRY_WITHIN,
    };
    places.map(way).collect()
}

#[derive(Debug)]
struct Publisher {
    place: PagePlace,
    pages: Option<Arc<dyn Pages>>,
    /// A directory that hangs keeps one thread, however often it is tried.
    writing: Arc<Semaphore>,
}

impl Publisher {
    /// Beside the rounds: a directory over a network may hang for as long as it likes.
    async fn write(&self, path: &str, page: &Page) -> Result<(), Untaken> {
        let untaken = |why: String| Untaken { why: format!("{path}: {why}"), again: true };
        let Ok(alone) = Arc::clone(&self.writing).try_acquire_owned() else {
            return Err(untaken("what was written before has not come to its end".to_owned()));
        };
        let (folder, page) = (PathBuf::from(path), page.clone());
        let written = beside(move || {
            let written = write(&folder, &page);
            drop(alone);
            written
        });
        written.await.map_err(|error| untaken(error.to_string()))
    }
}

#[async_trait]
impl Carrier for Publisher {
    async fn carry(&self, bundle: &Bundle) -> Result<(), Untaken> {
        let Some(page) = &bundle.page else {
            return Err(Untaken::for_good("there is no page to publish".to_owned()));
        };
        match &self.place {
            PagePlace::Directory { path } => self.write(path, page).await,
            PagePlace::S3 { bucket, aws_region, prefix } => {
                let Some(pages) = &self.pages else {
                    return Err(Untaken::for_good("this build cannot reach S3".to_owned()));
                };
                for file in files(page) {
                    let key = format!("{prefix}{}", file.name);
                    let body = file.body.into();
                    let put = pages.publish(aws_region, bucket, &key, file.content_type, body);
                    let put = put.await;
                    put.map_err(|failure| Untaken::by(&failure))?;
                }
                Ok(())
            }
            PagePlace::Statuspage { url, page: id, key, components } => {
                let hosted = Hosted { url: format!("{url}/pages/{id}"), key };
                hosted.publish(page, components).await
            }
        }
    }
}

/// Each file is replaced in one step.
pub fn write(folder: &Path, page: &Page) -> std::io::Result<()> {
    files(page).iter().try_for_each(|file| replace(&folder.join(file.name), file.body.as_bytes()))
}

/// A page at Statuspage (Statuspage API, "Incidents" and "Components").
struct Hosted<'a> {
    url: String,
    key: &'a Secret,
}

impl Hosted<'_> {
    /// Brings the hosted page to where ours is, whatever was done there before: what is there is read first,
    /// and incidents are known by the id that we gave them.
    async fn publish(
        &self,
        page: &Page,
        components: &BTreeMap<String, String>,
    ) -> Result<(), Untaken> {
        let open = self.ask(Method::GET, "/incidents/unresolved", None).await?;
        let Some(open) = open.as_array() else { return Err(Untaken::strange()) };
        // A component that is not there keeps no incident from being told, and none the next. What went wrong
        // first is told in the end.
        let mut all = Ok(());
        for incident in &page.incidents {
            let ours =
                |one: &&Value| one["metadata"]["leeward"]["incident"] == incident.id.as_str();
            let brought = self.bring(page, incident, open.iter().find(ours)).await;
            all = all.and(brought);
        }
        for part in &page.components {
            let (Some(id), Some(status)) = (components.get(&part.id), status(part.state, page))
            else {
                continue;
            };
            let body = json!({ "component": { "status": status } });
            let path = format!("/components/{id}");
            all = all.and(self.ask(Method::PATCH, &path, Some(&body)).await.map(drop));
        }
        all
    }

    async fn bring(
        &self,
        page: &Page,
        incident: &Incident,
        there: Option<&Value>,
    ) -> Result<(), Untaken> {
        let Some(last) = incident.updates.last() else { return Ok(()) };
        let phase = match (incident.until, last.phase) {
            (Some(_), _) => "resolved",
            (None, Phase::Investigating) => "investigating",
            (None, Phase::Identified) => "identified",
            // It is resolved when it is over.
            (None, Phase::Monitoring | Phase::Resolved) => "monitoring",
        };
        let Some(there) = there else {
            if incident.until.is_some() {
                return Ok(());
            }
            let body = json!({ "incident": {
                "name": page.names_of(incident),
                "status": phase,
                "body": last.text,
                "metadata": { "leeward": { "incident": incident.id } },
            }});
            return self.ask(Method::POST, "/incidents", Some(&body)).await.map(drop);
        };
        if there["status"] == phase && there["incident_updates"][0]["body"] == last.text.as_str() {
            return Ok(());
        }
        let id = there["id"].as_str().ok_or_else(Untaken::strange)?;
        let body = json!({ "incident": { "status": phase, "body": last.text } });
        self.ask(Method::PATCH, &format!("/incidents/{id}"), Some(&body)).await.map(drop)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Untaken> {
        let key = format!("OAuth {}", read(self.key)?);
        let (url, kind) = (format!("{}{path}", self.url), "application/json");
        let body = body.map(ToString::to_string).unwrap_or_default();
        let answer = exchange(method, &url, kind, Some(&key), body, REQUEST_WITHIN).await?;
        serde_json::from_slice(&answer).map_err(|_| Untaken::strange())
    }
}

/// Statuspage has no word for what is not known. While an incident waits for its words nothing is green; otherwise
/// (after a start, or without instruments) what stands there stays.
fn status(light: Light, page: &Page) -> Option<&'static str> {
    match light {
        Light::Operational => Some("operational"),
        Light::Unknown => page.unworded.then_some("degraded_performance"),
        Light::Degraded => Some("degraded_performance"),
        Light::PartialOutage => Some("partial_outage"),
        Light::MajorOutage => Some("major_outage"),
    }
}
