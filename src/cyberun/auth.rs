//! The kinds of Cyberun credentials, told apart before any of them is sent anywhere.
//!
//! A credential that cannot work is refused here, without a call: an agent key, a JWT without a team, and
//! above all a Kubernetes service-account token, which is never sent to anyone.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::redact::{Secret, bare};

/// A credential that may be sent to the Cyberun API.
#[derive(Clone, Debug)]
pub struct Credential {
    token: Secret,
    team: Option<String>,
}

/// Why a credential is not sent.
#[derive(Debug, Error, Eq, PartialEq)]
pub enum Invalid {
    /// Nothing but white space.
    #[error("the credential is empty; put an sk- or dk- key there")]
    Empty,
    /// A credential in something that does not belong to it.
    #[error("the credential is {0}; put the sk- or dk- key there as it is")]
    Wrapped(&'static str),
    /// Not one word of visible ASCII.
    #[error("the credential holds white space or characters that no Cyberun credential has; paste it again")]
    Characters,
    /// An `ak-` key.
    #[error("an ak- agent key cannot upload files; use an sk- integration key or a dk- device key")]
    AgentKey,
    /// A token that Kubernetes issued.
    #[error(
        "this is a Kubernetes service-account token, not a Cyberun credential, and is never sent; use an sk- or dk- key"
    )]
    ServiceAccountToken,
    /// Begins like a JWT, but cannot be read as one.
    #[error("the credential begins like a JWT but cannot be read as one; paste it again, or use an sk- or dk- key")]
    UnreadableJwt,
    /// A user's JWT, and no team.
    #[error("a user JWT needs the team's id: set CYBERUN_TEAM_ID beside it, or use an sk- or dk- key")]
    MissingTeam,
    /// The team id cannot be a header value.
    #[error("CYBERUN_TEAM_ID holds characters that no team id has; paste it again")]
    TeamCharacters,
    /// None of the known kinds.
    #[error("this does not look like a Cyberun credential; those begin with sk-, dk- or eyJ (a user JWT)")]
    Unknown,
}

impl Credential {
    /// Tells the kind of `token` and checks that it can be used, with `team` for a user JWT.
    ///
    /// The team is dropped for `sk-` and `dk-` keys: Cyberun takes it from the key.
    pub fn parse(token: Secret, team: Option<&str>) -> Result<Self, Invalid> {
        let text = token.expose_secret();
        if text.is_empty() {
            return Err(Invalid::Empty);
        }
        if let Some(wrapping) = wrapping(text) {
            return Err(Invalid::Wrapped(wrapping));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid::Characters);
        }
        let team = match text {
            _ if text.starts_with("sk-") || text.starts_with("dk-") => None,
            _ if text.starts_with("ak-") => return Err(Invalid::AgentKey),
            _ if text.starts_with("eyJ") => Some(team_of_jwt(text, team)?),
            _ => return Err(Invalid::Unknown),
        };
        Ok(Self { token, team })
    }

    /// Stands for the team at the API of this URL, and tells neither: keys of another one are not its own.
    pub fn owner(&self, api_url: &str) -> String {
        let who = self.team.as_deref().unwrap_or(self.token.expose_secret());
        let digest = Sha256::digest(format!("{}\n{who}", api_url.trim()));
        URL_SAFE_NO_PAD.encode(&digest[..8])
    }

    /// The `Authorization` header, marked sensitive; `None` never happens for a parsed credential.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.token.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The team to name in `X-Team-ID`, for a user JWT.
    pub(super) fn team(&self) -> Option<&str> {
        self.team.as_deref()
    }

    /// `text` without this credential, should the other side have echoed it.
    pub(super) fn scrub(&self, text: &str) -> String {
        text.replace(self.token.expose_secret(), "…")
    }
}

/// What a credential is in, if that is how it came into its Secret or variable.
fn wrapping(text: &str) -> Option<&'static str> {
    let is_credential = |text: &str| ["sk-", "dk-", "ak-", "eyJ"].iter().any(|prefix| bare(text).starts_with(prefix));
    let quotes = ['"', '\''];
    let after =
        |separator| text.split_once(separator).map(|(before, rest): (&str, &str)| (before, rest.trim_matches(quotes)));
    let decoded = || {
        let encoded: String = text.split_ascii_whitespace().collect();
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    };
    match () {
        () if is_credential(text) => None,
        () if is_credential(text.trim_matches(quotes)) => Some("in quotes"),
        () if after('=').is_some_and(|(_, rest)| is_credential(rest)) => Some("behind the name of its variable"),
        () if after(' ').is_some_and(|(scheme, rest)| scheme.eq_ignore_ascii_case("bearer") && is_credential(rest)) => {
            Some("behind the word Bearer")
        }
        () if decoded().is_some_and(|text| is_credential(&text)) => {
            Some("encoded in base64, once more than Kubernetes encodes a Secret itself")
        }
        () => None,
    }
}

