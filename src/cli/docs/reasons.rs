//! `docs/reasons.md`: every reason by its class, with what it means, how it comes about and what to do.

use std::fmt::Write;

use super::cell;
use crate::reason::{Class, Reason};

const HEAD: &str = "# Reasons

Why a file or a whole `FileUpload` stands as it does is one word, the same in conditions (`kubectl get fu`), in
`status.files[].reason`, in events, in metrics and in what `fileupload upload` prints. `fileupload explain REASON` prints
one of these sections, and `fileupload explain -n NAMESPACE NAME` tells what a resource is waiting for. The class of a
reason alone decides when it is looked at again.

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
    let _ = writeln!(page, "- **Class**: {class}. **Scope**: {scope:?}. {}", scope.meaning());
}
