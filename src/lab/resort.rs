//! The last resort of the laboratory: a real copy of its shop, taken while the shop is well.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::domain::Timestamp;
use crate::runtime::site::shelf::{Folder, Smaller, keep};
use crate::runtime::site::show::Show;
use crate::runtime::site::{Address, Bounds, Wanted, Words, take};

/// When visitors of the friendly page are asked to come back.
pub const RETRY_AFTER: Duration = Duration::from_secs(30);
/// All of it is on loopback.
const WITHIN: Duration = Duration::from_secs(30);

/// Copies the shop at `home`, as `leeward snapshot-site` does. The error is for people.
pub async fn copy(home: SocketAddr, folder: &Path, now: Timestamp) -> Result<Show, String> {
    let start = format!("http://{home}/");
    let page = Address::parse(&start).ok_or_else(|| format!("`{start}` is no address"))?;
    let wanted = Wanted {
        pages: vec![page],
        assets_from: BTreeSet::new(),
        bounds: Bounds { within: WITHIN, ..Bounds::default() },
        friendly: None,
        retry_after: RETRY_AFTER,
        words: Words::default(),
    };
    let copy = take(&wanted, now).await.map_err(|error| error.to_string())?;
    let kept = keep(&Folder::new(folder), &copy, Smaller::Refused).await;
    kept.map_err(|error| error.to_string())?;
    Show::open(folder).await.map_err(|error| error.to_string())
}
