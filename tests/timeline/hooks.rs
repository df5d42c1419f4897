//! Hooks: asked before, told after, once; and the undoing of a change.

use super::*;

const HOOKS: &str = r#"
hooks:
  before: [{ name: freeze, does: { run: ["/bin/freeze"] }, timeout: 20s, if_it_fails: go_on }]
  fence: { name: demote, does: { run: ["/bin/demote"] }, timeout: 30s, if_it_fails: veto }
  after: [{ name: thaw, does: { run: ["/bin/thaw"] }, timeout: 20s, if_it_fails: go_on, moves: [evacuate] }]
  rollback: { when: common_cause, name: undo, does: { run: ["/bin/undo"] }, timeout: 2m }
tell:"#;

fn hooked() -> Picture {
    Picture::new(policy(&[("tell:", HOOKS)]))
}

impl Picture {
    pub(super) fn hear_hooks(&mut self) {
        let Some(answer) = self.hooks_say else { return };
        let waiting = self.called[self.answered..].to_vec();
        for call in waiting {
            let (key, attempt, says) = (call.key, call.attempt, "so it is".to_owned());
            self.note(&Entry::HookEnded(HookEnd { key, attempt, answer, says }));
        }
        self.answered = self.called.len();
    }

    fn names(&self) -> Vec<&str> {
        self.called.iter().map(|call| call.hook.as_str()).collect()
    }

    fn east_is_lost(&mut self) -> String {
        self.see(&Seen { east: "xxxxxxxxxxxxxxxxxxxxxxxx", east_counters: LOST, ..Seen::default() })
    }

    /// The controller ends and starts anew with what the journal kept; its windows are full again.
    fn restarts(&mut self) {
        self.note(&Entry::Started { version: "0".to_owned() });
    }
}

const LOST: &str = "xxxxxxxxxxxxxxxxxxxxxxxx";

#[test]
fn each_hook_is_asked_in_its_turn_then_traffic_moves_and_it_is_told() {
    let mut picture = hooked();
    let plain =
        Picture::new(policy(&[])).see(&Seen { east: LOST, east_counters: LOST, ..Seen::default() });
    let done = picture.east_is_lost();
    // Two hooks, a step each.
    assert_eq!(done.find('S'), plain.find('S').map(|step| step + 2), "{done} {plain}");
    assert_eq!(picture.names(), ["freeze", "demote", "thaw"]);
}

#[test]
fn a_veto_holds_and_is_asked_about_again_with_the_same_key() {
    let mut picture = hooked();
    picture.hooks_say = Some(HookAnswer::Veto);
    let done = picture.east_is_lost();
    assert!(!done.contains('S'), "{done}");
    picture.holds(|hold| matches!(hold, Hold::HookVetoed { hook, .. } if hook == "freeze"));
    let mut keys: Vec<&str> = picture.called.iter().map(|call| call.key.as_str()).collect();
    keys.dedup();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let attempts: Vec<u32> = picture.called.iter().map(|call| call.attempt).collect();
    let last = u32::try_from(attempts.len()).unwrap();
    assert!(last >= 2 && attempts == (1..=last).collect::<Vec<_>>());
    // A veto is told about, once.
    picture.hooks_say = Some(HookAnswer::Yes);
    assert!(picture.east_is_lost().contains('S'));
}

#[test]
fn while_a_hook_runs_nothing_moves() {
    let mut picture = hooked();
    picture.hooks_say = None;
    let step = picture.east_is_lost();
    assert!(!step.contains('S'), "{step}");
    // One of which nothing is heard counts as failed: `freeze` may fail, the fence may not.
    assert!(!picture.east_is_lost().contains('S'));
    picture.holds(|hold| {
        matches!(hold, Hold::HookAsked { hook, .. } | Hold::HookVetoed { hook, .. } if hook == "demote")
    });
    let mut picture = hooked();
    picture.hooks_say = None;
    picture.see(&Seen { east: "xxxxxxxxxxxxxx", east_counters: LOST, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::HookAsked { hook, .. } if hook == "freeze"));
}

