//! What an answer of the storage means: S3's error code is judged first, the status second.
//!
//! | what follows | codes, or where the code is not known the status |
//! |---|---|
//! | second ticket: this URL will not do, another may | signatures and credentials that ended; 401, 403, 412 |
//! | same URL once more: it failed on the way | `InternalError`, `RequestTimeout`, `IncompleteBody`, ...; 408, 5xx |
//! | later: it asks to wait | `SlowDown`, `Busy`, `OperationAborted`, ...; 409, 429, and `Retry-After` instead of the row above |
//! | too large | `EntityTooLarge` and its like; 413 |
//! | never: refused in the words of the cause | `NotImplemented`, `NoSuchBucket`, ...; 501, 507, 3xx and all the rest |
//!
//! It decides nothing else: the tickets and the tries are counted in [`crate::delivery`].
#![doc = include_str!("answer/codes.md")]

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use super::Error;
use crate::redact::quote;

/// A storage server's answer: its status and S3's code and message.
#[derive(Debug)]
pub struct Said {
    pub(super) status: StatusCode,
    code: String,
    message: String,
    /// The header or argument that it finds fault with.
    about: String,
}

/// What follows from an answer.
#[derive(Clone, Copy)]
enum Verdict {
    SecondTicket,
    SameUrl,
    Later,
    TooLarge,
    Never(&'static str),
}

use Verdict::{Later, Never, SameUrl, SecondTicket, TooLarge};

const UNEXPECTED: &str = "the storage gave an answer that no upload expects";
const UNCONDITIONAL: &str = "the storage does not know conditional writes (If-None-Match)";
const UNKNOWN: &str = "the storage does not know something that the upload asks of it";
const NO_BUCKET: &str = "the storage has no such bucket";
const ELSEWHERE: &str =
    "the storage sends uploads to another address, which is not followed: the URL was signed for this one";
const BLOCKED: &str = "the storage has blocked the bucket or its owner's account";
const NETWORK: &str = "the storage takes no uploads from this network";
const SIGNING: &str = "the storage does not accept the way in which the URL is signed";
const LONG_KEY: &str = "the storage does not take a key of this length: shorten the file's name";
const FULL: &str = "the storage is full";
const ENCRYPTION: &str = "the storage cannot use the encryption key of its bucket";

/// The codes for which the status alone would say something else, or nothing that helps. Those of Ceph (`QuotaExceeded`)
/// and of `MinIO` (the longer `SlowDown`s, `XMinioStorageFull`) are among them.
const KNOWN: &[(Verdict, &str)] = &[
    (SecondTicket, "AccessDenied, InvalidAccessKeyId, InvalidSecurity, MissingAuthenticationToken, PreconditionFailed"),
    (SecondTicket, "ExpiredToken, InvalidSessionException, InvalidToken, TokenRefreshRequired"),
    (SecondTicket, "InvalidSignature, RequestTimeTooSkewed, SignatureDoesNotMatch"),
    (SameUrl, "InternalError, ServiceUnavailable, RequestTimeout, IncompleteBody, BadDigest"),
    (SameUrl, "ConnectionClosedByRequester, ResponseInterrupted"),
    (Later, "SlowDown, 503 SlowDown, SlowDownRead, SlowDownWrite, Busy, OperationAborted, ConditionalRequestConflict"),
    (TooLarge, "EntityTooLarge, InlineDataTooLarge, MaxMessageLengthExceeded"),
    (Never(UNKNOWN), "NotImplemented"),
    (Never(NO_BUCKET), "NoSuchBucket, InvalidBucketName"),
    (Never(ELSEWHERE), "PermanentRedirect, PermanentRedirectControlError, Redirect, TemporaryRedirect"),
    (Never(ELSEWHERE), "EndpointNotFound, IllegalLocationConstraintException, IncorrectEndpoint"),
    (Never(BLOCKED), "AccountProblem, AllAccessDisabled, InvalidPayer, NotSignedUp"),
    (Never(BLOCKED), "UnauthorizedAccess, UnauthorizedAccessError"),
    (Never(NETWORK), "UnexpectedIPError"),
    (Never(SIGNING), "AuthorizationHeaderMalformed, AuthorizationQueryParametersError"),
    (Never(SIGNING), "CredentialsNotSupported, UnsupportedSignature"),
    (Never(LONG_KEY), "KeyTooLongError"),
    (Never(FULL), "InsufficientCapacity, QuotaExceeded, XMinioStorageFull"),
    (Never(ENCRYPTION), "KMS.DisabledException, KMS.InvalidKeyUsageException, KMS.KMSInvalidStateException"),
    (Never(ENCRYPTION), "KMS.NotFoundException"),
    (Never(UNEXPECTED), "InvalidBucketState, InvalidObjectState, RequestIsNotMultiPartContent"),
];

impl Said {
    /// 412: an object is already there.
    pub fn is_precondition_failed(&self) -> bool {
        self.status == StatusCode::PRECONDITION_FAILED || self.code == "PreconditionFailed"
    }

