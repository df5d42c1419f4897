//! A human's word, as files in the state directory: the pin, and what lifts it.
//!
//! `leeward hold` writes, every round reads. No network and no running controller is needed, and what
//! cannot be read is taken for a pin: when in doubt, nothing moves.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bulletin::Phase;
use crate::domain::{ServiceName, Timestamp};
use crate::memory::{Abort, Pin, Request};

/// Far more than a reason of a few sentences.
const FILE_MAX: u64 = 64 * 1024;
const VERSION: u32 = 1;

/// Who lifted a hold when its file is gone and nobody left a word.
pub const SOMEBODY: &str = "whoever removed the hold";

/// Who lifted a pin or opened a latch, waiting for the controller to write it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
    /// Also open the latch that holds after too many shifts.
    pub unlatch: bool,
}

/// A yes or a no to what waits for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
    pub answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Until then whatever is held for approval may be done.
    Yes {
        until: Timestamp,
    },
    No,
}

/// What a human wants done, or undone, waiting for the controller to take it in. The newest counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spoken {
    pub says: Says,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    Ask(Box<Request>),
    Abort(Abort),
}

#[derive(Debug, Serialize, Deserialize)]
struct OnDisk<T> {
    version: u32,
    #[serde(flatten)]
    word: T,
}

pub fn journal_path(state: &Path, service: &ServiceName) -> PathBuf {
    state.join(format!("{service}.journal"))
}

fn pin_path(state: &Path, service: &ServiceName) -> PathBuf {
    state.join(format!("{service}.pin.json"))
}

fn resume_path(state: &Path, service: &ServiceName) -> PathBuf {
    state.join(format!("{service}.resume.json"))
}

fn approval_path(state: &Path, service: &ServiceName) -> PathBuf {
    state.join(format!("{service}.approval.json"))
}

fn spoken_path(state: &Path, service: &ServiceName) -> PathBuf {
    state.join(format!("{service}.ask.json"))
}

pub fn write_spoken(state: &Path, service: &ServiceName, says: Says) -> io::Result<()> {
    save(state, &spoken_path(state, service), &Spoken { says })
}

/// What a human asked for or aborted, if it can be read. What cannot be read moves nothing.
pub fn read_spoken(state: &Path, service: &ServiceName) -> io::Result<Option<Says>> {
    Ok(load::<Spoken>(&spoken_path(state, service))?.map(|spoken| spoken.says))
}

/// After it is in the journal. True if there was one.
pub fn remove_spoken(state: &Path, service: &ServiceName) -> io::Result<bool> {
    delete(state, &spoken_path(state, service))
}

pub fn write_approval(state: &Path, service: &ServiceName, word: &Approval) -> io::Result<()> {
    save(state, &approval_path(state, service), word)
}

/// What a human answered, if it can be read. An unreadable answer allows nothing.
pub fn read_approval(state: &Path, service: &ServiceName) -> io::Result<Option<Approval>> {
    load(&approval_path(state, service))
}

/// After it is in the journal.
pub fn remove_approval(state: &Path, service: &ServiceName) -> io::Result<bool> {
    delete(state, &approval_path(state, service))
}

/// What a human sends to the public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    pub by: String,
    pub at: Timestamp,
    /// `None`: the words of the policy.
    pub text: Option<String>,
    /// `None`: as far as the incident has come by what is seen.
    pub phase: Option<Phase>,
}

fn words_path(state: &Path, service: &ServiceName) -> PathBuf {
    state.join(format!("{service}.words.json"))
}

pub fn write_words(state: &Path, service: &ServiceName, words: &Words) -> io::Result<()> {
    save(state, &words_path(state, service), words)
}

pub fn read_words(state: &Path, service: &ServiceName) -> io::Result<Option<Words>> {
    load(&words_path(state, service))
}

/// After they are in the journal.
pub fn remove_words(state: &Path, service: &ServiceName) -> io::Result<bool> {
    delete(state, &words_path(state, service))
}

/// The pin in the directory, in force or not. A file that cannot be read is a pin without end.
pub fn read(state: &Path, service: &ServiceName) -> Option<Pin> {
    let path = pin_path(state, service);
    match load::<Pin>(&path) {
        Ok(pin) => pin,
        Err(error) => Some(Pin {
            by: "an unreadable pin file".to_owned(),
            reason: format!("`{}`: {error}", path.display()),
            since: changed_at(&path),
            until: None,
        }),
    }
}

/// The pin in the directory that is in force.
pub fn in_force(state: &Path, service: &ServiceName, now: Timestamp) -> Option<Pin> {
    read(state, service).filter(|pin| pin.is_in_force(now))
}

/// What the directory says of a hold and the journal does not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Held(Pin),
    Lifted,
}

/// Compares the directory with the pin that the journal knows and that is in force. The same order of the same
/// person is no news: when it was heard does not matter.
pub fn news(
    state: &Path,
    service: &ServiceName,
    known: Option<&Pin>,
    now: Timestamp,
) -> Option<News> {
    let said = |pin: &Pin| (pin.by.clone(), pin.reason.clone(), pin.until);
    match (in_force(state, service, now), known) {
        (Some(new), old) if old.map(said) != Some(said(&new)) => Some(News::Held(new)),
        (None, Some(_)) => Some(News::Lifted),
        (Some(_) | None, _) => None,
    }
}

