//! What is wrong with a server's certificate, in words that name the cure.
//!
//! Only the client's own verdict is read here: an outage, a proxy or a server that refuses the client is none. Names in a
//! certificate are text from a stranger and are cut to what a host's name can hold.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// What is wrong with the certificate of the server that was called; `None` if the call failed for another cause.
pub(super) fn fault(error: &(dyn Error + 'static)) -> Option<String> {
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(fault) => Some(words(fault)),
        rustls::Error::NoCertificatesPresented => Some("the server presents no certificate".to_owned()),
        _ => None,
    }
}

/// The TLS error within. An I/O error gives what it holds as its own text, not as its source.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn words(fault: &CertificateError) -> String {
    match fault {
        CertificateError::UnknownIssuer => {
            "the server's certificate comes from an authority that is not trusted: name that authority's PEM file in \
             SSL_CERT_FILE"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: have it renewed, or check the clock here".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: check the clocks".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            other_name(&expected.to_str(), &presented.iter().filter_map(|name| host(name)).collect::<Vec<_>>())
        }
        CertificateError::NotValidForName => "the server's certificate is for another name".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not one for servers (extended key usage serverAuth)".to_owned()
        }
        CertificateError::BadSignature => {
            "the server's certificate is not signed by the authority that it names".to_owned()
        }
        // webpki's other errors come without a type of their own.
        CertificateError::Other(other) => match other.to_string().as_str() {
            "CaUsedAsEndEntity" => {
                "the server presents a CA certificate as its own; have one issued by it (CA:FALSE)".to_owned()
            }
            "UnsupportedCertVersion" => {
                "the server's certificate is older than X.509 version 3; have one with a subjectAltName issued"
                    .to_owned()
            }
            other => unusable(other),
        },
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the server's certificate is signed with an algorithm that is not supported, such as SHA-1".to_owned()
        }
        other => unusable(&other.to_string()),
    }
}

fn unusable(why: &str) -> String {
    format!("the server's certificate cannot be used: {}", super::quote(why))
}

fn other_name(expected: &str, names: &[String]) -> String {
    match names {
        [] => format!(
            "the server's certificate names no host (a common name does not count): have one issued with {expected} in \
             its subjectAltName"
        ),
        [only] => format!("the server's certificate is for {only}, not for {expected}"),
        [first, ..] => {
            format!("the server's certificate is for {first} and {} more, not for {expected}", names.len() - 1)
        }
    }
}

/// The name within `DnsName("…")` or `IpAddress(…)`.
fn host(presented: &str) -> Option<String> {
    let (_, name) = presented.trim_end_matches(')').split_once('(')?;
    let is_host = |c: &char| c.is_ascii_alphanumeric() || ".-_*:".contains(*c);
    Some(name.chars().filter(is_host).take(100).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the connector of an HTTP client wraps it.
    fn wrapped(error: rustls::Error) -> io::Error {
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn a_fault_is_found_within_what_wraps_it() {
        let error = wrapped(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(fault(&error).unwrap().contains("SSL_CERT_FILE"));
        assert_eq!(fault(&wrapped(rustls::Error::HandshakeNotComplete)), None);
        assert_eq!(fault(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }

    #[test]
    fn a_name_of_a_certificate_is_bounded() {
        assert_eq!(host(r#"DnsName("*.a-b.example")"#).unwrap(), "*.a-b.example");
        assert_eq!(host("IpAddress(10.0.0.1)").unwrap(), "10.0.0.1");
        assert_eq!(host("DnsName(\"a\n b\u{202e}c\")").unwrap(), "abc");
        assert_eq!(host(&format!("DnsName(\"{}\")", "a".repeat(5000))).unwrap().len(), 100);
        assert_eq!(other_name("x", &["a".into()]), "the server's certificate is for a, not for x");
        assert_eq!(
            other_name("x", &["a".into(), "b".into(), "c".into()]),
            "the server's certificate is for a and 2 more, not for x"
        );
    }
}
