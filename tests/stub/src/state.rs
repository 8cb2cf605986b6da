//! What both servers of one stub share.

use std::sync::Arc;

use crate::credentials::Credentials;
use crate::options::Options;
use crate::record::Record;
use crate::rules::Faults;
use crate::signature::Verifier;
use crate::tickets::Desk;

pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) credentials: Credentials,
    pub(crate) faults: Faults,
    pub(crate) record: Arc<Record>,
    pub(crate) desk: Desk,
    pub(crate) verifier: Verifier,
}
