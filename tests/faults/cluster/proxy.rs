//! A piece of network: it leads to one server, and can be cut, slowed down, and led to another.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Bytes that are on their way in one piece.
const PIECE: usize = 64 * 1024;

#[derive(Clone, Copy)]
struct Way {
    to: u16,
    is_cut: bool,
}

/// Dropping it leaves its connections as they are.
pub struct Proxy {
    pub port: u16,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// Whatever comes in either direction is this late.
    pub async fn start(to: u16, lag: Duration) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (way, looking) = watch::channel(Way { to, is_cut: false });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, looking.clone(), lag));
            }
        });
        Proxy { port, way }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Nothing comes through any more, and nobody is told: connections stay, and new ones are taken.
    pub fn cut(&self) {
        self.way.send_modify(|way| way.is_cut = true);
    }

    /// What was cut is found broken, and new connections lead to the server again.
    pub fn mend(&self) {
        self.way.send_modify(|way| way.is_cut = false);
    }

    /// Breaks all connections; new ones lead to this port.
    pub fn lead_to(&self, port: u16) {
        self.way.send_modify(|way| way.to = port);
    }
}

async fn carry(mut near: TcpStream, mut way: watch::Receiver<Way>, lag: Duration) {
    let now = *way.borrow_and_update();
    if now.is_cut {
        // Deaf until something changes; then whoever waits finds the connection broken.
        drop(way.changed().await);
        return;
    }
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", now.to)).await else { return };
    {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        tokio::select! {
            _ended = pump(near_read, far_write, lag) => return,
            _ended = pump(far_read, near_write, lag) => return,
            _changed = way.changed() => {}
        }
    }
    if way.borrow_and_update().is_cut {
        drop(way.changed().await);
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    lag: Duration,
) -> std::io::Result<()> {
    let (send, mut on_its_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut piece = vec![0; PIECE];
        loop {
            let length = from.read(&mut piece).await?;
            let sent = send.send((Instant::now() + lag, piece.iter().take(length).copied().collect()));
            if length == 0 || sent.is_err() {
                return std::io::Result::Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, piece)) = on_its_way.recv().await {
            tokio::time::sleep_until(at).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}
