//! Copies of a small site over real sockets, with all that can go wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::Method;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::crawl::{NoCopy, take};
use super::shelf::{Folder, NotKept, Shelf, Smaller, current, keep};
use super::show::Show;
use super::*;
use crate::runtime::http::{Ask, fetch};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
    location: Option<String>,
}

pub(super) fn html(body: &str) -> Answer {
    Answer { status: 200, kind: "text/html; charset=utf-8", body: body.to_owned(), location: None }
}

fn file(kind: &'static str, body: &str) -> Answer {
    Answer { kind, ..html(body) }
}

pub(super) fn status(status: u16) -> Answer {
    Answer { status, ..html("<p>sorry") }
}

fn moved(to: &str) -> Answer {
    Answer { status: 302, location: Some(to.to_owned()), ..html("") }
}

/// A site on loopback.
pub(super) struct Site {
    pub(super) at: String,
    pages: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<AtomicUsize>,
    _stop: tokio_util::sync::DropGuard,
}

type Shared = (Arc<Mutex<BTreeMap<String, Answer>>>, Arc<AtomicUsize>);

async fn answer(State((pages, asked)): State<Shared>, uri: Uri) -> Response {
    asked.fetch_add(1, Ordering::Relaxed);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if uri.path() == "/slow" {
        std::future::pending::<()>().await;
    }
    if uri.path() == "/maze" {
        // Each page leads to a new one, for ever.
        let link = format!("<a href='/maze?{}x'>on</a>", uri.query().unwrap_or_default());
        return ([(header::CONTENT_TYPE, "text/html")], link).into_response();
    }
    let found = pages.lock().unwrap().get(path).cloned().unwrap_or(status(404));
    let mut response = (StatusCode::from_u16(found.status).unwrap(), found.body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, found.kind.parse().unwrap());
    if let Some(to) = found.location {
        response.headers_mut().insert(header::LOCATION, to.parse().unwrap());
    }
    response
}

impl Site {
    pub(super) async fn start(pages: &[(&str, Answer)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let pages = pages.iter().map(|(path, answer)| ((*path).to_owned(), answer.clone()));
        let pages = Arc::new(Mutex::new(pages.collect()));
        let asked = Arc::new(AtomicUsize::new(0));
        let router = Router::new().fallback(answer).with_state((Arc::clone(&pages), asked.clone()));
        let stop = CancellationToken::new();
        tokio::spawn(crate::runtime::serve::serve_router(
            listener,
            router,
            stop.clone(),
            crate::runtime::serve::Bounds::FEW,
        ));
        Self { at, pages, asked, _stop: stop.drop_guard() }
    }

    pub(super) fn set(&self, path: &str, answer: Answer) {
        self.pages.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn wanted(&self, pages: &[&str]) -> Wanted {
        let address = |path: &&str| Address::parse(&format!("{}{path}", self.at)).unwrap();
        Wanted {
            pages: pages.iter().map(address).collect(),
            assets_from: BTreeSet::new(),
            bounds: Bounds::default(),
            friendly: None,
            retry_after: Duration::from_secs(120),
            words: Words::default(),
        }
    }
}

async fn shop() -> Site {
    Site::start(&[
        (
            "/",
            html(
                "<!doctype html><html><head><link rel=stylesheet href=/css/shop.css></head><body>\
                 <h1>Shop</h1><img src='/logo.png'><a href='/help'>Help</a> <a href='/cart'>Cart</a>\
                 </body></html>",
            ),
        ),
        ("/help", html("<body><h1>Help</h1><a href='/'>Home</a></body>")),
        ("/css/shop.css", file("text/css", "@import 'fonts.css'; body { background: url(bg.png) }")),
        ("/css/fonts.css", file("text/css", "@font-face { src: url(/f.woff2) }")),
        ("/css/bg.png", file("image/png", "background")),
        ("/f.woff2", file("font/woff2", "font")),
        ("/logo.png", file("image/png", "logo")),
    ])
    .await
}

fn page<'a>(copy: &'a Copy, name: &str) -> &'a str {
    let body = copy.files.get(name).unwrap_or_else(|| panic!("{name} of {:?}", copy.files.keys()));
    std::str::from_utf8(body).unwrap()
}

