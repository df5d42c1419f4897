//! What was done, one line an act, on disk before the act: the memory that survives us.
//!
//! A line is `crc32(8 hex) SP json LF`, json being `{"seq":..,"at":..,"entry":..}`: readable with `jq`
//! (`cut -c10- | jq`) when our own binary is the suspect. Every line is on disk (`fdatasync`) before
//! [`Log::append`] returns. Beside the file `x` stand `x.lock` (held while it is open), `x.1` (what came
//! before the last rotation) and `x.torn-<n>` (what could not be read and was cut off).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::memory::{Acts, Entry};

/// A new file is begun when this one has grown beyond it: years of failovers, seconds to read.
const ROTATE_AT: u64 = 8 * 1024 * 1024;
/// The longest line, in octets. An intention to move 10,000 records takes about 6 MiB.
const LINE_MAX: u64 = 64 * 1024 * 1024;
/// Torn tails kept aside under different names; after that the last is appended to.
const TORN_FILES_MAX: u32 = 1000;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts up by one, over rotations and restarts.
    pub seq: u64,
    pub at: Timestamp,
    pub entry: Entry,
}

/// What these lines come to.
pub fn acts_of(records: &[Record]) -> Acts {
    let mut acts = Acts::default();
    for record in records {
        acts.apply(record.at, &record.entry);
    }
    acts
}

/// As [`Record`], without owning the entry.
#[derive(Serialize)]
struct RecordRef<'a> {
    seq: u64,
    at: Timestamp,
    entry: &'a Entry,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{path} is held by another controller")]
    Held { path: PathBuf },
    #[error("{what} {path}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the entry takes {length} octets, at most {LINE_MAX} fit a line of the journal")]
    TooLong { length: u64 },
    #[error("the entry cannot be written as JSON")]
    Shape(#[from] serde_json::Error),
    /// An append failed before, so the file may end in half a line: nothing is added, nothing is done.
    #[error("an earlier write to {path} failed: nothing more is recorded, so nothing more is done")]
    Poisoned { path: PathBuf },
}

/// Where acts are written down. If this fails, the act does not happen.
pub trait Log: Send {
    /// Returns when the entry is safe.
    fn append(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError>;

    /// Keeps something large beside the log, under this name; says where, if it keeps things at all.
    /// Returns when it is safe.
    fn keep(&mut self, _name: &str, _text: &[u8]) -> Result<Option<String>, JournalError> {
        Ok(None)
    }
}

/// A log that keeps nothing, for rehearsals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forgetful;

impl Log for Forgetful {
    fn append(&mut self, _at: Timestamp, _entry: &Entry) -> Result<(), JournalError> {
        Ok(())
    }
}

/// What [`Journal::open`] found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    pub acts: Acts,
    /// Octets at the end that were no whole line; they are kept in `<file>.torn-<n>`.
    pub dropped_bytes: u64,
    /// Whole lines read.
    pub records: usize,
}

/// The file, held by this process alone.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Held as long as the journal is open. The data file itself is replaced by rotation.
    #[cfg_attr(not(test), expect(dead_code, reason = "it works by being dropped"))]
    lock: Lock,
    size: u64,
    seq: u64,
    /// The fold of everything written, for the snapshot that begins the next file.
    acts: Acts,
    rotate_at: u64,
    poisoned: bool,
}