fn team_of_jwt(token: &str, team: Option<&str>) -> Result<String, Invalid> {
    let claims = claims(token).ok_or(Invalid::UnreadableJwt)?;
    if issued_by_kubernetes(&claims) {
        return Err(Invalid::ServiceAccountToken);
    }
    let team = team.map(bare).filter(|team| !team.is_empty()).ok_or(Invalid::MissingTeam)?;
    if team.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(team.to_owned()) } else { Err(Invalid::TeamCharacters) }
}

fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

/// Every service-account token has such a subject, with any issuer.
fn issued_by_kubernetes(claims: &Value) -> bool {
    let text = |claim| claims[claim].as_str().unwrap_or_default();
    text("sub").starts_with("system:serviceaccount:")
        || text("iss").starts_with("kubernetes/")
        || text("iss").starts_with("https://kubernetes.default")
        || claims.as_object().is_some_and(|claims| claims.keys().any(|claim| claim.starts_with("kubernetes.io")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn parse(token: &str, team: Option<&str>) -> Result<Option<String>, Invalid> {
        Credential::parse(Secret::new(token), team).map(|credential| credential.team)
    }

    #[test]
    fn keys_need_no_team_and_drop_one() {
        assert_eq!(parse("sk-1234", None), Ok(None));
        assert_eq!(parse("  dk-1234\n", Some("team")), Ok(None));
    }

    #[test]
    fn a_user_jwt_needs_a_team() {
        let user = jwt(r#"{"iss":"https://id.example.com","sub":"u1"}"#);
        assert_eq!(parse(&user, Some("\u{feff}team_01 ")), Ok(Some("team_01".to_owned())));
        assert_eq!(parse(&user, None), Err(Invalid::MissingTeam));
        assert_eq!(parse(&user, Some(" ")), Err(Invalid::MissingTeam));
        assert_eq!(parse(&user, Some("a b")), Err(Invalid::TeamCharacters));
    }

    #[test]
    fn a_service_account_token_is_known_whoever_issued_it() {
        for claims in [
            r#"{"iss":"https://oidc.eks.eu-west-1.amazonaws.com/id/X","sub":"system:serviceaccount:a:b"}"#,
            r#"{"iss":"kubernetes/serviceaccount","sub":"x"}"#,
            r#"{"iss":"https://kubernetes.default.svc.cluster.local","sub":"x"}"#,
            r#"{"iss":"https://id.example.com","kubernetes.io":{"namespace":"a"}}"#,
        ] {
            assert_eq!(parse(&jwt(claims), Some("team")), Err(Invalid::ServiceAccountToken), "{claims}");
        }
    }

    #[test]
    fn what_cannot_work_is_told_apart() {
        assert_eq!(parse(" \n", None), Err(Invalid::Empty));
        assert_eq!(parse("sk-12 34", None), Err(Invalid::Characters));
        assert_eq!(parse("sk-ключ", None), Err(Invalid::Characters));
        assert_eq!(parse("ak-1234", None), Err(Invalid::AgentKey));
        assert_eq!(parse("hunter2", None), Err(Invalid::Unknown));
        assert_eq!(parse("eyJhbGciOi", Some("team")), Err(Invalid::UnreadableJwt));
        assert_eq!(parse("eyJhbGciOi.%%%.x", Some("team")), Err(Invalid::UnreadableJwt));
    }

    /// 1Password/connect#62, cluster-api-provider-vsphere#476: encoded once too often.
    #[test]
    fn a_credential_in_a_wrapping_is_refused_with_its_name() {
        let user = jwt(r#"{"iss":"https://id.example.com","sub":"u1"}"#);
        for (token, named) in [
            ("\"sk-1234\"", "in quotes"),
            ("'dk-1234'", "in quotes"),
            ("CYBERUN_API_KEY=sk-1234", "behind the name of its variable"),
            ("export CYBERUN_API_KEY=\"sk-1234\"", "behind the name of its variable"),
            ("Bearer sk-1234", "behind the word Bearer"),
            (&STANDARD.encode("sk-1234\n"), "encoded in base64"),
            (&STANDARD.encode(user), "encoded in base64"),
            ("c2st\nMTIzNA==", "encoded in base64"),
        ] {
            let Err(refusal) = parse(token, Some("team")) else { unreachable!("{token} is taken") };
            assert!(matches!(refusal, Invalid::Wrapped(name) if name.starts_with(named)), "{token}: {refusal}");
            assert!(!refusal.to_string().contains("1234"), "{refusal}");
        }
        assert_eq!(parse(&STANDARD.encode("hunter2"), None), Err(Invalid::Unknown));
        assert_eq!(parse("sk-a=b'", None), Ok(None), "as it is");
    }

    #[test]
    fn an_echoed_token_is_scrubbed() {
        let credential = Credential::parse(Secret::new("sk-1234"), None).unwrap();
        assert_eq!(credential.scrub("bad key 'sk-1234'"), "bad key '…'");
        assert!(!format!("{credential:?}").contains("sk-1234"));
    }
}