/// Every link of ours within the copy leads to a file of it.
fn assert_whole(copy: &Copy) {
    for (name, body) in &copy.files {
        let shows = [".html", ".css"].iter().any(|end| name.ends_with(end));
        let Ok(text) = std::str::from_utf8(body) else { continue };
        if !shows {
            continue;
        }
        for at in text.match_indices("_leeward/files/").map(|(at, _)| at) {
            let link: String =
                text[at..].chars().take_while(|c| !matches!(c, '"' | ')' | ' ' | '\'')).collect();
            assert!(copy.files.contains_key(&link), "{name} leads to {link}");
        }
    }
}

#[tokio::test]
async fn pages_come_with_their_parts_and_lead_to_each_other() {
    let site = shop().await;
    let copy = take(&site.wanted(&["/"]), NOW).await.unwrap();
    assert_whole(&copy);
    let home = page(&copy, "index.html");
    assert!(home.contains("<a href=\"help/index.html\">"), "{home}");
    assert!(page(&copy, "help/index.html").contains("<a href=\"../index.html\">"));
    let sheet = home.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let fonts = page(&copy, sheet).split("@import url(").nth(1).unwrap().split(')').next().unwrap();
    assert!(page(&copy, &format!("_leeward/files/{fonts}")).contains(".woff2)"), "{fonts}");
    let parts = copy.files.keys().filter(|name| name.starts_with("_leeward/files/")).count();
    assert_eq!((copy.manifest.pages, parts), (2, 5), "{:?}", copy.files.keys());
    // What is linked and not there is said, and its link leads to the friendly page.
    assert_eq!(copy.left_out.len(), 1, "{:?}", copy.left_out);
    assert!(copy.left_out[0].to_string().ends_with("/cart: answers 404 Not Found"));
    assert!(home.contains("<a href=\"/cart\">"), "{home}");
}

#[tokio::test]
async fn a_listed_page_that_is_broken_leaves_no_copy() {
    let site = shop().await;
    for (path, broken, why) in [
        ("/a", status(500), "answers 500"),
        ("/b", status(404), "answers 404"),
        ("/c", file("application/json", "{}"), "is no HTML"),
        ("/d", html("  "), "is empty"),
        ("/e", moved("http://other.example/"), "leads away to `http://other.example`"),
        ("/f", moved("/f"), "redirects more than 5 times"),
        ("/g", html("<p>a copy<!-- leeward-copy -->"), "is a copy made by Leeward"),
        ("/h", status(304), "leads nowhere"),
        ("/i", moved("/help"), "/help`: list that address if it is the page"),
        ("/j", moved("/maze?x"), "/maze?x`: list that address if it is the page"),
    ] {
        site.set(path, broken);
        let error = take(&site.wanted(&["/", path]), NOW).await.unwrap_err();
        let NoCopy::Pages { failed, listed: 2 } = &error else { panic!("{error}") };
        assert!(failed.len() == 1 && failed[0].why.contains(why), "{path}: {error}");
    }
    let mut strange = site.wanted(&["/"]);
    strange.pages.push(Address::parse("http://other.example/").unwrap());
    assert!(matches!(take(&strange, NOW).await, Err(NoCopy::Strange(_))));
}

#[tokio::test]
async fn loops_and_mazes_come_to_an_end() {
    let site = shop().await;
    site.set("/help", html("<a href='/'>x</a><a href='/help'>y</a><a href='/maze'>z</a>"));
    let mut wanted = site.wanted(&["/", "/help"]);
    (wanted.bounds.depth, wanted.bounds.pages_max) = (50, 12);
    let copy = take(&wanted, NOW).await.unwrap();
    assert_eq!(copy.manifest.pages, 12);
    assert!(copy.left_out.iter().any(|one| one.why.contains("more pages are linked")));
    assert!(site.asked.load(Ordering::Relaxed) < 30, "each address is asked once");
}

