//! The port on which a command answers probes, on every address that a Pod may have.
//!
//! The default is the IPv6 wildcard address, on which Linux also answers IPv4, because a Pod may have either or both.
//! An address that is given is the only one that is tried.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use tokio::net::TcpSocket;

const PORT: u16 = 8080;

/// A bound socket that does not listen yet.
pub(super) fn bound(given: Option<SocketAddr>) -> anyhow::Result<TcpSocket> {
    let usual = [IpAddr::from(Ipv6Addr::UNSPECIFIED), Ipv4Addr::UNSPECIFIED.into()].map(|ip| SocketAddr::new(ip, PORT));
    first(given.as_ref().map_or(&usual, std::slice::from_ref))
}

/// Binds the first of these addresses that exists. An address in use exists.
fn first(addresses: &[SocketAddr]) -> anyhow::Result<TcpSocket> {
    let [address, others @ ..] = addresses else { anyhow::bail!("no address to listen on") };
    match bind(*address) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse && !others.is_empty() => first(others),
        bound => bound.with_context(|| format!("cannot listen on {address} (--listen)")),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Lingering connections of an earlier process must not block the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    // An address that no machine has.
    const NOWHERE: &str = "[2001:db8::1]:0";

    #[tokio::test]
    async fn both_families_are_answered_and_one_alone_where_the_other_is_not() {
        let families = if std::net::TcpListener::bind("[::1]:0").is_ok() { 2 } else { 1 };
        for (addresses, reached) in [(&["[::]:0", "0.0.0.0:0"][..], families), (&[NOWHERE, "0.0.0.0:0"], 1)] {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            let listener = first(&addresses).unwrap().listen(8).unwrap();
            let port = listener.local_addr().unwrap().port();
            let answered = |ip: &&str| TcpStream::connect((*ip, port)).is_ok();
            assert_eq!(["127.0.0.1", "::1"].into_iter().filter(answered).count(), reached, "{addresses:?}");
        }
    }

    #[tokio::test]
    async fn an_address_that_was_given_or_is_taken_is_not_exchanged_for_another() {
        assert!(bound(Some(NOWHERE.parse().unwrap())).unwrap_err().to_string().contains("(--listen)"));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = std::net::TcpListener::bind(taken).unwrap();
        assert!(first(&[listener.local_addr().unwrap(), "127.0.0.1:0".parse().unwrap()]).is_err());
    }
}
