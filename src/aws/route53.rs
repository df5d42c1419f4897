//! The port [`Weights`] over Route 53.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_route53::Client;
use aws_sdk_route53::operation::list_resource_record_sets::ListResourceRecordSetsOutput;
use aws_sdk_route53::types::RrType;

use super::body::Body;
use super::fail::failed;
use super::unknown::unknown_elements;
use super::{Base, Call, Service, convert};
use crate::domain::{RecordName, ZoneId};
use crate::plan::{Batch, RecordSet};
use crate::ports::{CallFailed, ChangeId, ChangeStatus, Weights};

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] = &[
    "route53:ChangeResourceRecordSets",
    "route53:GetChange",
    "route53:GetHostedZone",
    "route53:ListResourceRecordSets",
];

/// Record sets per page: the most that Route 53 gives.
const PAGE_SETS: i32 = 300;

/// 120,000 record sets. A zone has 10,000 by default; the largest that AWS talks about are ten times
/// that. A listing that is longer is taken for one that does not end.
const PAGES_MAX: usize = 400;

#[derive(Debug)]
pub(super) struct Route53 {
    /// Time-outs and attempts differ by kind of call; connections and credentials are shared.
    list: Client,
    status: Client,
    change: Client,
}

impl Route53 {
    pub(super) fn new(base: &Base) -> Self {
        let client = |call| {
            let region = &base.settings.control_region;
            let config = configured!(aws_sdk_route53, base, Service::Route53, region, call);
            Client::from_conf(config.build())
        };
        Self {
            list: client(Call::List),
            status: client(Call::Status),
            change: client(Call::Change),
        }
    }

    /// A page, and what the SDK does not know about each of its sets.
    async fn page(
        &self,
        zone: &ZoneId,
        start: Option<&Start>,
    ) -> Result<(ListResourceRecordSetsOutput, Vec<Vec<String>>), CallFailed> {
        let body = Body::default();
        let page = self
            .list
            .list_resource_record_sets()
            .hosted_zone_id(zone.as_str())
            .set_start_record_name(start.map(|start| start.name.clone()))
            .set_start_record_type(start.and_then(|start| start.kind.clone()))
            .set_start_record_identifier(start.and_then(|start| start.identifier.clone()))
            .max_items(PAGE_SETS)
            .customize()
            .interceptor(body.clone())
            .send()
            .await
            .map_err(|error| failed(&error))?;
        let unknown = unknown_elements(&String::from_utf8_lossy(&body.take()));
        if unknown.len() == page.resource_record_sets().len() {
            Ok((page, unknown))
        } else {
            Err(CallFailed::Unknown {
                why: format!("the listing of zone {zone} is not in the form we know"),
            })
        }
    }
}

/// Where a page begins. The generated client has no paginator for this listing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Start {
    name: String,
    kind: Option<RrType>,
    identifier: Option<String>,
}

#[async_trait]
impl Weights for Route53 {
    async fn read(
        &self,
        zone: &ZoneId,
        name: Option<&RecordName>,
    ) -> Result<Vec<RecordSet>, CallFailed> {
        let mut start =
            name.map(|name| Start { name: name.as_str().to_owned(), kind: None, identifier: None });
        let mut listing = Listing::default();
        for _ in 0..PAGES_MAX {
            let (page, unknown) = self.page(zone, start.as_ref()).await?;
            for (listed, unknown) in page.resource_record_sets().iter().zip(unknown) {
                let mut set = convert::record_set(zone, listed).map_err(|malformed| {
                    CallFailed::Unknown { why: format!("zone {zone} cannot be read: {malformed}") }
                })?;
                set.foreign.extend(unknown);
                if name.is_some_and(|name| &set.name != name) {
                    // Names are listed in order, so ours is over, or there is none.
                    return Ok(listing.sets);
                }
                listing.add(set);
            }
            let Some(next) = next_start(zone, &page)? else { return Ok(listing.sets) };
            if start.as_ref() == Some(&next) {
                return Err(CallFailed::Unknown {
                    why: format!("the listing of zone {zone} does not get past {}", next.name),
                });
            }
            start = Some(next);
        }
        Err(CallFailed::Unknown {
            why: format!("the listing of zone {zone} has more than {PAGES_MAX} pages"),
        })
    }

    async fn change(&self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        let changed = self
            .change
            .change_resource_record_sets()
            .hosted_zone_id(batch.zone.as_str())
            .change_batch(convert::change_batch(batch)?)
            .send()
            .await
            .map_err(|error| failed(&error))?;
        match changed.change_info().map(|info| bare_change_id(info.id())) {
            Some(id) if !id.is_empty() => Ok(ChangeId(id.to_owned())),
            _ => Err(CallFailed::Unknown { why: "accepted without a change id".to_owned() }),
        }
    }

    async fn status(&self, change: &ChangeId) -> Result<ChangeStatus, CallFailed> {
        let found = self
            .status
            .get_change()
            .id(bare_change_id(&change.0))
            .send()
            .await
            .map_err(|error| failed(&error))?;
        found.change_info().map(|info| convert::change_status(info.status())).ok_or_else(|| {
            CallFailed::Unknown { why: format!("no status in the answer about {}", change.0) }
        })
    }

    async fn name_servers(&self, zone: &ZoneId) -> Result<Vec<String>, CallFailed> {
        let found = self
            .list
            .get_hosted_zone()
            .id(zone.as_str())
            .send()
            .await
            .map_err(|error| failed(&error))?;
        // A private zone has no delegation set, hence nobody who could be asked from here.
        Ok(found
            .delegation_set()
            .map(|set| set.name_servers().iter().map(|server| bare_host(server)).collect())
            .unwrap_or_default())
    }
}

/// Record sets in the order of the listing, each once.
///
/// A server that forgets where inside a weighted set a page ended begins the next one with that set
/// again. What is read twice counts once, as it was read last.
#[derive(Debug, Default)]
struct Listing {
    sets: Vec<RecordSet>,
    places: BTreeMap<(RecordName, String, Option<String>), usize>,
}

impl Listing {
    fn add(&mut self, set: RecordSet) {
        let key = (set.name.clone(), set.kind.clone(), set.set_identifier.clone());
        match self.places.get(&key).and_then(|place| self.sets.get_mut(*place)) {
            Some(known) => *known = set,
            None => {
                self.places.insert(key, self.sets.len());
                self.sets.push(set);
            }
        }
    }
}

fn next_start(
    zone: &ZoneId,
    page: &ListResourceRecordSetsOutput,
) -> Result<Option<Start>, CallFailed> {
    if !page.is_truncated() {
        return Ok(None);
    }
    let name = page.next_record_name().ok_or_else(|| CallFailed::Unknown {
        why: format!("the listing of zone {zone} breaks off without saying where to go on"),
    })?;
    Ok(Some(Start {
        name: name.to_owned(),
        kind: page.next_record_type().cloned(),
        identifier: page.next_record_identifier().map(str::to_owned),
    }))
}

/// Both spellings occur in answers: `/change/C0123` and `C0123`.
fn bare_change_id(id: &str) -> &str {
    id.strip_prefix("/change/").unwrap_or(id)
}

fn bare_host(server: &str) -> String {
    server.trim_end_matches('.').to_ascii_lowercase()
}