#[tokio::test]
async fn what_is_too_big_is_left_out_and_said() {
    let site = shop().await;
    site.set("/logo.png", file("image/png", &"x".repeat(10_000)));
    let mut wanted = site.wanted(&["/"]);
    wanted.bounds.file_octets_max = 5000;
    let copy = take(&wanted, NOW).await.unwrap();
    assert!(
        copy.left_out.iter().any(|one| one.address.ends_with("/logo.png")),
        "{:?}",
        copy.left_out
    );
    assert!(page(&copy, "index.html").contains("src=\"/logo.png\""));
    // All together: small files that fit come, and never more than the bound.
    wanted.bounds = Bounds { octets_max: 500, ..Bounds::default() };
    let copy = take(&wanted, NOW).await.unwrap();
    assert!(copy.left_out.iter().any(|one| one.address.ends_with("/logo.png")));
    wanted.bounds = Bounds { octets_max: 50, ..Bounds::default() };
    assert!(matches!(take(&wanted, NOW).await, Err(NoCopy::Pages { .. })));
    wanted.bounds = Bounds { assets_max: 2, ..Bounds::default() };
    let copy = take(&wanted, NOW).await.unwrap();
    assert!(copy.left_out.iter().any(|one| one.why.contains("more parts are needed")));
}

#[tokio::test]
async fn a_page_that_hangs_ends_with_its_time() {
    let site = shop().await;
    let mut wanted = site.wanted(&["/", "/slow"]);
    wanted.bounds.request_within = Duration::from_millis(300);
    let error = take(&wanted, NOW).await.unwrap_err();
    assert!(error.to_string().contains("/slow: "), "{error}");
    wanted.bounds = Bounds { within: Duration::from_millis(300), ..Bounds::default() };
    let error = take(&wanted, NOW).await.unwrap_err();
    assert!(error.to_string().contains("the whole copy"), "{error}");
}

#[tokio::test]
async fn a_listed_page_may_lead_to_its_own_folder() {
    let site = shop().await;
    site.set("/about", moved("/about/"));
    site.set("/about/", moved("/about/index.html"));
    site.set("/about/index.html", html("<h1>About"));
    let copy = take(&site.wanted(&["/", "/about"]), NOW).await.unwrap();
    assert!(copy.files.contains_key("about/index.html"), "{:?}", copy.files.keys());
}

#[tokio::test]
async fn hostile_paths_stay_in_the_directory() {
    let site = shop().await;
    let paths =
        ["/..%2f..%2fetc%2fpasswd", "/.ssh/keys", "/_leeward/copy.json", "/a/%2e%2e%5c", "/x%00y"];
    let links = paths.map(|path| format!("<a href='{path}'>x</a>")).concat();
    site.set("/", html(&links));
    for path in paths {
        site.set(path, html("<p>evil"));
    }
    let copy = take(&site.wanted(&["/"]), NOW).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("a").join("b");
    keep(&Folder::new(&folder), &copy, Smaller::Refused).await.unwrap();
    let outside: Vec<_> = std::fs::read_dir(home.path()).unwrap().collect();
    assert_eq!(outside.len(), 1);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["_leeward", "index.html", "unavailable.html"]);
}

