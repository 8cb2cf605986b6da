//! Who may call, and the answer to those who may not.
//!
//! Holds the tokens a stub accepts and their standing. A token leaves this module only through
//! [`Credential::token`]; everywhere else a credential goes by its label. What the documentation leaves open is
//! settled here on the strict side: an `ak-` key is refused, and a JWT must name its own team.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The sorts of token Cyberun knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `sk-`: belongs to a team.
    Integration,
    /// `dk-`: belongs to a user and a team.
    Device,
    /// `ak-`: for agents, never for uploads.
    Agent,
    /// `eyJ...`: a user's session, which needs `X-Team-ID`.
    User,
}

impl Kind {
    /// Every kind, in the order in which a new stub mints one of each.
    pub const ALL: [Self; 4] = [Self::Integration, Self::Device, Self::Agent, Self::User];

    fn of(token: &str) -> Option<Self> {
        let prefixes = [("sk-", Self::Integration), ("dk-", Self::Device), ("ak-", Self::Agent), ("eyJ", Self::User)];
        prefixes.into_iter().find(|(prefix, _)| token.starts_with(prefix)).map(|(_, kind)| kind)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Integration => "integration",
            Self::Device => "device",
            Self::Agent => "agent",
            Self::User => "user",
        }
    }
}

/// A token the stub knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    label: String,
    kind: Kind,
    token: String,
    team: Option<String>,
}

impl Credential {
    /// How calls and rules name it: `integration-1`, `user-2`, ...
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The secret itself, for the client under test.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The team a user's token must be sent with in `X-Team-ID`; none if any team will do, or none is needed.
    pub fn team(&self) -> Option<&str> {
        self.team.as_deref()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credential").field(&self.label).finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Valid,
    Expired,
    Revoked,
}

/// Why a caller is turned away.
pub(crate) struct Denied {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

impl Denied {
    fn unauthorized(message: &'static str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, code: "unauthorized", message }
    }

    fn forbidden(message: &'static str) -> Self {
        Self { status: StatusCode::FORBIDDEN, code: "forbidden", message }
    }
}

/// A caller: the label for the record, and the verdict.
pub(crate) struct Caller {
    pub(crate) label: Option<String>,
    pub(crate) verdict: Result<(), Denied>,
}

/// Every credential of one stub.
#[derive(Default)]
pub(crate) struct Credentials(Mutex<Vec<(Credential, Standing)>>);

impl Credentials {
    pub(crate) fn mint(&self, kind: Kind) -> Credential {
        let (token, team) = match kind {
            Kind::Integration => (format!("sk-{:032x}", fastrand::u128(..)), None),
            Kind::Device => (format!("dk-{:032x}", fastrand::u128(..)), None),
            Kind::Agent => (format!("ak-{:032x}", fastrand::u128(..)), None),
            Kind::User => (session_token(), Some(crate::tickets::uuid())),
        };
        self.add(kind, token, team)
    }

    /// Makes a token of somebody else's choice valid.
    pub(crate) fn accept(&self, token: &str) -> anyhow::Result<Credential> {
        let kind = Kind::of(token).ok_or_else(|| anyhow::anyhow!("a token starts with sk-, dk-, ak- or eyJ"))?;
        Ok(self.add(kind, token.to_owned(), None))
    }

    fn add(&self, kind: Kind, token: String, team: Option<String>) -> Credential {
        let mut known = self.known();
        let number = known.iter().filter(|(credential, _)| credential.kind == kind).count() + 1;
        let credential = Credential { label: format!("{}-{number}", kind.name()), kind, token, team };
        known.push((credential.clone(), Standing::Valid));
        credential
    }

    pub(crate) fn first(&self, kind: Kind) -> Option<Credential> {
        self.known().iter().map(|(credential, _)| credential).find(|credential| credential.kind == kind).cloned()
    }

    /// Sets the standing of the credential with this token or label; false if there is none.
    pub(crate) fn set(&self, token_or_label: &str, standing: Standing) -> bool {
        let mut known = self.known();
        let found = known.iter_mut().find(|(found, _)| found.token == token_or_label || found.label == token_or_label);
        found.map(|entry| entry.1 = standing).is_some()
    }

    pub(crate) fn judge(&self, headers: &HeaderMap) -> Caller {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, more) = (values.next(), values.next());
        let Some(value) = value else {
            return Caller { label: None, verdict: Err(Denied::unauthorized("the Authorization header is missing")) };
        };
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let known = self.known();
        let found = known.iter().find(|(credential, _)| more.is_none() && Some(credential.token.as_str()) == token);
        match found {
            Some((credential, standing)) => {
                Caller { label: Some(credential.label.clone()), verdict: allow(credential, *standing, headers) }
            }
            None => Caller {
                label: Some(unknown(token.unwrap_or_default()).into()),
                verdict: Err(Denied::unauthorized("invalid bearer token")),
            },
        }
    }

    fn known(&self) -> MutexGuard<'_, Vec<(Credential, Standing)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn allow(credential: &Credential, standing: Standing, headers: &HeaderMap) -> Result<(), Denied> {
    match standing {
        Standing::Valid => (),
        Standing::Expired => return Err(Denied::unauthorized("the token has expired")),
        Standing::Revoked => return Err(Denied::unauthorized("the token was revoked")),
    }
    match credential.kind {
        Kind::Integration | Kind::Device => Ok(()),
        Kind::Agent => Err(Denied::forbidden("an agent key cannot upload files")),
        Kind::User => {
            let team = headers.get("x-team-id").and_then(|team| team.to_str().ok()).unwrap_or_default();
            let missing = Denied {
                status: StatusCode::BAD_REQUEST,
                code: "team_required",
                message: "X-Team-ID is required with a user token",
            };
            match &credential.team {
                _ if team.trim().is_empty() => Err(missing),
                Some(own) if own != team => Err(Denied::forbidden("the user is not a member of this team")),
                _ => Ok(()),
            }
        }
    }
}

/// What sort of token nobody minted, for the record.
fn unknown(token: &str) -> &'static str {
    match Kind::of(token) {
        Some(Kind::User) if is_kubernetes(token) => "unknown Kubernetes service account",
        Some(Kind::User) => "unknown user",
        Some(Kind::Integration) => "unknown integration",
        Some(Kind::Device) => "unknown device",
        Some(Kind::Agent) => "unknown agent",
        None => "unknown",
    }
}

fn is_kubernetes(token: &str) -> bool {
    let payload = token.split('.').nth(1).and_then(|payload| BASE64_URL_SAFE_NO_PAD.decode(payload).ok());
    let claims: Option<Value> = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
    let text = |claims: &Value, name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    claims.is_some_and(|claims| {
        claims.get("kubernetes.io").is_some()
            || text(&claims, "sub").starts_with("system:serviceaccount:")
            || text(&claims, "iss").contains("kubernetes")
    })
}

/// A token that looks like an access token of an OIDC issuer; nobody ever checks its signature.
fn session_token() -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "RS256", "typ": "JWT"}));
    let expires = crate::clock::now().as_second() + 3600;
    let payload = part(json!({"iss": "https://id.cyberun.invalid", "sub": crate::tickets::uuid(), "exp": expires}));
    format!("{header}.{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(fastrand::u128(..).to_be_bytes()))
}
