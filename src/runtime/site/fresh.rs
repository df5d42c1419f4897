//! Keeps the copy of a last resort fresh, as often as the policy says, while all is well.
//!
//! In an outage the pages are broken or those of the copy itself: nothing is copied then, and a crawl during
//! which one began is thrown away.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::shelf::{Bucket, Folder, Shelf, Smaller, current, keep};
use super::{Address, Bounds, Wanted, Words, read_friendly, take};
use crate::domain::Timestamp;
use crate::health::Reading;
use crate::memory::Copied;
use crate::policy::{Policy, Site, SitePlace};
use crate::ports::Pages;
use crate::report::view::View;
use crate::runtime::board::Board;
use crate::runtime::reports::Report;

/// How often it is looked whether a copy is due and all is well.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// A failure is told when so many crawls in a row have failed: a deploy may be in the way of one.
const FAILURES_TOLD: u32 = 3;
/// Between two tries after a failure; longer once it was told.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
const AGAIN_LATER: Duration = Duration::from_secs(900);

/// What the task needs.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) policy: Arc<Policy>,
    pub(crate) board: Arc<Board>,
    pub(crate) pages: Option<Arc<dyn Pages>>,
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Keeper {
    /// Runs until `stop`. Returns at once if there is no copy to keep.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Some(site) = self.policy.site.clone() else { return };
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_fresh(&site) => {}
        }
    }

    async fn keep_fresh(&self, site: &Site) {
        let mut due = self.first_due(site).await;
        let mut failures: u32 = 0;
        loop {
            sleep(LOOK_EVERY).await;
            if self.board.now() < due || !self.all_is_well() {
                continue;
            }
            let (now, copied) = (self.board.now(), self.renew(site).await);
            let Some(copied) = copied else { continue };
            due = if copied.failure.is_none() {
                failures = 0;
                now.plus(site.every)
            } else {
                failures = failures.saturating_add(1);
                now.plus(if failures < FAILURES_TOLD { AGAIN_AFTER } else { AGAIN_LATER })
            };
            if copied.failure.is_none() || failures == FAILURES_TOLD {
                // Should nobody take it now, the next copy says it again.
                let _ = self.reports.try_send(Report::Copied(copied));
            }
        }
    }

    /// A restart makes no new copy before the old one is old.
    async fn first_due(&self, site: &Site) -> Timestamp {
        let now = self.board.now();
        let Ok(place) = self.shelf(site) else { return now };
        match current(&*place).await {
            Ok(Some(manifest)) => manifest.taken_at.plus(site.every).min(now.plus(site.every)),
            Ok(None) | Err(_) => now,
        }
    }

    /// One try. `None` if the world turned ill while it was made.
    async fn renew(&self, site: &Site) -> Option<Copied> {
        let service = &self.policy.service;
        match self.copy(site).await {
            Ok(Some((pages, octets))) => {
                info!(%service, pages, octets, "A new copy for the last resort.");
                let kept_from = Some(self.board.now());
                Some(Copied { failure: None, kept_from, pages, octets })
            }
            Ok(None) => None,
            Err(why) => {
                warn!(%service, why, "No new copy for the last resort; the one before stays.");
                let before = match self.shelf(site) {
                    Ok(place) => current(&*place).await.ok().flatten(),
                    Err(_) => None,
                };
                Some(Copied {
                    failure: Some(why),
                    kept_from: before.as_ref().map(|manifest| manifest.taken_at),
                    pages: before.as_ref().map_or(0, |manifest| manifest.pages),
                    octets: before.as_ref().map_or(0, |manifest| manifest.octets),
                })
            }
        }
    }

    async fn copy(&self, site: &Site) -> Result<Option<(usize, usize)>, String> {
        let place = self.shelf(site)?;
        let copy =
            take(&wanted(site)?, self.board.now()).await.map_err(|error| error.to_string())?;
        if !self.all_is_well() {
            return Ok(None);
        }
        keep(&*place, &copy, Smaller::Refused).await.map_err(|error| error.to_string())?;
        Ok(Some((copy.manifest.pages, copy.manifest.octets)))
    }

    fn shelf(&self, site: &Site) -> Result<Box<dyn Shelf>, String> {
        match &site.to {
            SitePlace::Directory { path } => Ok(Box::new(Folder::new(Path::new(path)))),
            SitePlace::S3 { bucket, aws_region, prefix } => {
                let pages = self.pages.clone().ok_or("this build cannot reach S3")?;
                let (aws_region, bucket) = (aws_region.clone(), bucket.clone());
                Ok(Box::new(Bucket { pages, aws_region, bucket, prefix: prefix.clone() }))
            }
        }
    }

    fn all_is_well(&self) -> bool {
        let state = self.board.state();
        state.services.get(&self.policy.service).is_some_and(|view| is_calm(&self.policy, view))
    }
}

/// Every region that carries the service is proved well, and no visitor is sent to the copy.
fn is_calm(policy: &Policy, view: &View) -> bool {
    let Some(decision) = &view.decision else { return false };
    let well = policy.serving().filter(|(_, region)| region.weight.0 > 0).all(|(name, _)| {
        decision.regions.get(name).is_some_and(|verdict| verdict.reading == Reading::Good)
    });
    // Without records to read nothing tells the split, and an incident is open while a switch is turned.
    let at_home = match &decision.split {
        Some(split) => policy.last_resort().is_none_or(|resort| split.weight(resort).0 == 0),
        None => policy.weights_lever().is_none(),
    };
    well && at_home && !decision.incident && decision.wanted.is_none()
}

fn wanted(site: &Site) -> Result<Wanted, String> {
    let address = |text: &String| {
        Address::parse(text).ok_or_else(|| format!("`{text}` is not an address of a page"))
    };
    let words = Words::default();
    Ok(Wanted {
        pages: site.pages.iter().map(address).collect::<Result<_, _>>()?,
        assets_from: site
            .assets_from
            .iter()
            .map(|text| address(text).map(|address| address.origin))
            .collect::<Result<_, _>>()?,
        bounds: Bounds {
            depth: site.depth,
            pages_max: usize::try_from(site.pages_max).unwrap_or(usize::MAX),
            octets_max: usize::try_from(site.mib_max).unwrap_or(1).saturating_mul(1024 * 1024),
            ..Bounds::default()
        },
        friendly: match &site.friendly {
            Some(path) => Some(read_friendly(Path::new(path))?),
            None => None,
        },
        retry_after: site.retry_after,
        words: Words {
            notice: site.notice.clone().unwrap_or(words.notice),
            form: site.form_notice.clone().unwrap_or(words.form),
        },
    })
}

#[cfg(test)]
mod tests;
