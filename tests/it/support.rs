//! What the tests of this folder share. It says nothing of what ought to happen: that is a test's.
//!
//! It is beside the tests, since it uses the crate under test; `tests/support` never does.

pub(crate) mod beside;
pub(crate) mod files;
pub(crate) mod frames;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod sender;
pub(crate) mod thread;
pub(crate) mod tree;
pub(crate) mod volume;
pub(crate) mod watch;
pub(crate) mod weed;
pub(crate) mod work;