impl Journal {
    /// Takes the file, reads it, cuts off what is torn and keeps that aside.
    pub fn open(path: &Path) -> Result<(Self, Recovered), JournalError> {
        let lock = hold(path)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed("open", path))?;
        let scan = Scan::of(&mut file, path)?;
        let length = file.metadata().map_err(failed("measure", path))?.len();
        let dropped_bytes = length.saturating_sub(scan.good);
        if dropped_bytes > 0 {
            keep_aside(&mut file, path, scan.good)?;
            file.set_len(scan.good).map_err(failed("cut the torn end of", path))?;
            file.sync_all().map_err(failed("sync", path))?;
        }
        sync_directory(path)?;
        let records = before_snapshot(path, scan.records)?;
        let acts = acts_of(&records);
        let recovered = Recovered { acts: acts.clone(), dropped_bytes, records: records.len() };
        let seq = records.last().map_or(0, |record| record.seq);
        let journal = Self {
            path: path.to_owned(),
            file,
            lock,
            size: scan.good,
            seq,
            acts,
            rotate_at: ROTATE_AT,
            poisoned: false,
        };
        Ok((journal, recovered))
    }

    /// Whether another process has it open just now.
    pub fn is_held(path: &Path) -> Result<bool, JournalError> {
        match hold(path) {
            Ok(_) => Ok(false),
            Err(JournalError::Held { .. }) => Ok(true),
            Err(other) => Err(other),
        }
    }

    /// All readable lines, the older file first. Needs no lock and changes nothing, so that it also
    /// works beside a running controller; a line that is just being written is left out.
    pub fn read(path: &Path) -> Result<Vec<Record>, JournalError> {
        let mut records = read_if_there(&beside(path, ".1"))?;
        let current = read_if_there(path)?;
        // Between the two steps of a rotation both files hold the same lines.
        if let Some(first) = current.first() {
            records.retain(|record| record.seq < first.seq);
        }
        records.extend(current);
        Ok(records)
    }

    /// The number of the newest line.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    fn write(&mut self, line: &[u8]) -> Result<(), JournalError> {
        self.file.write_all(line).map_err(failed("write", &self.path))?;
        self.file.sync_data().map_err(failed("sync", &self.path))
    }

    /// Begins a new file with all that is known so far; the full one becomes `<file>.1`.
    ///
    /// At every moment `<file>` is a whole journal: the new one replaces it in one rename.
    fn rotate(&mut self, at: Timestamp) -> Result<(), JournalError> {
        let (next, old, old_next) =
            (beside(&self.path, ".next"), beside(&self.path, ".1"), beside(&self.path, ".1.next"));
        remove_if_there(&next)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .open(&next)
            .map_err(failed("create", &next))?;
        let entry = Entry::Snapshot(Box::new(self.acts.clone()));
        let snapshot = line(self.seq + 1, at, &entry)?;
        file.write_all(&snapshot).map_err(failed("write", &next))?;
        file.sync_all().map_err(failed("sync", &next))?;
        remove_if_there(&old_next)?;
        // Not every file system has hard links; the old file is only for `history` and for bad luck.
        fs::hard_link(&self.path, &old_next)
            .or_else(|_| fs::copy(&self.path, &old_next).map(drop))
            .map_err(failed("copy", &old_next))?;
        fs::rename(&old_next, &old).map_err(failed("rename", &old))?;
        fs::rename(&next, &self.path).map_err(failed("rename", &next))?;
        sync_directory(&self.path)?;
        self.file = file;
        self.size = snapshot.len() as u64;
        self.seq += 1;
        Ok(())
    }
}

impl Log for Journal {
    fn append(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        let text = line(self.seq + 1, at, entry)?;
        self.poisoned = true;
        self.write(&text)?;
        self.seq += 1;
        self.size += text.len() as u64;
        self.acts.apply(at, entry);
        if self.size > self.rotate_at {
            self.rotate(at)?;
        }
        self.poisoned = false;
        Ok(())
    }

    fn keep(&mut self, name: &str, text: &[u8]) -> Result<Option<String>, JournalError> {
        let (path, next) =
            (beside(&self.path, &format!(".{name}")), beside(&self.path, &format!(".{name}.next")));
        let mut file = File::create(&next).map_err(failed("create", &next))?;
        file.write_all(text).map_err(failed("write", &next))?;
        file.sync_all().map_err(failed("sync", &next))?;
        fs::rename(&next, &path).map_err(failed("rename", &path))?;
        sync_directory(&path)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(name)
    }
}

