//! `docs/reasons.md`: every reason by class, with its meaning, cause and fix.

use std::fmt::Write;

use super::cell;
use crate::reason::{Class, Reason};

const HEAD: &str = "# Reasons

A reason is one word that says why a file or a `FileUpload` is in its state. Conditions (`kubectl get fu`),
`status.files[].reason`, events, metrics and the output of `fileupload upload` use the same words. `fileupload explain
REASON` prints one of these sections. `fileupload explain -n NAMESPACE NAME` says what a resource is waiting for. The
class of a reason alone decides when the operator looks again.

";

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    page += "| reason | class | meaning |\n|---|---|---|\n";
    for reason in Reason::ALL {
        let (anchor, class) = (reason.as_str().to_lowercase(), reason.class());
        let _ = writeln!(page, "| [{reason}](#{anchor}) | {class} | {} |", cell(reason.meaning()));
    }
    for class in Class::ALL {
        let _ = write!(page, "\n## {class}\n\n{} {}\n", class.meaning(), class.again());
        for reason in Reason::ALL.iter().filter(|reason| reason.class() == class) {
            section(&mut page, *reason);
        }
    }
    page
}

fn section(page: &mut String, reason: Reason) {
    let (class, scope) = (reason.class(), reason.scope());
    let _ = write!(page, "\n### {reason}\n\n{}\n\n", reason.meaning());
    let _ = writeln!(page, "- **Cause**: {}\n- **Fix**: {}", reason.cause(), reason.fix());
    if reason.next() != class.again() {
        let _ = writeln!(page, "- **Next**: {}", reason.next());
    }
    let _ = writeln!(page, "- **Class**: {class}. **Scope**: {scope:?}. {}", scope.meaning());
}
