//! What the public is told, and when: on a clock, at once when there is news, and with a human's word where
//! the policy wants one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Decision;
use super::{Desk, Draft, automation_off, is_due, region};
use crate::bulletin::{Bulletin, Chronicle, Light};
use crate::policy::PageMode;
use crate::tell::{Account, Kind, Letter, Note, Severity, Thread, Topic};

/// The public status is renewed when this part of its rhythm has passed: a failed delivery can still
/// be made good in time.
const STATUS_EARLY: f64 = 0.7;

/// What was unknown and is not any more waits for this long after the last renewal: a source that comes and goes
/// must not have the page written in every round. Caches on the way keep a page for as long.
const LEARNED_AFTER: Duration = Duration::from_secs(30);

impl Desk<'_> {
    /// What the public reads is renewed on a clock, also when there is nothing new: while an incident is
    /// open, and with a status page at all times.
    pub(super) fn status(&mut self) {
        let case = self.case;
        let Some(every) = case.policy.tell.status_every else { return };
        let (public, text, news) = match (&case.policy.status_page, &self.decision.public) {
            (Some(page), Some(now)) => {
                let bulletin = self.bulletin(page.mode, now);
                let update = bulletin.update.as_ref();
                let text = update.map_or("nothing new".to_owned(), |update| update.text.clone());
                let told = &case.acts.public;
                let told_long_ago =
                    case.acts.status_at.is_some_and(|at| case.now.since(at) >= LEARNED_AFTER);
                let news = update.is_some()
                    || worse(&bulletin, told)
                    || (told_long_ago && learned(&bulletin, told));
                (Some(Box::new(bulletin)), text, news)
            }
            _ if self.decision.incident => {
                let text = format!(
                    "we are working on it ({}); {}",
                    self.decision.diagnosis(),
                    split_words(self.decision)
                );
                // What was said before the incident is no word about it.
                (None, text, case.acts.status_at.is_none_or(|at| at < case.incident))
            }
            _ => return,
        };
        let due =
            case.acts.status_at.is_none_or(|at| case.now.since(at) >= every.mul_f64(STATUS_EARLY));
        // One key a renewal: the next one is due from the last delivery on.
        let key = match case.acts.status_at {
            Some(at) => format!("status:{at}"),
            None if public.is_some() => "status:first".to_owned(),
            None => format!("status:{}", case.incident),
        };
        let told = case.acts.told.get(&key).filter(|told| !told.delivered);
        if told.is_some_and(|told| told.is_on_its_way(case.now)) {
            return;
        }
        let may_again = told.is_none_or(|told| is_due(told, case.now));
        let goes = if public.is_some() {
            // A place did not take it: it is tried again, and what is new does not wait for that.
            let old =
                told.is_some_and(|told| case.now.since(told.at) >= every.mul_f64(STATUS_EARLY));
            news || old || (may_again && (due || told.is_some()))
        } else {
            // It goes to people, by the ways of all other notes and at their pace.
            (news || due) && may_again
        };
        if !goes {
            return;
        }
        let regions = self.decision.findings.iter().filter_map(|f| f.region.as_ref()).map(region);
        let about: BTreeSet<Topic> = regions.chain([region(&case.home)]).collect();
        // Apart from what people are told: nobody should look for numbers that the public got.
        let thread = Thread::matter(&case.policy.service, "status");
        let note = Note {
            service: case.policy.service.clone(),
            at: case.now,
            severity: Severity::Status,
            about,
            text: format!("{}: {text}", case.policy.service),
            sequence: self.number(&key, &thread).0,
            thread,
            kind: Kind::Changed,
            account: Account::default(),
            automation_off: automation_off(case),
            public,
        };
        self.out.push(Letter { key, note, page: None });
    }

    /// What goes to the public now. While a human has to find words for an incident: that nothing is known.
    fn bulletin(&mut self, mode: PageMode, now: &Bulletin) -> Bulletin {
        let told = &self.case.acts.public;
        let open = told.open();
        let said = open.and_then(|open| open.updates.last()).map(|update| update.phase);
        let same = match (&now.incident, open) {
            (Some((id, _)), Some(open)) => *id == open.id,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let phase = now.update.as_ref().map(|update| update.phase);
        // Calm, and nothing was said that would have to be taken back.
        let calm = now.incident.is_none() && open.is_none();
        let worse = worse(now, told);
        let news = !calm && (!same || said != phase || (worse && mode == PageMode::Draft));
        match mode {
            PageMode::Auto if news => now.clone(),
            PageMode::Auto => Bulletin { update: None, ..now.clone() },
            PageMode::Draft if calm => Bulletin { update: None, ..now.clone() },
            PageMode::Draft => {
                if news {
                    self.draft(now, worse);
                }
                match open {
                    // No human has found words yet: nothing is claimed, and nothing is green.
                    None => Bulletin {
                        components: now
                            .components
                            .keys()
                            .map(|id| (id.clone(), Light::Unknown))
                            .collect(),
                        incident: None,
                        update: None,
                        unworded: true,
                        ..now.clone()
                    },
                    // What a human sent goes on being renewed, also when it is over and nobody has said so.
                    Some(open) => Bulletin {
                        at: now.at,
                        // Words are a human's, states are measured: they get worse by themselves, and better
                        // with the next words.
                        components: worst_of(&now.components, &told.components),
                        incident: Some((open.id.clone(), open.since)),
                        update: None,
                        blind: now.blind.clone(),
                        unworded: false,
                    },
                }
            }
        }
    }

    /// Asks for the words that only a human may send.
    fn draft(&mut self, now: &Bulletin, worse: bool) {
        let Some(update) = &now.update else { return };
        let incident = self.case.acts.incident_since.unwrap_or(self.case.incident);
        let incident = now.incident.as_ref().map_or(incident, |(_, since)| *since);
        let service = &self.case.policy.service;
        let text =
            format!("the status page waits for a human: draft ({}): {}", update.phase, update.text);
        let account = Account {
            not_done: vec![
                "the public is told nothing new, and that all is well neither: `status_page.mode` is `draft`"
                    .to_owned(),
            ],
            would_help: vec![format!(
                "`leeward status-page publish {service}`, with `--text` for other words"
            )],
            ..Account::default()
        };
        // After the incident no start of one is at hand: what was last said names it.
        let id = self.case.acts.public.open().map_or(incident.to_string(), |open| open.id.clone());
        let id = now.incident.as_ref().map_or(id, |(id, _)| id.clone());
        // Worse than the public knows asks anew.
        let light = now.components.values().max().filter(|_| worse);
        let anew = light.map_or(String::new(), |light| format!(":{light}"));
        self.tell(Draft {
            severity: Severity::Warn,
            key: format!("draft:{id}:{}{anew}", update.phase),
            kind: Kind::NeedsYou,
            about: &[],
            text: &text,
            account,
        });
    }
}

