//! The port of a command that answers probes, for every address that a Pod may have.
//!
//! Unless told otherwise it is that of IPv6, where Linux answers IPv4 as well: a Pod may have either or both. Nothing
//! else is tried where an address was given.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use tokio::net::TcpSocket;

const PORT: u16 = 8080;

/// A port that is ours, and on which nobody is answered yet.
pub(super) fn bound(given: Option<SocketAddr>) -> anyhow::Result<TcpSocket> {
    let usual = [IpAddr::from(Ipv6Addr::UNSPECIFIED), Ipv4Addr::UNSPECIFIED.into()].map(|ip| SocketAddr::new(ip, PORT));
    first(given.as_ref().map_or(&usual, std::slice::from_ref))
}

/// The first of these addresses that there is: one that is taken is there.
fn first(addresses: &[SocketAddr]) -> anyhow::Result<TcpSocket> {
    let [address, others @ ..] = addresses else { anyhow::bail!("no address to listen on") };
    match bind(*address) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse && !others.is_empty() => first(others),
        bound => bound.with_context(|| format!("cannot listen on {address} (--listen)")),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a predecessor that linger are not in the way.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    // Of no machine, as a machine without IPv6 has none.
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
