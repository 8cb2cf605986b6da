//! What cannot be tried here: said in one line that no test runner swallows, and a failure with CI=true.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use anyhow::ensure;

use crate::cluster::in_ci;

/// Says, once, what is not tried and why; an error with CI=true, where nothing may be left out.
pub fn not_tried(what: &str) -> anyhow::Result<()> {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    ensure!(!in_ci(), "not tried: {what}; with CI=true that is a failure");
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned()) {
        // Not by a macro: the test runner would keep it to itself.
        writeln!(std::io::stderr(), "not tried: {what}")?;
    }
    Ok(())
}
