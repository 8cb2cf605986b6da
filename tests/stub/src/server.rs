//! A port, and the loop that serves it.
//!
//! A [`Port`] stays reserved while nobody listens on it, so that an API can go down and come back at the same
//! address without another process taking its place. Each connection is a task of its own; stopping a server either
//! lets requests end or drops them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::answer::{Exit, Reply};
use crate::record::{ActiveCall, End, Step};
use crate::state::State;
use crate::tls::Tls;
use crate::wire::{Line, Stream, Wire};
use crate::{control, presign, run, storage};

/// How much of a refused body is read and thrown away, so that the refusal is not lost to a RST.
const LINGER: u64 = 256 * 1024;

/// How long a graceful stop waits for requests under way.
const GRACE: Duration = Duration::from_secs(5);

/// A reserved address.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _guard: TcpSocket,
}

impl Port {
    pub(crate) fn reserve(address: SocketAddr) -> io::Result<Self> {
        let guard = socket(address)?;
        Ok(Self { address: guard.local_addr()?, _guard: guard })
    }

    fn listen(&self) -> io::Result<TcpListener> {
        socket(self.address)?.listen(1024)
    }
}

/// A bound socket that shares its port with the guard, and with nobody who does not ask for it.
fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Which of the two services a port offers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Api,
    S3,
}

/// A server that ends when it is dropped.
pub(crate) struct Server {
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(port: &Port, service: Service, state: &Arc<State>, tls: Option<&Tls>) -> io::Result<Self> {
        let stop = watch::Sender::new(());
        let host = Host { service, state: Arc::clone(state), tls: tls.cloned(), stop: stop.subscribe() };
        let task = tokio::spawn(accept(port.listen()?, host));
        Ok(Self { stop, task })
    }

    /// Refuses new connections and waits for the requests under way.
    pub(crate) async fn finish(mut self) {
        self.stop.send_replace(());
        let _ = tokio::time::timeout(GRACE, &mut self.task).await;
    }

    /// Drops everything at once; the port refuses connections when this returns.
    pub(crate) async fn abort(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Host {
    service: Service,
    state: Arc<State>,
    tls: Option<Tls>,
    stop: watch::Receiver<()>,
}

async fn accept(listener: TcpListener, mut host: Host) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                connections.spawn(connection(socket, host.clone()));
            },
            Some(_) = connections.join_next() => {}
            _ = host.stop.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(socket: TcpStream, mut host: Host) {
    let _ = socket.set_nodelay(true);
    let stream = match &host.tls {
        None => Stream::Plain(socket),
        Some(tls) => match tls.acceptor.accept(socket).await {
            Ok(stream) => Stream::Tls(Box::new(stream)),
            Err(_) => return,
        },
    };
    let line = Line::default();
    let io = TokioIo::new(Wire::new(stream, line.clone()));
    let (service, state) = (host.service, Arc::clone(&host.state));
    let respond = service_fn(move |request| Box::pin(respond(service, Arc::clone(&state), line.clone(), request)));
    let mut connection = http1::Builder::new().serve_connection(io, respond);
    let served = loop {
        tokio::select! {
            served = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => break served,
            Ok(()) = host.stop.changed() => std::pin::Pin::new(&mut connection).graceful_shutdown(),
        }
    };
    if served.is_ok() {
        linger(connection.into_parts().io.into_inner()).await;
    }
}

/// Says goodbye and reads a little of what the client still had under way.
async fn linger(mut wire: Wire) {
    let drain = async {
        wire.shutdown().await?;
        tokio::io::copy(&mut (&mut wire).take(LINGER), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), drain).await;
}

/// hyper drops the connection of a handler that fails.
#[derive(Debug)]
struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

async fn respond(
    service: Service,
    state: Arc<State>,
    line: Line,
    request: Request<Incoming>,
) -> Result<Reply, Dropped> {
    if service == Service::Api && request.uri().path().starts_with(control::PREFIX) {
        let reply = control::control(&state, request).await;
        line.expect_head();
        return Ok(reply);
    }
    let call = begin(service, &state, &line, &request);
    let outcome = match service {
        Service::S3 => storage::put(&state, &call, &line, request).await,
        Service::Api if run::is_run(request.uri().path()) => run::run(&state, &call, request).await,
        Service::Api => match presign::elsewhere(request.method(), request.uri().path()) {
            Some(refusal) => Err(refusal.into()),
            None => presign::presign(&state, &call, request).await,
        },
    };
    settle(service, call, &line, outcome)
}

fn begin(service: Service, state: &State, line: &Line, request: &Request<Incoming>) -> ActiveCall {
    let step = match service {
        Service::S3 => Step::Put,
        Service::Api if request.uri().path() == presign::PATH => Step::Presign,
        Service::Api if run::is_run(request.uri().path()) => Step::Run,
        Service::Api => Step::Other,
    };
    let call = ActiveCall::start(&state.record, step, request.method(), request.uri().path(), request.headers());
    line.begin(call.meter());
    call
}

fn settle(service: Service, call: ActiveCall, line: &Line, outcome: Result<Reply, Exit>) -> Result<Reply, Dropped> {
    let mut reply = match outcome {
        Ok(reply) => reply,
        Err(Exit::Answer(refusal)) => refusal.into(),
        Err(Exit::Reset) => {
            line.reset();
            call.end(End::Reset);
            return Err(Dropped);
        }
        Err(Exit::Gone) => return Err(Dropped),
    };
    // As S3 does: whoever was refused may still be sending, so the connection is of no more use.
    if service == Service::S3 && !reply.status().is_success() {
        reply.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    if !reply.headers().contains_key(header::CONNECTION) {
        line.expect_head();
    }
    call.end(End::Status(reply.status().as_u16()));
    Ok(reply)
}
