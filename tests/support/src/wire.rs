//! The wire between an operator and its API server, which a test can cut: what is sent into it is lost.
//!
//! As with a router that has forgotten a connection, nobody is told: no end, no reset. What was under way is lost for
//! good; new connections get through after `reconnect`.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A wire that ends here; it goes with its handle.
pub struct Wire {
    address: SocketAddr,
    state: watch::Sender<State>,
    carrier: JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// How often it was cut: a connection of before is lost.
    cuts: u32,
    is_cut: bool,
}

impl Wire {
    /// A wire to this address.
    pub async fn to(target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, state) = (listener.local_addr()?, watch::Sender::new(State::default()));
        let seen = state.clone();
        let carrier = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, seen.subscribe()));
            }
        });
        Ok(Self { address, state, carrier })
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses all data under way and all later data, until `reconnect`.
    pub fn cut(&self) {
        self.state.send_modify(|state| *state = State { cuts: state.cuts + 1, is_cut: true });
    }

    /// Lets new connections through.
    pub fn reconnect(&self) {
        self.state.send_modify(|state| state.is_cut = false);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    let State { cuts, is_cut } = *state.borrow();
    if !is_cut && let Ok(mut server) = TcpStream::connect(target).await {
        tokio::select! {
            // How either side hangs up is none of the wire's concern.
            _ = copy_bidirectional(&mut client, &mut server) => return,
            _ = state.wait_for(|now| now.cuts != cuts) => {}
        }
        return lost(state, (client, Some(server))).await;
    }
    lost(state, (client, None)).await;
}

/// Keeps both ends open and carries nothing, until the wire itself goes.
async fn lost(mut state: watch::Receiver<State>, _ends: (TcpStream, Option<TcpStream>)) {
    while state.changed().await.is_ok() {}
}