/// The line of one entry. Refused if it is longer than [`LINE_MAX`].
fn line(seq: u64, at: Timestamp, entry: &Entry) -> Result<Vec<u8>, JournalError> {
    let json = serde_json::to_vec(&RecordRef { seq, at, entry })?;
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    let length = line.len() as u64;
    if length > LINE_MAX { Err(JournalError::TooLong { length }) } else { Ok(line) }
}

/// One line without its line feed. `None` if it is not whole.
pub fn parse(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    // Only what we write ourselves: `from_str_radix` would also take a sign and capitals.
    if !sum.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    (u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(json)).then_some(())?;
    serde_json::from_slice(json).ok()
}

/// The whole lines of a file from its beginning to the first that is not.
struct Scan {
    records: Vec<Record>,
    /// Octets up to the end of the last whole line.
    good: u64,
}

impl Scan {
    fn of(file: &mut File, path: &Path) -> Result<Self, JournalError> {
        file.seek(io::SeekFrom::Start(0)).map_err(failed("read", path))?;
        let mut reader = BufReader::new(file);
        let mut scan = Self { records: Vec::new(), good: 0 };
        let mut text = Vec::new();
        loop {
            text.clear();
            let taken = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut text);
            let taken = taken.map_err(failed("read", path))? as u64;
            let Some(record) = text.strip_suffix(b"\n").and_then(parse) else {
                return Ok(scan);
            };
            if scan.records.last().is_some_and(|last| last.seq + 1 != record.seq) {
                return Ok(scan);
            }
            scan.good += taken;
            scan.records.push(record);
        }
    }
}

/// If the file does not begin with a snapshot (its first line was lost), what came before counts too.
fn before_snapshot(path: &Path, records: Vec<Record>) -> Result<Vec<Record>, JournalError> {
    if matches!(records.first().map(|record| &record.entry), Some(Entry::Snapshot(_))) {
        return Ok(records);
    }
    let mut all = read_if_there(&beside(path, ".1"))?;
    all.extend(records);
    Ok(all)
}

fn read_if_there(path: &Path) -> Result<Vec<Record>, JournalError> {
    match File::open(path) {
        Ok(mut file) => Ok(Scan::of(&mut file, path)?.records),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("open", path)(error)),
    }
}

/// Frees the lock itself instead of only closing the file: a process that is being forked off by another
/// thread has the open file too, until it becomes the program to be started.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, closing the file comes next and does the same a little later.
        let _ = self.0.unlock();
    }
}

/// Takes the lock without waiting. The system frees it when the process dies, however it dies.
fn hold(path: &Path) -> Result<Lock, JournalError> {
    let lock_path = beside(path, ".lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(failed("open", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => Err(JournalError::Held { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &lock_path)(error)),
    }
}

/// Copies everything from `good` on into the first free `<file>.torn-<n>`.
fn keep_aside(file: &mut File, path: &Path, good: u64) -> Result<(), JournalError> {
    let (torn, mut copy) = torn_file(path)?;
    file.seek(io::SeekFrom::Start(good)).map_err(failed("read", path))?;
    io::copy(file, &mut copy).map_err(failed("write", &torn))?;
    copy.sync_all().map_err(failed("sync", &torn))
}

fn torn_file(path: &Path) -> Result<(PathBuf, File), JournalError> {
    for number in 1..=TORN_FILES_MAX {
        let torn = beside(path, &format!(".torn-{number}"));
        match OpenOptions::new()
            .append(true)
            .create_new(number < TORN_FILES_MAX)
            .create(true)
            .open(&torn)
        {
            Ok(file) => return Ok((torn, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create", &torn)(error)),
        }
    }
    Err(failed("create", path)(io::ErrorKind::AlreadyExists.into()))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", path)(error)),
    }
}

/// New and renamed names are safe only after their directory is.
fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync", directory))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::File { what, path, source }
}

#[cfg(test)]
mod tests;
