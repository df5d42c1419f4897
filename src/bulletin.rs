//! What the public is told: the state of each component, incidents and their updates. No IO.
//!
//! A bulletin is what one round says; the chronicle is what all of them amount to; the page is how it is
//! shown, and never says that all is well while an incident is open.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{ServiceName, Timestamp};

/// The state of a component as its users meet it, the best first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Light {
    Operational,
    /// Nobody can tell just now. Never shown as well.
    #[default]
    Unknown,
    /// Served, but slowly, or just out of trouble.
    Degraded,
    PartialOutage,
    MajorOutage,
}

impl fmt::Display for Light {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operational => "Operational",
            Self::Unknown => "Not known",
            Self::Degraded => "Degraded",
            Self::PartialOutage => "Partial outage",
            Self::MajorOutage => "Major outage",
        })
    }
}

/// How far an incident has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Investigating,
    Identified,
    Monitoring,
    Resolved,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is said in an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub at: Timestamp,
    pub phase: Phase,
    pub text: String,
}

/// What one round has to say to the public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulletin {
    pub at: Timestamp,
    pub components: BTreeMap<String, Light>,
    /// The open incident, by its thread, and since when.
    pub incident: Option<(String, Timestamp)>,
    /// Something new; `None` if what was said last still holds.
    pub update: Option<Update>,
    /// Why the states may be wrong: instruments of the controller are silent.
    pub blind: Option<String>,
    /// An incident is open, and no human has found words for it yet: all that is said is that nothing is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unworded: bool,
}

/// An incident as the public knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    pub id: String,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
    /// The last time that it was said that this still holds.
    pub renewed_at: Timestamp,
    /// The worst state of each component that was touched.
    pub touched: BTreeMap<String, Light>,
    /// Oldest first.
    pub updates: Vec<Update>,
}

/// Incidents that are remembered, and updates of one of them.
const INCIDENTS_MAX: usize = 30;
const UPDATES_MAX: usize = 60;

/// All that the public was told, as far as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Chronicle {
    pub at: Option<Timestamp>,
    pub components: BTreeMap<String, Light>,
    pub blind: Option<String>,
    /// See [`Bulletin::unworded`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unworded: bool,
    /// Newest first. At most the first is open.
    pub incidents: Vec<Incident>,
}

impl Chronicle {
    pub fn open(&self) -> Option<&Incident> {
        self.incidents.first().filter(|incident| incident.until.is_none())
    }

    /// What follows from one bulletin. Total: any sequence of them gives a state.
    pub fn take(&mut self, bulletin: &Bulletin) {
        self.at = Some(bulletin.at);
        self.components.clone_from(&bulletin.components);
        self.blind.clone_from(&bulletin.blind);
        self.unworded = bulletin.unworded;
        self.close_another(bulletin);
        let Some((id, since)) = &bulletin.incident else { return };
        if self.incidents.first().is_none_or(|first| first.id != *id) {
            let incident = Incident {
                id: id.clone(),
                since: *since,
                until: None,
                renewed_at: bulletin.at,
                touched: BTreeMap::new(),
                updates: Vec::new(),
            };
            self.incidents.insert(0, incident);
            self.incidents.truncate(INCIDENTS_MAX);
        }
        if let Some(open) = self.incidents.first_mut() {
            open.until = None;
            open.renew(bulletin);
        }
    }

    /// The open incident is over if the bulletin speaks of none, or of another one.
    fn close_another(&mut self, bulletin: &Bulletin) {
        let Some(open) = self.incidents.first_mut().filter(|open| open.until.is_none()) else {
            return;
        };
        match &bulletin.incident {
            Some((id, _)) if *id == open.id => {}
            Some(_) => open.until = Some(bulletin.at),
            None => {
                open.until = Some(bulletin.at);
                open.updates.extend(bulletin.update.clone());
            }
        }
    }
}

impl Incident {
    fn renew(&mut self, bulletin: &Bulletin) {
        self.renewed_at = bulletin.at;
        self.updates.extend(bulletin.update.clone());
        if let Some(surplus) = self.updates.len().checked_sub(UPDATES_MAX).filter(|s| *s > 0) {
            // The first one says how it began.
            self.updates.drain(1..=surplus);
        }
        for (component, light) in &bulletin.components {
            if *light > Light::Unknown {
                let worst = self.touched.entry(component.clone()).or_insert(*light);
                *worst = (*worst).max(*light);
            }
        }
    }
}

/// A page as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    pub service: ServiceName,
    pub title: String,
    pub url: Option<String>,
    /// When it was last known that what stands here is so.
    pub updated_at: Timestamp,
    /// Seconds. Older than twice that, the page is not to be believed.
    #[serde(serialize_with = "seconds")]
    pub renewed_every: Duration,
    pub overall: Light,
    pub components: Vec<Part>,
    pub blind: Option<String>,
    /// See [`Bulletin::unworded`]. Readers see components that are not known.
    #[serde(skip)]
    pub unworded: bool,
    /// Newest first; the first may be open.
    pub incidents: Vec<Incident>,
}

/// A component on the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub id: String,
    pub name: String,
    pub state: Light,
}

fn seconds<S: serde::Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(span.as_secs())
}

/// What stands on a page whatever happens.
#[derive(Debug, Clone)]
pub struct Frame {
    pub service: ServiceName,
    pub title: String,
    pub url: Option<String>,
    pub renewed_every: Duration,
    /// Id and name of each component.
    pub components: Vec<(String, String)>,
}