pub fn write(state: &Path, service: &ServiceName, pin: &Pin) -> io::Result<()> {
    save(state, &pin_path(state, service), pin)
}

/// True if there was one.
pub fn remove(state: &Path, service: &ServiceName) -> io::Result<bool> {
    delete(state, &pin_path(state, service))
}

pub fn write_resume(state: &Path, service: &ServiceName, word: &Resume) -> io::Result<()> {
    save(state, &resume_path(state, service), word)
}

/// The word of whoever resumed, if there is a readable one. An unreadable one opens nothing.
pub fn read_resume(state: &Path, service: &ServiceName) -> io::Result<Option<Resume>> {
    load(&resume_path(state, service))
}

/// After it is in the journal.
pub fn remove_resume(state: &Path, service: &ServiceName) -> io::Result<bool> {
    delete(state, &resume_path(state, service))
}

/// The services that have a journal here.
pub fn services(state: &Path) -> io::Result<Vec<ServiceName>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(state)? {
        let name = entry?.file_name();
        let service = name.to_str().and_then(|name| name.strip_suffix(".journal"));
        names.extend(service.and_then(|name| name.parse::<ServiceName>().ok()));
    }
    names.sort();
    Ok(names)
}

fn load<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut text)?;
    let on_disk: OnDisk<T> = serde_json::from_slice(&text)?;
    if on_disk.version != VERSION {
        let why = format!("version {}, expected {VERSION}", on_disk.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Some(on_disk.word))
}

/// Whole or not at all: beside the target first, then renamed, then the directory made durable.
fn save<T: Serialize>(state: &Path, path: &Path, word: &T) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(state)?;
    serde_json::to_writer(&mut file, &OnDisk { version: VERSION, word })?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(state)?.sync_all()
}

fn delete(state: &Path, path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => File::open(state)?.sync_all().map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn changed_at(path: &Path) -> Timestamp {
    let changed = fs::metadata(path).and_then(|data| data.modified()).ok();
    changed
        .and_then(|time| jiff::Timestamp::try_from(time).ok())
        .map_or(Timestamp::default(), |time| Timestamp::from_millis(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::samples;

    fn shop() -> ServiceName {
        "shop".parse().unwrap()
    }

    #[test]
    fn a_pin_comes_back_as_it_was_written() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(read(state.path(), &shop()), None);
        write(state.path(), &shop(), &samples::pin()).unwrap();
        assert_eq!(read(state.path(), &shop()), Some(samples::pin()));
        assert!(remove(state.path(), &shop()).unwrap());
        assert!(!remove(state.path(), &shop()).unwrap());
        assert_eq!(read(state.path(), &shop()), None);
    }

    #[test]
    fn news_is_what_the_journal_does_not_know() {
        let state = tempfile::tempdir().unwrap();
        let now = samples::NOW;
        let news = |known: Option<&Pin>| news(state.path(), &shop(), known, now);
        let until = |secs| Some(now.plus(Duration::from_secs(secs)));
        let pin = Pin { until: until(60), ..samples::pin() };
        assert_eq!((news(None), news(Some(&pin))), (None, Some(News::Lifted)));
        write(state.path(), &shop(), &pin).unwrap();
        let later = Pin { since: now, ..pin.clone() };
        let longer = Pin { until: until(90), ..pin.clone() };
        assert_eq!(news(Some(&later)), None);
        for known in [None, Some(&longer)] {
            assert_eq!(news(known), Some(News::Held(pin.clone())));
        }
        write(state.path(), &shop(), &Pin { until: Some(now), ..pin }).unwrap();
        assert_eq!(news(None), None);
    }

    #[test]
    fn a_pin_that_cannot_be_read_is_a_pin_without_end() {
        let state = tempfile::tempdir().unwrap();
        let path = pin_path(state.path(), &shop());
        for rubbish in ["", "{", "{\"version\":9,\"by\":\"a\",\"reason\":\"b\",\"since\":1}", "[]"]
        {
            fs::write(&path, rubbish).unwrap();
            let pin = read(state.path(), &shop()).expect("a pin");
            assert_eq!(pin.until, None, "{rubbish}");
            assert!(pin.since > Timestamp::default());
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(read(state.path(), &shop()).is_some());
    }

    #[test]
    fn what_is_asked_comes_back_as_it_was_written_and_rubbish_asks_for_nothing() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(read_spoken(state.path(), &shop()).unwrap(), None);
        let (asks, aborts) =
            (Says::Ask(Box::new(samples::request())), Says::Abort(samples::abort()));
        for says in [asks, aborts] {
            write_spoken(state.path(), &shop(), says.clone()).unwrap();
            assert_eq!(read_spoken(state.path(), &shop()).unwrap(), Some(says));
        }
        assert!(remove_spoken(state.path(), &shop()).unwrap());
        fs::write(spoken_path(state.path(), &shop()), "{\"version\":1,\"says\":{}}").unwrap();
        assert!(read_spoken(state.path(), &shop()).is_err());
    }

    #[test]
    fn services_are_found_by_their_journals() {
        let state = tempfile::tempdir().unwrap();
        for name in ["shop.journal", "api.journal", "api.journal.lock", "-.journal", "x.pin.json"] {
            fs::write(state.path().join(name), "").unwrap();
        }
        let names: Vec<String> =
            services(state.path()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["api", "shop"]);
    }
}
