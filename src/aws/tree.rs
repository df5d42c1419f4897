//! What a service said, whole: the body of an answer as a [`Tree`].
//!
//! The SDK's types leave out what was added to a service after they were made. A configuration that is
//! compared, kept and brought back must not lose that, so it is read from the wire.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use super::body::Body;
use crate::balancer::Tree;
use crate::ports::CallFailed;

/// Far more than any answer of Elastic Load Balancing has: its deepest path is below ten.
const DEPTH_MAX: usize = 32;
/// A page of 400 rules with long conditions is under two megabytes.
const BYTES_MAX: usize = 16 * 1024 * 1024;

impl Body {
    /// The answer without its envelope: `<XResponse><XResult>` is taken off.
    pub(super) fn result(&self, action: &str) -> Result<Tree, CallFailed> {
        let unreadable = |why: String| CallFailed::Unknown { why: format!("{action}: {why}") };
        let root = tree(&self.take()).map_err(unreadable)?;
        let result = root.field(&format!("{action}Result")).cloned();
        result.ok_or_else(|| unreadable("the answer has no result".to_owned()))
    }
}

/// One element that is open.
#[derive(Default)]
struct Open {
    name: String,
    text: String,
    children: Vec<(String, Tree)>,
}

impl Open {
    fn close(self) -> (String, Tree) {
        let tree = if self.children.is_empty() {
            Tree::Text(self.text)
        } else if self.children.iter().all(|(name, _)| name == "member") {
            Tree::List(self.children.into_iter().map(|(_, member)| member).collect())
        } else {
            let mut fields: BTreeMap<String, Tree> = BTreeMap::new();
            for (name, value) in self.children {
                // The same name twice is no form of this service: both are kept, as a list.
                let value = match fields.remove(&name) {
                    None => value,
                    Some(Tree::List(mut before)) => {
                        before.push(value);
                        Tree::List(before)
                    }
                    Some(before) => Tree::List(vec![before, value]),
                };
                fields.insert(name, value);
            }
            Tree::Fields(fields)
        };
        (self.name, tree)
    }
}

/// The root element of a document. Attributes (name spaces) are left out.
fn tree(bytes: &[u8]) -> Result<Tree, String> {
    if bytes.len() > BYTES_MAX {
        return Err(format!("an answer of {} octets", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Open> = vec![Open::default()];
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        let close = match event {
            Event::Start(start) => {
                open.push(Open { name: start.local_name().as_ref().to_owned(), ..Open::default() });
                false
            }
            Event::Empty(start) => {
                open.push(Open { name: start.local_name().as_ref().to_owned(), ..Open::default() });
                true
            }
            Event::End(_) => true,
            Event::Text(text) => {
                say(&mut open, &text.xml10_content());
                false
            }
            Event::CData(text) => {
                say(&mut open, &text.xml10_content());
                false
            }
            Event::GeneralRef(reference) => {
                say(&mut open, &resolved(&reference)?);
                false
            }
            Event::DocType(_) => return Err("a document type".to_owned()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => false,
            Event::Eof => break,
        };
        if open.len() > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        if close {
            let closed = open.pop().map(Open::close).ok_or("it closes what is not open")?;
            open.last_mut().ok_or("it closes what is not open")?.children.push(closed);
        }
    }
    let mut outside = open.pop().filter(|_| open.is_empty()).ok_or("it breaks off")?;
    outside.children.pop().map(|(_, root)| root).ok_or_else(|| "it is empty".to_owned())
}

fn say(open: &mut [Open], text: &str) {
    if let Some(open) = open.last_mut() {
        open.text.push_str(text);
    }
}

fn resolved(reference: &BytesRef<'_>) -> Result<String, String> {
    if let Some(character) = reference.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(character.to_string());
    }
    let name: &str = reference;
    let known = resolve_predefined_entity(name).map(str::to_owned);
    known.ok_or_else(|| format!("an entity `{}`", name.chars().take(20).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_was_said_is_in_the_tree() {
        let said = b"<?xml version=\"1.0\"?><R xmlns=\"u\"><XResult><Rules><member><P>1 &lt; &#50;</P><New><Deep/></New></member>\n<member>b</member></Rules><Empty/></XResult></R>";
        let tree = tree(said).unwrap();
        let rules = tree.field("XResult").and_then(|result| result.field("Rules")).unwrap();
        assert_eq!(rules.members().len(), 2);
        assert_eq!(rules.members()[0].said("P"), Some("1 < 2"));
        assert!(rules.members()[0].field("New").and_then(|new| new.field("Deep")).is_some());
        assert_eq!(tree.field("XResult").and_then(|result| result.said("Empty")), Some(""));
    }

    #[test]
    fn odd_answers_are_errors_and_no_panics() {
        let deep = "<a>".repeat(100) + &"</a>".repeat(100);
        for odd in
            ["", "<", "<a>", "</a>", "<a></b>", "<a>&mine;</a>", "<!DOCTYPE a><a/>", "x", &deep]
        {
            assert!(tree(odd.as_bytes()).is_err(), "{odd}");
        }
        assert!(tree(&[0xff, 0xfe]).is_err());
    }
}
