//! A gate in the road of a call, so that a test can act while the call stands at a named moment.
//!
//! Whoever arms a fault with a [`Hold`] waits for [`Hold::reached`], does its deed (kills the client, revokes the
//! token) and calls [`Hold::release`]. A released hold never closes again, and a hold never times out by itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A named gate; clones are the same gate.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Hold {
    name: Arc<str>,
    gate: Arc<watch::Sender<Gate>>,
}

#[derive(Default)]
struct Gate {
    arrived: usize,
    open: bool,
}

impl Hold {
    /// A closed gate; the name is how the control API releases it.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), gate: Arc::new(watch::Sender::new(Gate::default())) }
    }

    /// The name given to [`Hold::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets every call through, those to come as well.
    pub fn release(&self) {
        self.gate.send_modify(|gate| gate.open = true);
    }

    /// Waits until a call stands at the gate; an error once `deadline` has passed.
    pub async fn reached(&self, deadline: Duration) -> anyhow::Result<()> {
        let mut gate = self.gate.subscribe();
        let arrival = gate.wait_for(|gate| gate.arrived > 0);
        tokio::time::timeout(deadline, arrival)
            .await
            .with_context(|| format!("no call reached hold {:?} within {deadline:?}", self.name))??;
        Ok(())
    }

    pub(crate) async fn pass(&self) {
        self.gate.send_modify(|gate| gate.arrived += 1);
        // The sender lives in `self`, so the wait can only end by the gate opening.
        let _ = self.gate.subscribe().wait_for(|gate| gate.open).await;
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.name).finish()
    }
}

impl From<String> for Hold {
    fn from(name: String) -> Self {
        Self::new(&name)
    }
}

impl From<Hold> for String {
    fn from(hold: Hold) -> Self {
        hold.name.to_string()
    }
}