fn worst_of(
    now: &BTreeMap<String, Light>,
    told: &BTreeMap<String, Light>,
) -> BTreeMap<String, Light> {
    let worst = |(id, light): (&String, &Light)| {
        let known = told.get(id).copied().unwrap_or_default();
        (id.clone(), known.max(*light))
    };
    now.iter().map(worst).collect()
}

/// A component fares worse than the public knows.
fn worse(now: &Bulletin, told: &Chronicle) -> bool {
    let known = |id: &String| told.components.get(id).copied().unwrap_or_default();
    now.components.iter().any(|(id, light)| *light > known(id))
}

/// The public was told that nobody can tell how a component fares, and now somebody can: after a start above all,
/// when nothing has been seen yet.
fn learned(now: &Bulletin, told: &Chronicle) -> bool {
    let was_unknown = |id: &String| told.components.get(id) == Some(&Light::Unknown);
    now.components.iter().any(|(id, light)| *light != Light::Unknown && was_unknown(id))
}

fn split_words(decision: &Decision) -> String {
    decision.split.as_ref().map_or(String::new(), |split| format!("answers: {split}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn bulletin(light: Light) -> Bulletin {
        Bulletin {
            at: Timestamp::from_secs(0),
            components: [("shop".to_owned(), light)].into(),
            incident: None,
            update: None,
            blind: None,
            unworded: false,
        }
    }

    #[test]
    fn what_is_known_again_is_news_and_what_was_never_told_is_not() {
        let mut told = Chronicle::default();
        assert!(!learned(&bulletin(Light::Operational), &told), "there is no page yet");
        told.components = bulletin(Light::Unknown).components;
        assert!(learned(&bulletin(Light::Operational), &told));
        assert!(!learned(&bulletin(Light::Unknown), &told));
        told.components = bulletin(Light::Operational).components;
        assert!(!learned(&bulletin(Light::Operational), &told));
    }
}