#[tokio::test]
async fn nothing_is_written_through_a_link() {
    let site = shop().await;
    let copy = take(&site.wanted(&["/"]), NOW).await.unwrap();
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shelf = Folder::new(home.path());
    keep(&shelf, &copy, Smaller::Refused).await.unwrap();
    std::fs::remove_dir_all(home.path().join("help")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), home.path().join("help")).unwrap();
    let error = keep(&shelf, &copy, Smaller::Refused).await.unwrap_err();
    assert!(error.to_string().contains("is a symbolic link"), "{error}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_list_that_somebody_changed_removes_nothing_else() {
    let site = shop().await;
    let copy = take(&site.wanted(&["/"]), NOW).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("copy");
    let shelf = Folder::new(&folder);
    keep(&shelf, &copy, Smaller::Refused).await.unwrap();
    std::fs::write(home.path().join("precious"), "x").unwrap();
    let mut list = current(&shelf).await.unwrap().unwrap();
    let part = list.files["index.html"].clone();
    list.files.insert("../precious".to_owned(), part.clone());
    list.files.insert("old/index.html".to_owned(), part);
    std::fs::create_dir(folder.join("old")).unwrap();
    std::fs::write(folder.join("old/index.html"), "x").unwrap();
    std::fs::write(folder.join(MANIFEST), serde_json::to_vec(&list).unwrap()).unwrap();
    let kept = keep(&shelf, &copy, Smaller::Refused).await.unwrap();
    assert!(home.path().join("precious").exists());
    assert!(!folder.join("old").exists() && kept.removed == 1, "{kept:?}");
}

#[tokio::test]
async fn what_is_no_copy_is_not_written_over() {
    let site = shop().await;
    let copy = take(&site.wanted(&["/"]), NOW).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("index.html"), "the real site").unwrap();
    let kept = keep(&Folder::new(home.path()), &copy, Smaller::Accepted).await;
    assert_eq!(kept, Err(NotKept::Foreign));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_much_smaller_copy_leaves_the_one_before() {
    let site = shop().await;
    let (home, wanted) = (tempfile::tempdir().unwrap(), site.wanted(&["/"]));
    for number in 0..5 {
        site.set(&format!("/p{number}"), html("<p>page"));
    }
    let links = [0, 1, 2, 3, 4].map(|number| format!("<a href='/p{number}'>x</a>")).concat();
    site.set("/", html(&links));
    let shelf = Folder::new(home.path());
    let large = take(&wanted, NOW).await.unwrap();
    assert_eq!(large.manifest.pages, 6);
    keep(&shelf, &large, Smaller::Refused).await.unwrap();
    site.set("/", html("<p>We are upgrading"));
    let small = take(&wanted, NOW).await.unwrap();
    let refused = keep(&shelf, &small, Smaller::Refused).await.unwrap_err();
    assert!(matches!(refused, NotKept::Smaller { pages: 1, old_pages: 6, .. }), "{refused}");
    assert_eq!(current(&shelf).await.unwrap().unwrap().pages, 6);
    assert!(home.path().join("p4/index.html").exists());
    // Other pages were asked for: that is no accident.
    let other = take(&site.wanted(&["/", "/p1"]), NOW).await.unwrap();
    keep(&shelf, &other, Smaller::Refused).await.unwrap();
    assert!(!home.path().join("p4").exists(), "what is no longer in it is gone");
    keep(&shelf, &small, Smaller::Accepted).await.unwrap();
    assert_eq!(current(&shelf).await.unwrap().unwrap().pages, 1);
}

/// Breaks down at the given step, and says what it holds.
#[derive(Debug)]
struct Frail {
    files: Mutex<BTreeMap<String, Bytes>>,
    steps_left: AtomicUsize,
}