    pub(super) fn read(status: StatusCode, body: &str) -> Self {
        let tag = |name: &str| -> String {
            let inner =
                body.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
            quote(inner.map_or("", |(text, _)| text))
        };
        let about = format!("{} {}", tag("Header"), tag("ArgumentName"));
        Self { status, code: tag("Code"), message: tag("Message"), about }
    }

    /// The answer as an error; `whole` is the SHA-256 of the body, if all of it had been sent by then.
    pub(super) fn judged(self, whole: Option<[u8; 32]>, retry_after: Option<Duration>) -> Error {
        match self.verdict() {
            SecondTicket => Error::Refused(self),
            SameUrl if retry_after.is_none() => {
                Error::Unavailable { what: format!("the storage is unavailable ({self})"), whole }
            }
            Later | SameUrl => Error::Busy { said: self, retry_after },
            TooLarge => Error::TooLarge(self),
            Never(_) if self.is_about_the_condition() => Error::Never { why: UNCONDITIONAL, said: self },
            Never(why) => Error::Never { why, said: self },
        }
    }

    fn verdict(&self) -> Verdict {
        let known = KNOWN.iter().find(|(_, codes)| codes.split(", ").any(|code| code == self.code));
        known.map_or_else(|| self.verdict_of_status(), |(verdict, _)| *verdict)
    }

    fn verdict_of_status(&self) -> Verdict {
        match self.status.as_u16() {
            401 | 403 | 412 => SecondTicket,
            409 | 429 => Later,
            413 => TooLarge,
            501 => Never(UNKNOWN),
            507 => Never(FULL),
            408 | 500..=599 => SameUrl,
            300..=399 => Never(ELSEWHERE),
            _ => Never(UNEXPECTED),
        }
    }

    fn is_about_the_condition(&self) -> bool {
        [&self.about, &self.message].iter().any(|text| text.to_ascii_lowercase().contains("if-none-match"))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.status.as_u16())?;
        let texts: Vec<&str> =
            [&self.code, &self.message].into_iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        if texts.is_empty() { Ok(()) } else { write!(formatter, ": {}", texts.join(": ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str, retry_after: Option<u64>) -> Error {
        let said = Said::read(StatusCode::from_u16(status).unwrap(), body);
        said.judged(None, retry_after.map(Duration::from_secs))
    }

    fn xml(code: &str, rest: &str) -> String {
        format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code>{rest}</Error>")
    }

    #[test]
    fn a_code_that_is_known_outweighs_the_status() {
        assert!(matches!(judged(400, &xml("SlowDown", ""), None), Error::Busy { .. }));
        assert!(matches!(judged(500, &xml("AccessDenied", ""), None), Error::Refused(_)));
        assert!(matches!(judged(403, &xml("QuotaExceeded", ""), None), Error::Never { why: FULL, .. }));
        assert!(matches!(judged(403, &xml("Unheard", ""), None), Error::Refused(_)));
        assert!(matches!(judged(404, "<html>no such page</html>", None), Error::Never { why: UNEXPECTED, .. }));
    }

    #[test]
    fn a_wait_that_is_asked_for_goes_before_a_second_try_but_not_before_a_refusal() {
        for status in [408, 500, 502, 503, 504] {
            assert!(matches!(judged(status, "", None), Error::Unavailable { .. }), "{status}");
            assert!(matches!(judged(status, "", Some(7)), Error::Busy { retry_after: Some(_), .. }), "{status}");
        }
        assert!(matches!(judged(501, "", Some(7)), Error::Never { .. }));
        assert!(matches!(judged(412, "", Some(7)), Error::Refused(_)));
    }

    #[test]
    fn a_store_without_conditional_writes_is_known_wherever_it_names_the_header() {
        for (status, body) in [
            (
                501,
                xml("NotImplemented", "<Message>A header is not implemented</Message><Header>If-None-Match</Header>"),
            ),
            (400, xml("InvalidArgument", "<ArgumentName>If-None-Match</ArgumentName>")),
            (400, xml("InvalidRequest", "<Message>the if-none-match header is not supported</Message>")),
        ] {
            assert!(matches!(judged(status, &body, None), Error::Never { why: UNCONDITIONAL, .. }), "{body}");
        }
        // That is what a conditional write is for.
        let failed = xml("PreconditionFailed", "<Condition>If-None-Match</Condition>");
        assert!(matches!(judged(412, &failed, None), Error::Refused(said) if said.is_precondition_failed()));
    }
}
