//! Which calls meet a fault, and the queue of those to come.
//!
//! Rules that strike once wait in line per step and go before those that always strike; one call meets at most one
//! fault. A [`Rule`] can name a file or a credential, so that concurrent tests on one stub stay apart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::credentials::Credential;
use crate::faults::{Act, Fault};
use crate::hold::Hold;
use crate::record::Step;

/// Which calls a fault befalls.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The step.
    pub step: Step,
    /// What happens.
    pub fault: Fault,
    /// Only calls for this file name.
    #[serde(default)]
    pub file_name: Option<String>,
    /// Only calls made with the credential of this label; a put counts as its presign's.
    #[serde(default)]
    pub credential: Option<String>,
    /// Every such call, not only the next one.
    #[serde(default)]
    pub always: bool,
}

impl Rule {
    /// The next call of this step.
    pub fn once(step: Step, fault: impl Into<Fault>) -> Self {
        Self { step, fault: fault.into(), file_name: None, credential: None, always: false }
    }

    /// Every call of this step.
    pub fn always(step: Step, fault: impl Into<Fault>) -> Self {
        Self { always: true, ..Self::once(step, fault) }
    }

    /// Only those for this file name.
    #[must_use]
    pub fn for_file(self, file_name: &str) -> Self {
        Self { file_name: Some(file_name.into()), ..self }
    }

    /// Only those made with this credential.
    #[must_use]
    pub fn for_credential(self, credential: &Credential) -> Self {
        Self { credential: Some(credential.label().into()), ..self }
    }

    fn strikes(&self, step: Step, file_name: Option<&str>, credential: Option<&str>) -> bool {
        let matches = |wanted: &Option<String>, got| wanted.is_none() || wanted.as_deref() == got;
        self.step == step && matches(&self.file_name, file_name) && matches(&self.credential, credential)
    }
}

/// The rules of one stub.
#[derive(Default)]
pub(crate) struct Faults {
    armed: Mutex<Vec<Rule>>,
    holds: Mutex<HashMap<String, Hold>>,
}

impl Faults {
    pub(crate) fn arm(&self, rule: Rule) {
        if let Act::Hold { hold } = &rule.fault.act {
            lock(&self.holds).insert(hold.name().into(), hold.clone());
        }
        lock(&self.armed).push(rule);
    }

    pub(crate) fn clear(&self) {
        lock(&self.armed).clear();
    }

    pub(crate) fn armed(&self) -> Vec<Rule> {
        lock(&self.armed).clone()
    }

    /// Opens the hold of this name; false if there is none.
    pub(crate) fn release(&self, hold: &str) -> bool {
        lock(&self.holds).get(hold).map(Hold::release).is_some()
    }

    pub(crate) fn take(&self, step: Step, file_name: Option<&str>, credential: Option<&str>) -> Option<Fault> {
        let mut armed = lock(&self.armed);
        let strikes = |rule: &Rule| rule.strikes(step, file_name, credential);
        if let Some(first) = armed.iter().position(|rule| !rule.always && strikes(rule)) {
            return Some(armed.remove(first).fault);
        }
        armed.iter().find(|rule| strikes(rule)).map(|rule| rule.fault.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
