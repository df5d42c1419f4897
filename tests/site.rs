//! `leeward snapshot-site` and `leeward serve-site` as scripts and people meet them: the real binary against
//! a small site on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers every request with what is set now, until the test ends.
struct Web {
    address: SocketAddr,
    says: Arc<Mutex<(u16, String)>>,
}

impl Web {
    fn start(page: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new((200, page.to_owned())));
        let told = Arc::clone(&says);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, &told.lock().unwrap());
            }
        });
        Self { address, says }
    }

    fn say(&self, status: u16, page: &str) {
        *self.says.lock().unwrap() = (status, page.to_owned());
    }
}

fn answer(mut stream: TcpStream, says: &(u16, String)) {
    let mut request = [0; 4096];
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = stream.read(&mut request);
    let (status, page) = says;
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
}

fn snapshot(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leeward"))
        .arg("snapshot-site")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn get(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_site_is_copied_kept_and_served() {
    let web = Web::start("<h1>Town hall</h1><form action=/apply><input name=a></form>");
    let home = tempfile::tempdir().unwrap();
    let (place, url) = (text(&home.path().join("copy")), format!("http://{}/", web.address));
    let friendly = home.path().join("sorry.html");
    std::fs::write(&friendly, "<h1>The town hall is closed for an hour</h1>").unwrap();
    let friendly = text(&friendly);
    let arguments = [url.as_str(), "--to", &place, "--friendly", &friendly, "--retry-after", "5m"];
    let made = snapshot(&arguments);
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(said.starts_with("1 page and 1 other file, 1 KiB, are in"), "{said}");

    // A broken site leaves it as it is, and says so by its exit status.
    web.say(500, "oops");
    let broken = snapshot(&arguments);
    assert_eq!(broken.status.code(), Some(5));
    let error = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(error.contains("answers 500") && error.contains("stays as it is"), "{error}");
    // So does one of which little is left.
    web.say(200, "<p>");
    let small = snapshot(&arguments);
    assert_eq!(small.status.code(), Some(3), "{small:?}");
    assert!(String::from_utf8_lossy(&small.stderr).contains("--accept-smaller"));
    // Nothing else is written over.
    let other = text(home.path());
    assert_eq!(snapshot(&[url.as_str(), "--to", &other]).status.code(), Some(1));
    assert_eq!(snapshot(&["ftp://a.example/", "--to", &other]).status.code(), Some(1));

    let mut server = Command::new(env!("CARGO_BIN_EXE_leeward"))
        .args(["serve-site", &place, "--listen", "127.0.0.1:0"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let at = line.trim().rsplit("http://").next().unwrap().trim_end_matches('/').parse().unwrap();
    let page = get(at, "/");
    let friendly = get(at, "/apply");
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<h1>Town hall</h1>"), "{page}");
    assert!(
        page.contains("This form does not work right now") && !page.contains("action"),
        "{page}"
    );
    assert!(friendly.starts_with("HTTP/1.1 503 "), "{friendly}");
    assert!(friendly.contains("retry-after: 300\r\n"), "{friendly}");
    assert!(friendly.contains("closed for an hour"), "{friendly}");
}
