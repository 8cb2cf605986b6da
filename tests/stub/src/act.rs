//! Carries out the fault that befalls a call.
//!
//! The two handlers call [`Script::reach`] at each moment of their road and ask the few questions that concern the
//! whole call. Without a fault every one of these does nothing.

use std::time::Duration;

use crate::answer::{self, Exit};
use crate::faults::{Act, Defect, Fault, Field, Moment};
use crate::wire::Line;

const PROCESSING: &str = "HTTP/1.1 102 Processing\r\n\r\n";

/// The fault of one call, or none.
pub(crate) struct Script {
    fault: Option<Fault>,
    line: Option<Line>,
}

impl Script {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self { fault, line: None }
    }

    /// The same for acts on this connection too.
    pub(crate) fn on(self, line: &Line) -> Self {
        Self { line: Some(line.clone()), ..self }
    }

    pub(crate) fn describe(&self) -> Option<String> {
        self.fault.as_ref().map(|fault| format!("{fault:?}"))
    }

    /// Acts if the fault is for this moment.
    pub(crate) async fn reach(&self, moment: Moment) -> Result<(), Exit> {
        match &self.fault {
            Some(fault) if fault.at == moment => perform(&fault.act, self.line.as_ref()).await,
            _ => Ok(()),
        }
    }

    /// The moment within the body at which to call [`Script::reach`], as a count of bytes.
    pub(crate) fn body_mark(&self) -> Option<u64> {
        match self.fault.as_ref()?.at {
            Moment::Body(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn bytes_per_second(&self) -> Option<u64> {
        match self.fault.as_ref()?.act {
            Act::Slow { bytes_per_second } => Some(bytes_per_second),
            _ => None,
        }
    }

    pub(crate) fn expired_url(&self) -> bool {
        matches!(&self.fault, Some(Fault { act: Act::ExpiredUrl, .. }))
    }

    pub(crate) fn refuse_expect(&self) -> bool {
        matches!(&self.fault, Some(Fault { act: Act::RefuseExpect, .. }))
    }

    pub(crate) fn no_continue(&self) -> bool {
        matches!(&self.fault, Some(Fault { act: Act::NoContinue, .. }))
    }

    pub(crate) fn defect(&self) -> Option<(Field, Defect)> {
        match self.fault.as_ref()?.act {
            Act::Field { field, defect } => Some((field, defect)),
            _ => None,
        }
    }
}

async fn perform(act: &Act, line: Option<&Line>) -> Result<(), Exit> {
    match act {
        Act::Answer(made_up) => {
            let reply = answer::made_up(made_up);
            Err(match made_up.bytes_per_second {
                Some(rate) => answer::throttled(reply, rate).await.into(),
                None => reply.into(),
            })
        }
        Act::Reset => Err(Exit::Reset),
        Act::Stall => std::future::pending().await,
        Act::Hold { hold } => {
            hold.pass().await;
            Ok(())
        }
        Act::Delay { millis } => {
            // What the script asks for.
            tokio::time::sleep(Duration::from_millis(*millis)).await;
            Ok(())
        }
        Act::Informational { answers } => {
            if let Some(line) = line {
                line.say(&PROCESSING.repeat(usize::try_from(*answers).unwrap_or(0))).await;
            }
            Ok(())
        }
        Act::HalfClose => {
            if let Some(line) = line {
                line.say_no_more().await;
            }
            std::future::pending().await
        }
        Act::Slow { .. } | Act::ExpiredUrl | Act::Field { .. } | Act::RefuseExpect | Act::NoContinue => Ok(()),
    }
}
