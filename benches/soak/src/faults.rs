//! Faults of the API and of storage, each for one call.

use std::time::Duration;

use cyberun_stub::{Fault, Moment, Rule, Step};

/// A fault, and whether the object it befalls may be stored without anybody being told.
pub(crate) fn any() -> (Rule, bool) {
    let step = if fastrand::bool() { Step::Presign } else { Step::Put };
    let moment =
        [Moment::Start, Moment::Accepted, Moment::Body(5), Moment::Received, Moment::Committed][fastrand::usize(..5)];
    // No 412: after a body whose answer was lost it means that storage has the file, and here it would not be true.
    let fault = match fastrand::usize(..8) {
        0 => Fault::status(500),
        1 => Fault::retry_after(503, 1),
        2 => Fault::retry_after(429, 1),
        3 => Fault::html(502),
        // From the API only a person could help.
        4 if step == Step::Put => Fault::status(403),
        5 => Fault::delay(Duration::from_secs(2)),
        6 if step == Step::Presign => Fault::malformed_json(),
        _ => Fault::reset(),
    };
    let is_lost = step == Step::Put && moment == Moment::Committed;
    (Rule::once(step, fault.at(moment)), is_lost)
}
