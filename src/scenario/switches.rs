//! Gates and routing controls of a case: they stand as they were turned, unless the case says otherwise.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::domain::{InAnswers, RegionName, Turn};
use crate::ports::{CallFailed, Followed, Switches};

/// What is wrong with them at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Trouble {
    #[default]
    None,
    /// Every call fails, and nothing happens.
    Fails,
    /// They are turned, and what looks at them does not follow.
    WithoutEffect,
}

#[derive(Debug, Default)]
pub(super) struct Switchable(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    trouble: Trouble,
    standing: BTreeMap<RegionName, InAnswers>,
}

impl Switchable {
    /// One for each of these regions, all of them open.
    pub(super) fn of<'a>(regions: impl Iterator<Item = &'a RegionName>) -> Self {
        let standing = regions.map(|region| (region.clone(), InAnswers::In)).collect();
        Self(Mutex::new(State { trouble: Trouble::None, standing }))
    }

    pub(super) fn set(&self, trouble: Trouble) {
        self.lock().trouble = trouble;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn call(&self) -> Result<(), CallFailed> {
        match self.trouble {
            Trouble::Fails => Err(CallFailed::Unknown { why: "no answer".to_owned() }),
            Trouble::None | Trouble::WithoutEffect => Ok(()),
        }
    }
}

#[async_trait]
impl Switches for Switchable {
    async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed> {
        let mut state = self.lock();
        state.call()?;
        state.standing.extend(turns.iter().map(|turn| (turn.region.clone(), turn.to)));
        Ok(())
    }

    async fn standing(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        let state = self.lock();
        state.call()?;
        Ok(state.standing.clone())
    }

    async fn followed(&self, _turns: &[Turn]) -> Result<Followed, CallFailed> {
        let state = self.lock();
        state.call()?;
        Ok(match state.trouble {
            Trouble::None | Trouble::Fails => Followed::Yes,
            Trouble::WithoutEffect => Followed::NotYet,
        })
    }
}
