//! Bodies of one shape, bent: every input is JSON of that shape with some of its fields changed, so that what
//! lies behind the choice of a parser is reached. Not a target.

use std::sync::OnceLock;

use leeward::domain::Timestamp;
use leeward::event::{self, Event, Meaning};
use leeward::policy::{self, Policy};
use serde_json::{Map, Value};

/// Half a minute after the events of `tests/events`.
const NOW: Timestamp = Timestamp::from_secs(1_800_000_030);
/// Fields that are changed in one body.
const BENDS_MAX: usize = 8;

/// The bodies of `tests/events` whose names begin so.
fn bases(prefixes: &[&str]) -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/events");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            prefixes.iter().any(|prefix| name.starts_with(prefix))
        })
        .collect();
    files.sort();
    let read = |path| serde_json::from_slice(&std::fs::read(path).expect("a body")).ok();
    let bases: Vec<Value> = files.into_iter().filter_map(read).collect();
    assert!(!bases.is_empty(), "{prefixes:?}");
    bases
}

/// The example policy, with a signal that is pushed.
fn shop() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let text = include_str!("../../policies/two-region-web.yaml");
        let pushed = "signals:\n  burn: { class: traffic, fresh_for: 3m, pushed: {} }\n";
        let text = text.replace("signals:\n", pushed);
        policy::load(&text, "shop.yaml").map(|(policy, _)| policy).ok().expect("it is valid")
    })
}

/// Takes what it needs from the front of the input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn some(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?.min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(some)
    }
}

/// Every place in a value, as a way from the top; a text that is JSON is looked into as well.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

fn at(value: &mut Value, place: &mut usize, change: &mut dyn FnMut(&mut Value)) -> bool {
    if *place == 0 {
        change(value);
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| at(item, place, change)),
        Value::Object(map) => map.values_mut().any(|item| at(item, place, change)),
        _ => false,
    }
}

/// One change of one field. `None` when the input is used up.
fn bend(value: &mut Value, input: &mut Input<'_>) -> Option<()> {
    // Never the whole: it would be of another shape, or of none.
    let mut place = 1 + input.byte()? % count(value).saturating_sub(1).max(1);
    let kind = input.byte()?;
    let bytes = input.some()?;
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut change = |value: &mut Value| {
        *value = match (kind % 9, &mut *value) {
            (0, _) => Value::String(text.clone()),
            (1, _) => Value::Null,
            (2, _) => serde_json::from_slice(bytes).unwrap_or(Value::Bool(true)),
            (3, _) => {
                let mut eight = [0; 8];
                eight[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
                Value::from(f64::from_le_bytes(eight))
            }
            (4, Value::String(old)) => {
                // A part of the old text, and more behind it: cut names, times, ARNs.
                let keep: String = old.chars().take(kind / 9).collect();
                Value::String(keep + &text)
            }
            (5, Value::String(old)) => match serde_json::from_str::<Value>(old) {
                // The message inside of an envelope.
                Ok(mut inner) => {
                    let _ = bend(&mut inner, &mut Input(bytes));
                    Value::String(inner.to_string())
                }
                Err(_) => Value::String(old.repeat(kind / 9)),
            },
            (6, Value::Array(items)) => {
                let many = items.len() * (1 + kind / 9);
                Value::Array(items.iter().cycle().take(many).cloned().collect())
            }
            (6, Value::Object(map)) => {
                let mut map = map.clone();
                map.insert(text.clone(), Value::String(text.clone()));
                Value::Object(map)
            }
            (7, Value::Object(map)) => {
                Value::Object(map.clone().into_iter().skip(1).collect::<Map<_, _>>())
            }
            _ => Value::from(kind),
        };
    };
    at(value, &mut place, &mut change);
    Some(())
}

/// What must hold of whatever was understood.
fn holds(event: &Event) {
    assert!(!event.key.is_empty() && event.key.len() <= 400, "{}", event.key.len());
    assert!(!event.key.contains(char::is_control), "{:?}", event.key);
    let judged = event::judge(shop(), event, NOW);
    assert!(!judged.text.contains(char::is_control), "{:?}", judged.text);
    if let Meaning::Sample(sample) = &judged.meaning {
        assert!(sample.taken_at <= NOW, "{sample:?}");
    }
}

/// Bends a body of the shape and has it read. `kept` says which keys must stay for it to be of the shape.
pub fn run(bases_of: &'static OnceLock<Vec<Value>>, prefixes: &[&str], kept: &[&str], data: &[u8]) {
    let bases = bases_of.get_or_init(|| bases(prefixes));
    let mut input = Input(data);
    let Some(which) = input.byte() else { return };
    let base = &bases[which % bases.len()];
    let mut body = base.clone();
    for _ in 0..BENDS_MAX {
        if bend(&mut body, &mut input).is_none() {
            break;
        }
    }
    // A bend may have taken one of these away: it would be read by somebody else.
    for key in kept {
        if body.get(key).is_none()
            && let (Some(map), Some(value)) = (body.as_object_mut(), base.get(key))
        {
            map.insert((*key).to_owned(), value.clone());
        }
    }
    let bytes = body.to_string().into_bytes();
    let parts = event::parse(&bytes);
    assert!(!parts.is_empty() && parts.len() <= 200, "{}", parts.len());
    assert_eq!(parts, event::parse(&bytes), "the same body says the same");
    for part in parts {
        match part {
            Ok(event) => holds(&event),
            Err(unknown) => {
                let why = unknown.to_string();
                assert!(why.len() < 4000 && !why.contains(char::is_control), "{why:?}");
                assert!(!why.starts_with("an object of no known kind") || !kept_all(&body, kept));
            }
        }
    }
}

/// With its keys there, a body never counts as one of no kind. Records are judged one by one.
fn kept_all(body: &Value, kept: &[&str]) -> bool {
    !kept.is_empty() && kept != ["Records"] && kept.iter().all(|key| body.get(key).is_some())
}

/// A target for one shape.
#[macro_export]
macro_rules! shape {
    ($prefixes:expr, $kept:expr) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            static BASES: std::sync::OnceLock<Vec<serde_json::Value>> = std::sync::OnceLock::new();
            shape::run(&BASES, &$prefixes, &$kept, bytes);
        });
    };
}