impl Frail {
    fn step(&self) -> Result<(), String> {
        let left = self.steps_left.load(Ordering::Relaxed);
        if left == 0 {
            return Err("power is gone".to_owned());
        }
        self.steps_left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Shelf for Frail {
    async fn read(&self, name: &str, _: usize) -> Result<Option<Bytes>, String> {
        Ok(self.files.lock().unwrap().get(name).cloned())
    }

    async fn write(&self, name: &str, _: &str, body: Bytes) -> Result<(), String> {
        self.step()?;
        self.files.lock().unwrap().insert(name.to_owned(), body);
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), String> {
        self.step()?;
        self.files.lock().unwrap().remove(name);
        Ok(())
    }

    async fn is_used(&self) -> Result<bool, String> {
        Ok(!self.files.lock().unwrap().is_empty())
    }
}

#[tokio::test]
async fn whenever_it_is_interrupted_every_page_is_whole() {
    let site = shop().await;
    let first = take(&site.wanted(&["/"]), NOW).await.unwrap();
    site.set("/logo.png", file("image/png", "another logo"));
    site.set("/css/shop.css", file("text/css", "body { background: url(bg.png); color: red }"));
    site.set("/help", html("<body><h1>New help</h1><img src=/logo.png></body>"));
    let second = take(&site.wanted(&["/"]), NOW).await.unwrap();
    let shelf = Frail { files: Mutex::default(), steps_left: AtomicUsize::new(usize::MAX) };
    keep(&shelf, &first, Smaller::Refused).await.unwrap();
    let before = shelf.files.lock().unwrap().clone();
    let mut interrupted = 0;
    for steps in 0..100 {
        *shelf.files.lock().unwrap() = before.clone();
        shelf.steps_left.store(steps, Ordering::Relaxed);
        let result = keep(&shelf, &second, Smaller::Refused).await;
        let now = Copy { files: shelf.files.lock().unwrap().clone(), ..second.clone() };
        assert_whole(&now);
        for name in ["index.html", "help/index.html", "unavailable.html", MANIFEST] {
            assert!(now.files.contains_key(name), "{name} after {steps} steps");
        }
        // Whoever comes next brings it to its end.
        shelf.steps_left.store(usize::MAX, Ordering::Relaxed);
        keep(&shelf, &second, Smaller::Refused).await.unwrap();
        let list = current(&shelf).await.unwrap().unwrap();
        let left: Vec<String> = shelf.files.lock().unwrap().keys().cloned().collect();
        let known = |name: &&String| {
            list.files.contains_key(*name) || list.before.contains(*name) || *name == MANIFEST
        };
        let strays: Vec<&String> = left.iter().filter(|name| !known(name)).collect();
        assert!(strays.is_empty(), "{strays:?} after {steps} steps");
        match result {
            Ok(kept) if kept.not_removed.is_empty() => break,
            Ok(_) | Err(_) => interrupted += 1,
        }
    }
    assert!(interrupted > 8, "{interrupted}");
}

async fn asked(at: &str, path: &str) -> (u16, hyper::HeaderMap, String) {
    let url = format!("{at}{path}");
    let answer = fetch(Ask {
        method: Method::GET,
        url: &url,
        headers: Vec::new(),
        body: Bytes::new(),
        answer_max: 1 << 20,
        within: Duration::from_secs(10),
    })
    .await
    .unwrap();
    let (head, body) = answer.into_parts();
    (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_copy_is_served_and_everything_else_is_friendly() {
    let site = shop().await;
    let home = tempfile::tempdir().unwrap();
    assert!(Show::open(home.path()).await.is_err(), "there is nothing");
    let copy = take(&site.wanted(&["/"]), NOW).await.unwrap();
    keep(&Folder::new(home.path()), &copy, Smaller::Refused).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let show = Show::open(home.path()).await.unwrap();
    let task = tokio::spawn(show.serve(listener, stop.clone()));
    let (status, head, body) = asked(&at, "/?utm_source=mail").await;
    assert_eq!((status, &head["cache-control"]), (200, &"no-store".parse().unwrap()));
    assert!(body.contains("<h1>Shop</h1>"), "{body}");
    let sheet = body.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let (status, head, _) = asked(&at, &format!("/{sheet}")).await;
    assert_eq!((status, &head["content-type"]), (200, &"text/css; charset=utf-8".parse().unwrap()));
    let (status, head, _) = asked(&at, "/help").await;
    assert_eq!((status, &head["location"]), (302, &"/help/".parse().unwrap()));
    assert!(asked(&at, "/help/").await.2.contains("<h1>Help</h1>"));
    for path in ["/cart", "/unavailable.html", "/../../etc/passwd", "//evil.example/help", "/%00"] {
        let (status, head, body) = asked(&at, path).await;
        assert_eq!((status, &head["retry-after"]), (503, &"120".parse().unwrap()), "{path}");
        assert!(body.contains("We will be right back"), "{path}: {body}");
    }
    stop.cancel();
    task.await.unwrap();
}