#[test]
fn a_failure_goes_on_only_where_the_policy_says_so() {
    let mut picture = hooked();
    picture.hooks_say = Some(HookAnswer::Failed);
    assert!(!picture.east_is_lost().contains('S'));
    // `freeze` may fail; `demote` keeps two regions from writing at once and may not.
    picture.holds(|hold| matches!(hold, Hold::HookVetoed { hook, .. } if hook == "demote"));
}

#[test]
fn a_hook_that_was_cut_off_by_a_restart_counts_as_failed_and_is_not_run_for_another_move() {
    let mut picture = hooked();
    picture.hooks_say = None;
    assert!(
        !picture
            .see(&Seen { east: "xxxxxxxxxxxxxx", east_counters: LOST, ..Seen::default() })
            .contains('S')
    );
    assert_eq!(picture.names(), ["freeze"]);
    picture.restarts();
    picture.answered = picture.called.len();
    picture.hooks_say = Some(HookAnswer::Yes);
    assert!(picture.east_is_lost().contains('S'));
    // `freeze` may fail, so it was not run a second time.
    assert_eq!(picture.names(), ["freeze", "demote", "thaw"]);
}

#[test]
fn an_old_yes_is_asked_for_again() {
    let mut picture = hooked();
    picture.see(&Seen { east: "xxxxxxxxxxxxx", east_counters: LOST, ..Seen::default() });
    picture.note(&Entry::Pinned(Pin {
        by: "ana".to_owned(),
        reason: "look first".to_owned(),
        since: Timestamp::from_secs(picture.now),
        until: None,
    }));
    let begun = picture.called.iter().filter(|call| call.hook == "freeze").count();
    for _ in 0..4 {
        assert!(!picture.east_is_lost().contains('S'));
    }
    picture.note(&Entry::Unpinned { by: "ana".to_owned() });
    picture.east_is_lost();
    let asked = picture.called.iter().filter(|call| call.hook == "freeze").count();
    assert_eq!((begun, asked), (1, 2));
}

fn deployed_everywhere(picture: &mut Picture) {
    let at = Timestamp::from_secs(picture.now);
    let what = Happening::Deploy {
        regions: ["east", "west"].iter().map(|name| name.parse().unwrap()).collect(),
        version: "v7".to_owned(),
        scope: "all".to_owned(),
    };
    picture.decide(Vec::new(), vec![Event { at, heard_at: at, what }]);
}

fn broken_everywhere(picture: &mut Picture) -> String {
    let broken = "~~~~~~~~~~~~~~~~~~~~~~~~";
    picture.see(&Seen {
        east: broken,
        west: broken,
        east_counters: LOST,
        west_counters: LOST,
        ..Seen::default()
    })
}

#[test]
fn a_change_that_broke_everything_is_undone_once() {
    let mut picture = hooked();
    deployed_everywhere(&mut picture);
    assert!(!broken_everywhere(&mut picture).contains('S'));
    assert!(!broken_everywhere(&mut picture).contains('S'));
    assert_eq!(picture.names(), ["undo"]);
    assert_eq!(picture.called[0].version.as_deref(), Some("v7"));
}

#[test]
fn nothing_is_undone_without_a_change_to_undo() {
    let mut picture = hooked();
    broken_everywhere(&mut picture);
    assert!(picture.names().is_empty());
}

#[test]
fn a_pin_and_a_watching_mode_keep_the_hook_from_undoing() {
    let mut picture = hooked();
    picture.policy.mode = Mode::Advise;
    deployed_everywhere(&mut picture);
    broken_everywhere(&mut picture);
    assert!(picture.names().is_empty());
    picture.holds(|hold| matches!(hold, Hold::ModeObserves { .. }));
    let mut picture = hooked();
    picture.note(&Entry::Pinned(Pin {
        by: "ana".to_owned(),
        reason: "look first".to_owned(),
        since: Timestamp::from_secs(picture.now),
        until: None,
    }));
    deployed_everywhere(&mut picture);
    broken_everywhere(&mut picture);
    assert!(picture.names().is_empty());
}
