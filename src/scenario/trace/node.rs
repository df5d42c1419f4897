//! A JSON value with its place, read with complaints instead of stops: all mistakes in one run.

use std::cell::RefCell;
use std::fmt;

use serde_json::{Map, Value};

use super::place::{Step, locate};

/// More than so many are counted, not listed.
const LISTED_MAX: usize = 50;

/// What is wrong with a trace, with file, line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceError {
    pub path: String,
    pub mistakes: Vec<Mistake>,
    /// Further ones that are only counted.
    pub unlisted: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    pub what: String,
    pub help: Option<String>,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.mistakes.iter().enumerate() {
            let Mistake { line, column, what, help } = mistake;
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}:{column}: {what}", self.path)?;
            if let Some(help) = help {
                write!(f, "\n  help: {help}")?;
            }
        }
        if self.unlisted > 0 {
            write!(f, "\n... and {} further mistakes", self.unlisted)?;
        }
        Ok(())
    }
}

impl std::error::Error for TraceError {}

/// The text that is read, and what was wrong so far.
pub(super) struct Reading<'a> {
    path: &'a str,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
    unlisted: RefCell<usize>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(path: &'a str, text: &'a str) -> Self {
        Self { path, text, mistakes: RefCell::default(), unlisted: RefCell::default() }
    }

    pub(super) fn wrong(&self, way: &[Step], what: &str, help: Option<String>) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() >= LISTED_MAX {
            *self.unlisted.borrow_mut() += 1;
            return;
        }
        let (line, column) = locate(self.text, way);
        mistakes.push(Mistake { line, column, what: printable(what), help });
    }

    pub(super) fn at(&self, line: usize, column: usize, what: String) {
        self.mistakes.borrow_mut().push(Mistake { line, column, what, help: None });
    }

    /// What is wrong, in the order of the text; nothing if all is right.
    pub(super) fn finish(self) -> Result<(), TraceError> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        mistakes.dedup();
        if mistakes.is_empty() {
            return Ok(());
        }
        let path = self.path.to_owned();
        Err(TraceError { path, mistakes, unlisted: self.unlisted.into_inner() })
    }
}

/// Names in messages come from the file, whatever they contain.
fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let shown = text.chars().take(CHARS_MAX);
    shown.map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A value and the way to it. What is not as expected is complained of once; a harmless value stands in
/// for it, and nothing is built of it in the end.
#[derive(Clone)]
pub(super) struct Node<'r, 'a> {
    reading: &'r Reading<'a>,
    /// `None`: not there, which has been complained of.
    value: Option<&'r Value>,
    way: Vec<Step>,
}

impl<'r, 'a> Node<'r, 'a> {
    pub(super) fn root(reading: &'r Reading<'a>, value: &'r Value) -> Self {
        Self { reading, value: Some(value), way: Vec::new() }
    }

