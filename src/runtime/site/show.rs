//! Serves a copy from a directory: its pages as they are, and for everything else the friendly page with the
//! status 503 and the time after which to come back (RFC 9110, section 15.6.4).
//!
//! The copy is kept in memory: a whole site's visitors come at once. A new one is taken over within seconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::address::Address;
use super::shelf::{Folder, NotKept, Shelf as _, current};
use super::{FRIENDLY, Manifest};
use crate::runtime::serve::{Bounds, serve_router};

/// How often it is looked whether there is a newer copy.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const FILE_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// The last resort gets all visitors of a site at once: many places, and nobody keeps his after the answer.
const EVERYBODY: Bounds = Bounds { connections: 4096, each: 4096, keep_alive: false };

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
pub enum NothingToShow {
    #[error("`{0}` holds no copy of a site")]
    Empty(String),
    #[error(transparent)]
    Unreadable(#[from] NotKept),
    #[error("{0}")]
    Incomplete(String),
}

/// A copy that is served.
#[derive(Debug)]
pub struct Show {
    folder: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    looked_at: Instant,
    copy: Arc<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    manifest: Manifest,
    /// Content type and octets, by name.
    files: BTreeMap<String, (String, Bytes)>,
}

impl Show {
    /// Reads the whole copy.
    pub async fn open(folder: &Path) -> Result<Self, NothingToShow> {
        let copy = Arc::new(load(folder).await?);
        let seen = Mutex::new(Seen { looked_at: Instant::now(), copy });
        Ok(Self { folder: folder.to_owned(), seen })
    }

    /// Answers on `listener` until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let router = Router::new().fallback(answer).with_state(Arc::new(self));
        serve_router(listener, router, stop, EVERYBODY).await;
    }

    async fn newest(&self) -> Arc<Loaded> {
        let seen = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.looked_at.elapsed() < LOOK_EVERY {
                return Arc::clone(&seen.copy);
            }
            // One request looks; the others go on with what there is.
            seen.looked_at = Instant::now();
            Arc::clone(&seen.copy)
        };
        let newest = match current(&Folder::new(&self.folder)).await {
            Ok(Some(manifest)) if manifest == seen.manifest => return seen,
            Ok(_) => load(&self.folder).await,
            Err(error) => Err(error.into()),
        };
        match newest {
            Ok(newest) => {
                let newest = Arc::new(newest);
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.copy = Arc::clone(&newest);
                newest
            }
            Err(error) => {
                warn!(%error, "The new copy cannot be read, the older one stays.");
                seen
            }
        }
    }

    /// What a visitor gets.
    pub async fn respond(&self, method: &Method, uri: &Uri) -> Response {
        let copy = self.newest().await;
        let reads = method == Method::GET || method == Method::HEAD;
        let Some(found) = copy.find(uri.path()).filter(|_| reads) else { return copy.friendly() };
        match found {
            Found::File(name) if copy.is_friendly(name) => copy.friendly(),
            Found::File(name) => copy.file(name),
            Found::Folder => {
                // Links in a page of a folder count from the folder.
                let to = match uri.query() {
                    Some(query) => format!("{}/?{query}", uri.path()),
                    None => format!("{}/", uri.path()),
                };
                (StatusCode::FOUND, [(header::LOCATION, to), fresh()]).into_response()
            }
        }
    }
}

fn fresh() -> (HeaderName, String) {
    (header::CACHE_CONTROL, "no-store".to_owned())
}

enum Found<'a> {
    File(&'a str),
    /// It lies in the folder of this name.
    Folder,
}

impl Loaded {
    fn find(&self, path: &str) -> Option<Found<'_>> {
        let known = |name: &str| self.files.get_key_value(name).map(|(name, _)| name.as_str());
        if let Some(name) = known(path.trim_start_matches('/')) {
            return Some(Found::File(name));
        }
        // As pages are named; a query makes no other page of it, because it may only say where somebody
        // came from.
        let name = known(&Address::parse(&format!("http://copy{path}"))?.page_name())?;
        let in_folder = name.ends_with("/index.html") && !path.ends_with('/');
        // `//other.example/` would lead there.
        let plain = !path.starts_with("//");
        match (in_folder, plain) {
            (true, true) => Some(Found::Folder),
            (true, false) => None,
            (false, _) => Some(Found::File(name)),
        }
    }

    fn is_friendly(&self, name: &str) -> bool {
        let body = |name: &str| self.files.get(name).map(|(_, body)| body);
        name == FRIENDLY || body(name) == body(FRIENDLY)
    }

    fn file(&self, name: &str) -> Response {
        let Some((kind, body)) = self.files.get(name) else { return self.friendly() };
        // Parts have names of their own for each content; pages must be gone when the site is back.
        let cached =
            if name.starts_with("_leeward/files/") { "public, max-age=3600" } else { "no-store" };
        let headers = [
            (header::CONTENT_TYPE, kind.clone()),
            (header::CACHE_CONTROL, cached.to_owned()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        ];
        (StatusCode::OK, headers, body.clone()).into_response()
    }

    fn friendly(&self) -> Response {
        let body = self.files.get(FRIENDLY).map(|(_, body)| body.clone()).unwrap_or_default();
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            fresh(),
            (header::RETRY_AFTER, self.manifest.retry_after_seconds.to_string()),
        ];
        (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
    }
}

async fn load(folder: &Path) -> Result<Loaded, NothingToShow> {
    let shelf = Folder::new(folder);
    let empty = || NothingToShow::Empty(folder.display().to_string());
    let manifest = current(&shelf).await?.ok_or_else(empty)?;
    let mut files = BTreeMap::new();
    for (name, part) in &manifest.files {
        let body = shelf.read(name, FILE_OCTETS_MAX).await.map_err(NothingToShow::Incomplete)?;
        let gone = || NothingToShow::Incomplete(format!("`{name}` is missing"));
        files.insert(name.clone(), (part.content_type.clone(), body.ok_or_else(gone)?));
    }
    Ok(Loaded { manifest, files })
}

async fn answer(State(show): State<Arc<Show>>, method: Method, uri: Uri) -> Response {
    show.respond(&method, &uri).await
}
