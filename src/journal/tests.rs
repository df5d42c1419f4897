//! Whatever happens to the file, a prefix of what was written is read again, and nothing is lost for good.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::memory::Pin;
use crate::plan::Epoch;
use crate::ports::ChangeId;

fn pinned(by: &str) -> Entry {
    let (by, reason) = (by.to_owned(), "a \"drill\"\nwith lines".to_owned());
    Entry::Pinned(Pin { by, reason, since: Timestamp::from_secs(1), until: None })
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = prop_oneof![
        "[a-zé\\n\"]{0,40}".prop_map(|by| pinned(&by)),
        Just(Entry::Unpinned { by: "anna".to_owned() }),
        any::<u64>().prop_map(|epoch| Entry::InSync { epoch: Epoch(epoch) }),
        (any::<u64>(), "[A-Z0-9]{1,20}").prop_map(|(epoch, id)| Entry::Accepted {
            epoch: Epoch(epoch),
            batch: 0,
            change: ChangeId(id),
        }),
        any::<bool>().prop_map(|open| Entry::Incident { open }),
    ];
    prop::collection::vec(entry, 1..12)
}

fn at(n: usize) -> Timestamp {
    Timestamp::from_secs(1_000 + i64::try_from(n).unwrap())
}

fn fold(entries: &[Entry]) -> Acts {
    let mut acts = Acts::default();
    for (n, entry) in entries.iter().enumerate() {
        acts.apply(at(n), entry);
    }
    acts
}

/// A file with these entries, closed again.
fn written(entries: &[Entry]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.journal");
    let (mut journal, _) = Journal::open(&path).unwrap();
    for (n, entry) in entries.iter().enumerate() {
        journal.append(at(n), entry).unwrap();
    }
    (directory, path)
}

#[test]
fn only_one_controller_holds_a_journal() {
    let (_directory, path) = written(&[]);
    let (first, _) = Journal::open(&path).unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::Held { .. })));
    // Looking is always allowed.
    assert_eq!(Journal::read(&path).unwrap(), []);
    drop(first);
    Journal::open(&path).unwrap();
}

#[test]
fn a_child_that_is_being_started_does_not_keep_the_journal() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("shop.journal");
    let (first, _) = Journal::open(&path).unwrap();
    // Between fork and exec a child has every file that we have: the same open file, as here.
    let inherited = first.lock.0.try_clone().unwrap();
    drop(first);
    Journal::open(&path).unwrap();
    drop(inherited);
}

#[test]
fn a_line_can_be_checked_and_read_without_us() {
    // The sum is that of `zlib.crc32` in Python.
    let (_directory, path) = written(&[Entry::Incident { open: true }]);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "f2129885 {\"seq\":1,\"at\":1000000,\"entry\":{\"incident\":{\"open\":true}}}\n"
    );
}

#[test]
fn a_full_file_is_followed_by_one_that_begins_with_all_that_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.journal");
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.rotate_at = 600;
    let entries: Vec<Entry> = (0..40).map(|n| pinned(&format!("person {n}"))).collect();
    for (n, entry) in entries.iter().enumerate() {
        journal.append(at(n), entry).unwrap();
        // At each moment a new start would know everything.
        let read = Journal::read(&path).unwrap();
        assert_eq!(acts_of(&read), fold(&entries[..=n]));
        assert!(read.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    }
    drop(journal);
    assert!(fs::metadata(&path).unwrap().len() < 2000);
    let (_journal, recovered) = Journal::open(&path).unwrap();
    assert_eq!((recovered.acts, recovered.dropped_bytes), (fold(&entries), 0));
    // A rotation leaves no half-made files behind.
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["shop.journal", "shop.journal.1", "shop.journal.lock"]);
}