    pub(super) fn value(&self) -> &'r Value {
        self.value.unwrap_or(&Value::Null)
    }

    pub(super) fn wrong(&self, what: impl Into<String>) {
        self.reading.wrong(&self.way, &what.into(), None);
    }

    fn wrong_with(&self, what: &str, help: Option<String>) {
        self.reading.wrong(&self.way, what, help);
    }

    fn expected(&self, what: &str) {
        if let Some(value) = self.value {
            self.wrong(format!("expected {what}, found {}", kind(value)));
        }
    }

    fn inside(&self, step: Step, value: Option<&'r Value>) -> Self {
        let mut way = self.way.clone();
        way.push(step);
        Self { reading: self.reading, value, way }
    }

    fn map(&self) -> Option<&'r Map<String, Value>> {
        self.value.and_then(Value::as_object)
    }

    /// Complains of what is missing and of what is not known.
    pub(super) fn object(&self, required: &[&str], optional: &[&str]) {
        let Some(map) = self.map() else {
            self.expected("an object");
            return;
        };
        for name in required.iter().filter(|name| !map.contains_key(**name)) {
            self.wrong(format!("`{name}` is missing"));
        }
        for name in map.keys() {
            let known = || required.iter().chain(optional).copied();
            if !known().any(|one| one == name) {
                let help = meant(name, known());
                self.inside(Step::Key(name.clone()), None)
                    .wrong_with(&format!("`{name}` is not known here"), help);
            }
        }
    }

    /// A field that has to be there; [`Node::object`] complains if it is not.
    pub(super) fn need(&self, name: &str) -> Self {
        let value = self.map().and_then(|map| map.get(name));
        self.inside(Step::Key(name.to_owned()), value)
    }

    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let value = self.map()?.get(name)?;
        Some(self.inside(Step::Key(name.to_owned()), Some(value)))
    }

    /// Names chosen by whoever wrote the trace.
    pub(super) fn entries(&self) -> Vec<(&'r str, Self)> {
        let Some(map) = self.map() else {
            self.expected("an object");
            return Vec::new();
        };
        map.iter()
            .map(|(name, value)| (name.as_str(), self.inside(Step::Key(name.clone()), Some(value))))
            .collect()
    }

    pub(super) fn list(&self, most: usize) -> Vec<Self> {
        let Some(list) = self.value.and_then(Value::as_array) else {
            self.expected("a list");
            return Vec::new();
        };
        if list.len() > most {
            self.wrong(format!("{} entries, at most {most} are read", list.len()));
            return Vec::new();
        }
        let entries = list.iter().enumerate();
        entries.map(|(index, value)| self.inside(Step::Index(index), Some(value))).collect()
    }

    pub(super) fn number(&self, least: f64, most: f64) -> f64 {
        let Some(number) = self.value.and_then(Value::as_f64) else {
            self.expected(&format!("a number from {least} to {most}"));
            return least.max(0.0);
        };
        if !(least..=most).contains(&number) {
            self.wrong(format!("{number} is out of its limits, {least} to {most}"));
        }
        number.clamp(least, most)
    }

    pub(super) fn whole(&self, least: u64, most: u64) -> u64 {
        let Some(number) = self.value.and_then(Value::as_u64) else {
            self.expected(&format!("a whole number from {least} to {most}"));
            return least;
        };
        if !(least..=most).contains(&number) {
            self.wrong(format!("{number} is out of its limits, {least} to {most}"));
        }
        number.clamp(least, most)
    }

    pub(super) fn text(&self) -> &'r str {
        self.value.and_then(Value::as_str).unwrap_or_else(|| {
            self.expected("a text");
            ""
        })
    }

    pub(super) fn flag(&self) -> bool {
        self.value.and_then(Value::as_bool).unwrap_or_else(|| {
            self.expected("`true` or `false`");
            false
        })
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Some(Value::Null))
    }

    /// The place of a text in a closed list.
    pub(super) fn one_of(&self, what: &str, names: &[&str]) -> Option<usize> {
        let text = self.value.and_then(Value::as_str);
        let found = text.and_then(|text| names.iter().position(|name| *name == text));
        match text {
            _ if found.is_some() => {}
            Some(text) => self.wrong_with(
                &format!("`{text}` is not {what}"),
                meant(text, names.iter().copied())
                    .or_else(|| Some(format!("expected one of `{}`", names.join("`, `")))),
            ),
            None => self.expected(what),
        }
        found
    }
}

fn meant<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let near = |name: &&str| {
        let longest = text.chars().count().max(name.chars().count());
        strsim::damerau_levenshtein(text, name) * 5 <= longest * 2
    };
    // Comparing is slow with long texts, and nobody mistypes one.
    let short = text.len() <= 64;
    let nearest = names
        .filter(|name| short && near(name))
        .min_by_key(|name| strsim::damerau_levenshtein(text, name))?;
    Some(format!("did you mean `{nearest}`?"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "`null`",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