impl Page {
    /// The page of all that was told. While an incident is open nothing that it touched is shown as
    /// well, and neither is the whole.
    pub fn of(frame: &Frame, told: &Chronicle, now: Timestamp) -> Self {
        let open = told.open();
        let state = |id: &String| {
            let light = told.components.get(id).copied().unwrap_or_default();
            let touched = open.is_some_and(|incident| incident.touched.contains_key(id));
            if touched { light.max(Light::Degraded) } else { light }
        };
        let components: Vec<Part> = frame
            .components
            .iter()
            .map(|(id, name)| Part { id: id.clone(), name: name.clone(), state: state(id) })
            .collect();
        let worst = components.iter().map(|part| part.state).max().unwrap_or_default();
        Self {
            service: frame.service.clone(),
            title: frame.title.clone(),
            url: frame.url.clone(),
            updated_at: told.at.unwrap_or(now),
            renewed_every: frame.renewed_every,
            overall: if open.is_some() { worst.max(Light::Degraded) } else { worst },
            components,
            blind: told.blind.clone(),
            unworded: told.unworded,
            incidents: told.incidents.clone(),
        }
    }

    pub fn open(&self) -> Option<&Incident> {
        self.incidents.first().filter(|incident| incident.until.is_none())
    }

    /// The names of what an incident touched; the page's title if that is nothing.
    pub fn names_of(&self, incident: &Incident) -> String {
        let name = |id: &String| {
            let part = self.components.iter().find(|part| part.id == *id);
            part.map_or_else(|| id.clone(), |part| part.name.clone())
        };
        let names: Vec<String> = incident.touched.keys().map(name).collect();
        if names.is_empty() { self.title.clone() } else { names.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> Frame {
        Frame {
            service: "shop".parse().unwrap(),
            title: "Shop".to_owned(),
            url: None,
            renewed_every: Duration::from_secs(900),
            components: vec![("web".to_owned(), "Web".to_owned())],
        }
    }

    fn bulletin(at: i64, light: Light, incident: Option<&str>, phase: Option<Phase>) -> Bulletin {
        let at = Timestamp::from_secs(at);
        Bulletin {
            at,
            components: [("web".to_owned(), light)].into(),
            incident: incident.map(|id| (id.to_owned(), at)),
            update: phase.map(|phase| Update { at, phase, text: phase.to_string() }),
            blind: None,
            unworded: false,
        }
    }

    fn page(told: &Chronicle) -> Page {
        Page::of(&frame(), told, Timestamp::from_secs(0))
    }

    #[test]
    fn an_incident_is_told_from_its_beginning_to_its_end() {
        let mut told = Chronicle::default();
        told.take(&bulletin(1, Light::MajorOutage, Some("i"), Some(Phase::Investigating)));
        told.take(&bulletin(2, Light::MajorOutage, Some("i"), None));
        told.take(&bulletin(3, Light::Operational, Some("i"), Some(Phase::Monitoring)));
        assert_eq!(told.open().unwrap().renewed_at, Timestamp::from_secs(3));
        told.take(&bulletin(4, Light::Operational, None, Some(Phase::Resolved)));
        assert!(told.open().is_none());
        let phases: Vec<Phase> = told.incidents[0].updates.iter().map(|u| u.phase).collect();
        assert_eq!(phases, [Phase::Investigating, Phase::Monitoring, Phase::Resolved]);
        assert_eq!(told.incidents[0].touched["web"], Light::MajorOutage);
        assert_eq!(page(&told).overall, Light::Operational);
    }

    #[test]
    fn a_component_that_is_well_again_is_not_green_before_the_incident_is_over() {
        let mut told = Chronicle::default();
        told.take(&bulletin(1, Light::PartialOutage, Some("i"), None));
        told.take(&bulletin(2, Light::Operational, Some("i"), None));
        assert_eq!(page(&told).components[0].state, Light::Degraded);
    }

    #[test]
    fn that_nobody_has_said_anything_is_not_well() {
        assert_eq!(page(&Chronicle::default()).overall, Light::Unknown);
    }

    proptest! {
        #[test]
        fn never_green_while_an_incident_is_open(
            steps in proptest::collection::vec((0..5usize, proptest::option::of("[ab]")), 1..40)
        ) {
            let lights = [
                Light::Operational, Light::Unknown, Light::Degraded, Light::PartialOutage,
                Light::MajorOutage,
            ];
            let mut told = Chronicle::default();
            for (at, (light, incident)) in steps.iter().enumerate() {
                let at = i64::try_from(at).unwrap();
                told.take(&bulletin(at, lights[*light], incident.as_deref(), None));
                prop_assert_eq!(told.open().is_some(), incident.is_some());
                if incident.is_some() {
                    prop_assert!(page(&told).overall >= Light::Degraded);
                }
                prop_assert!(told.incidents.iter().skip(1).all(|old| old.until.is_some()));
            }
        }

        #[test]
        fn what_is_remembered_is_bounded(count in 1..200i64) {
            let mut told = Chronicle::default();
            for at in 0..count {
                told.take(&bulletin(at, Light::Degraded, Some("i"), Some(Phase::Identified)));
            }
            prop_assert!(told.incidents[0].updates.len() <= UPDATES_MAX);
            prop_assert_eq!(told.incidents[0].updates[0].at, Timestamp::from_secs(0));
            for at in 0..count {
                told.take(&bulletin(at, Light::Degraded, Some(&format!("{at}")), None));
            }
            prop_assert!(told.incidents.len() <= INCIDENTS_MAX);
        }
    }
}