#[test]
fn a_spoilt_snapshot_falls_back_on_the_file_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.journal");
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.rotate_at = 1;
    journal.append(at(0), &pinned("anna")).unwrap();
    drop(journal);
    let mut spoilt = fs::read(&path).unwrap();
    spoilt[20] ^= 1;
    fs::write(&path, spoilt).unwrap();
    let (_journal, recovered) = Journal::open(&path).unwrap();
    assert_eq!(recovered.acts, fold(&[pinned("anna")]));
    assert!(recovered.dropped_bytes > 0);
}

#[test]
fn a_single_flipped_bit_is_noticed_even_if_the_line_still_reads_well() {
    let (_directory, path) = written(&[pinned("anna")]);
    let text = fs::read_to_string(&path).unwrap().replace("anna", "anno");
    fs::write(&path, text).unwrap();
    let (_journal, recovered) = Journal::open(&path).unwrap();
    assert_eq!((recovered.records, recovered.acts), (0, Acts::default()));
}

#[test]
fn after_a_failed_write_nothing_more_is_recorded() {
    let (_directory, path) = written(&[Entry::Incident { open: true }]);
    let (mut journal, _) = Journal::open(&path).unwrap();
    // A file that takes no writes, as a full disk.
    journal.file = File::open(&path).unwrap();
    let entry = pinned("anna");
    assert!(matches!(journal.append(at(1), &entry), Err(JournalError::File { .. })));
    journal.file = OpenOptions::new().append(true).open(&path).unwrap();
    assert!(matches!(journal.append(at(1), &entry), Err(JournalError::Poisoned { .. })));
    assert_eq!(Journal::read(&path).unwrap().len(), 1);
}

#[test]
fn a_line_that_is_too_long_is_refused_and_does_no_harm() {
    let (_directory, path) = written(&[]);
    let (mut journal, _) = Journal::open(&path).unwrap();
    let long = Entry::Started { version: "x".repeat(usize::try_from(LINE_MAX).unwrap()) };
    assert!(matches!(journal.append(at(0), &long), Err(JournalError::TooLong { .. })));
    journal.append(at(0), &pinned("anna")).unwrap();
    assert_eq!(Journal::read(&path).unwrap().len(), 1);
}

#[derive(Debug, Clone)]
enum Harm {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Append(Vec<u8>),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Harm::Cut),
        (any::<prop::sample::Index>(), 0_u8..8).prop_map(|(place, bit)| Harm::Flip(place, bit)),
        prop::collection::vec(any::<u8>(), 1..200).prop_map(Harm::Append),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_harmed_file_gives_a_prefix_and_goes_on(
        entries in entries(),
        harms in prop::collection::vec(harm(), 1..3),
    ) {
        let (directory, path) = written(&entries);
        let mut bytes = fs::read(&path).unwrap();
        for harm in harms {
            match harm {
                Harm::Cut(place) => bytes.truncate(place.index(bytes.len() + 1)),
                Harm::Flip(place, bit) if !bytes.is_empty() => {
                    let place = place.index(bytes.len());
                    bytes[place] ^= 1 << bit;
                }
                Harm::Flip(..) => {}
                Harm::Append(more) => bytes.extend(more),
            }
        }
        fs::write(&path, &bytes).unwrap();
        let (mut journal, recovered) = Journal::open(&path).unwrap();
        prop_assert!(recovered.records <= entries.len());
        let kept = &entries[..recovered.records];
        prop_assert_eq!(&recovered.acts, &fold(kept));
        // What was cut off is all there, aside.
        let torn = fs::read(directory.path().join("shop.journal.torn-1")).unwrap_or_default();
        prop_assert_eq!(torn.len() as u64, recovered.dropped_bytes);
        let good = fs::read(&path).unwrap();
        prop_assert_eq!([good, torn].concat(), bytes);
        // And the next lines follow on.
        journal.append(at(kept.len()), &pinned("after")).unwrap();
        drop(journal);
        let all: Vec<Entry> = kept.iter().cloned().chain([pinned("after")]).collect();
        let (_journal, again) = Journal::open(&path).unwrap();
        prop_assert_eq!((again.acts, again.dropped_bytes), (fold(&all), 0));
    }
}
