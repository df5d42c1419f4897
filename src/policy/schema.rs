//! The language described for editors and for people, from the types that read it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::raw;

/// The JSON Schema of a policy file.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(raw::File).to_value();
    without_null(&mut schema);
    if let Value::Object(root) = &mut schema {
        root.insert("title".to_owned(), "Leeward policy".into());
    }
    schema
}

/// A setting that is left out is not written; `setting:` with nothing behind it is a mistake. Derived
/// schemas allow `null` for both.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    map.extend(only);
                }
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every field with its meaning, as Markdown.
pub fn markdown() -> String {
    let schema = json_schema();
    let mut text = String::from(MARKDOWN_HEAD);
    let mut waiting = vec!["policy".to_owned()];
    let mut seen: BTreeSet<String> = waiting.iter().cloned().collect();
    while !waiting.is_empty() {
        let name = waiting.remove(0);
        let kind = if name == "policy" {
            Some(&schema)
        } else {
            schema.get("$defs").and_then(|kinds| kinds.get(&name))
        };
        let Some(kind) = kind else { continue };
        section(&mut text, &name, kind);
        for inner in references(kind) {
            if seen.insert(inner.clone()) {
                waiting.push(inner);
            }
        }
    }
    text
}

const MARKDOWN_HEAD: &str = "\
# Policies

One file describes one service: what there is, what counts as an outage, and what may be done about it.
Begin with a copy of one of these and change it until `leeward check FILE` is content:

- [`two-region-web.yaml`](two-region-web.yaml): one region carries everything, one waits
- [`active-active.yaml`](active-active.yaml): two regions share the traffic, each can carry it all
- [`last-resort.yaml`](last-resort.yaml): one region, and a friendly page for when it is gone
- [`region-loss.yaml`](region-loss.yaml): a whole region goes dark; away at once, home in steps
- [`grey-balancer.yaml`](grey-balancer.yaml): a balancer makes errors; it is refreshed before traffic leaves
- [`bad-deploy.yaml`](bad-deploy.yaml): a deploy that looks like an outage
- [`told-from-outside.yaml`](told-from-outside.yaml): alarms, deploys, pushed readings and a signed yes
- [`no-power.yaml`](no-power.yaml): both regions lose power; a static page as the last resort
- [`three-regions.yaml`](three-regions.yaml): three regions share the traffic
- [`spill-over.yaml`](spill-over.yaml): a smaller standby takes what fits
- [`gates.yaml`](gates.yaml): gates and routing controls before weights, for when the control plane is down
- [`approval-with-lag.yaml`](approval-with-lag.yaml): a human says yes, and knows what would be lost

Each carries its own `tests`: drawn outages, and what is to be done in them; or recorded ones (`trace`),
which answer what is done and bring demands of their own. `leeward test FILE` plays them in virtual time
by the very decision that `leeward run` makes; `leeward test FILE --explain CASE` says step by step what
was found and what held. A trace speaks of its own regions, balancers and probers: `regions`, `balancers`
and `vantages` of the test say which is which here. Capacities and demand are those of the recording, all
records of the policy stand for its one name, and metrics with a limit of their own or of latency stay
silent, since no trace records them.

Editors complete and check policies if the first line says where the schema is:
`# yaml-language-server: $schema=schema.json`. The schema comes from `leeward schema > schema.json`.

YAML in short: anchors and aliases work, merge keys (`<<`) and tags do not; a field is either written
with a value or left out; unknown fields and repeated keys are mistakes. Times are `90s`, `2m`,
`1h 30m`; parts are `95%`; capacities are `3000 rps`. `leeward check` reports all mistakes in one run,
with two exceptions: after a mistake of YAML itself nothing more is read, and a mapping with a value
that cannot be read is not looked at for what its values mean together.

What can hurt has no default: such a field is *required*. This page is written by
`leeward schema --markdown`.
";

fn section(text: &mut String, name: &str, kind: &Value) {
    let (doc, _) = description(kind);
    // Writing to a string cannot fail.
    let _ = write!(text, "\n## {name}\n\n{doc}\n\n");
    if let Some(Value::Array(choices)) = kind.get("oneOf") {
        for choice in choices {
            let word = choice.get("const").and_then(Value::as_str);
            let key = properties(choice).and_then(|fields| fields.keys().next());
            let word = word.or(key.map(String::as_str)).unwrap_or_default();
            field(text, word, "", choice);
        }
        return;
    }
    let required: BTreeSet<&str> = kind
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, inner) in properties(kind).into_iter().flatten() {
        let note = if required.contains(name.as_str()) { ", required" } else { "" };
        field(text, name, note, inner);
    }
    if properties(kind).is_none_or(Map::is_empty) {
        text.push_str("It has no fields: `{}`.\n");
    }
}

fn field(text: &mut String, name: &str, note: &str, kind: &Value) {
    let (doc, example) = description(kind);
    let kinds: Vec<String> =
        references(kind).iter().map(|name| format!("[{name}](#{})", name.to_lowercase())).collect();
    let more = if kinds.is_empty() { String::new() } else { format!(" See {}.", kinds.join(", ")) };
    let _ = writeln!(text, "- **`{name}`**{note}: {doc}{more}  \n  {example}");
}

/// What a field means, and the example.
fn description(kind: &Value) -> (&str, &str) {
    let doc = kind.get("description").and_then(Value::as_str).unwrap_or_default();
    let (doc, example) = doc.split_once("\n\nExample: ").unwrap_or((doc, ""));
    (doc.trim(), example.trim())
}

fn properties(kind: &Value) -> Option<&Map<String, Value>> {
    kind.get("properties").and_then(Value::as_object)
}

/// The types that this one refers to, in order.
fn references(kind: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match kind {
        Value::Object(map) => {
            for (key, value) in map {
                let target = value.as_str().and_then(|target| target.strip_prefix("#/$defs/"));
                if key == "$ref" {
                    found.extend(target.map(str::to_owned));
                } else if key != "$defs" {
                    found.extend(references(value));
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| found.extend(references(item))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    let mut once = BTreeSet::new();
    found.retain(|name| once.insert(name.clone()));
    found
}
