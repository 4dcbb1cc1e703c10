//! Mail to an SMTP server, over the same guarded connections as every other call.
//!
//! A server is reached on a mail port (unless private networks are allowed), at an address that was judged, and, unless it
//! is in a private network, by TLS only: from the first byte, or by STARTTLS, which is then required and not merely tried.
//! Nothing that came before the handshake is believed after it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::{AddressPolicy, Client, Error, Sent};

/// Ports on which mail is taken.
const MAIL_PORTS: [u16; 4] = [25, 465, 587, 2525];
/// What a server may say before the handshake.
const MAX_REPLY_BYTES: usize = 16 * 1024;

/// A server that takes mail.
#[derive(Debug)]
pub struct MailServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: MailSecurity,
    /// User and password, if it wants them.
    pub login: Option<(String, SecretString)>,
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS from the first byte (port 465).
    Implicit,
    /// TLS after STARTTLS, or nothing is sent (port 587).
    StartTls,
    /// Not at all: only in a private network.
    None,
}

/// One mail, plain text.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The same at every try, so that a reader sees one.
    pub id: String,
    /// From whom: an address, or `Name <address>`.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub text: String,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Mail").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Mail {
    fn message(&self) -> Result<lettre::Message, Error> {
        let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|_invalid| Error::Mail { status: None });
        let from = mailbox(&self.from)?;
        let id = format!("<{}@{}>", self.id, from.email.domain());
        let mut builder =
            lettre::Message::builder().from(from).message_id(Some(id)).subject(self.subject.as_str());
        for to in &self.to {
            builder = builder.to(mailbox(to)?);
        }
        builder.body(self.text.clone()).map_err(|_invalid| Error::Mail { status: None })
    }
}

impl Client {
    /// Hands a mail to a server. Cancel safe: dropping the future closes the connection.
    pub async fn send_mail(
        &self,
        server: &MailServer,
        mail: &Mail,
        policy: AddressPolicy,
        deadline: Instant,
    ) -> Result<(), Error> {
        let message = mail.message()?;
        if policy == AddressPolicy::PublicHttps {
            if server.security == MailSecurity::None {
                return Err(Error::PlainHttp);
            }
            if !MAIL_PORTS.contains(&server.port) {
                return Err(Error::Port);
            }
        }
        let host = Host::parse(&server.host).map_err(|_invalid| Error::Url)?;
        let tcp = timeout_at(deadline, self.dial(&host, server.port, policy)).await;
        let tcp = tcp.map_err(|_elapsed| Error::Deadline { sent: Sent::Nothing })??;
        let talk = async {
            let stream: Box<dyn AsyncTokioStream> = match server.security {
                MailSecurity::None => Box::new(tcp),
                MailSecurity::Implicit => {
                    Box::new(Secured { greeting: &[], stream: Box::new(self.secure(&host, tcp).await?) })
                }
                MailSecurity::StartTls => {
                    let tcp = start_tls(tcp).await?;
                    // The server greets no second time, and the library waits for it.
                    let greeting = b"220 after STARTTLS\r\n";
                    Box::new(Secured { greeting, stream: Box::new(self.secure(&host, tcp).await?) })
                }
            };
            let hello = ClientId::default();
            let mut smtp = AsyncSmtpConnection::connect_with_transport(stream, &hello).await?;
            if let Some((user, password)) = &server.login {
                let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
                smtp.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await?;
            }
            smtp.send(message.envelope(), &message.formatted()).await?;
            // It has the mail; a broken farewell changes nothing.
            let _left = smtp.quit().await;
            Ok(())
        };
        timeout_at(deadline, talk).await.map_err(|_elapsed| Error::Deadline { sent: Sent::Maybe })?
    }
}

impl From<lettre::transport::smtp::Error> for Error {
    fn from(error: lettre::transport::smtp::Error) -> Self {
        Self::Mail { status: error.status().map(u16::from) }
    }
}

/// Asks for TLS on a plain connection.
async fn start_tls(mut tcp: TcpStream) -> Result<TcpStream, Error> {
    expect(&mut tcp, 220).await?;
    let send = async |tcp: &mut TcpStream, line: &[u8]| {
        tcp.write_all(line).await.map_err(|_broken| Error::Mail { status: None })
    };
    send(&mut tcp, b"EHLO [127.0.0.1]\r\n").await?;
    expect(&mut tcp, 250).await?;
    send(&mut tcp, b"STARTTLS\r\n").await?;
    expect(&mut tcp, 220).await?;
    Ok(tcp)
}

/// Reads one reply, byte by byte so that nothing behind it is taken along, and wants this code.
async fn expect(tcp: &mut TcpStream, code: u16) -> Result<(), Error> {
    let (mut read, mut line) = (0, Vec::new());
    loop {
        let byte = tcp.read_u8().await.map_err(|_broken| Error::Mail { status: None })?;
        read += 1;
        if read > MAX_REPLY_BYTES {
            return Err(Error::Mail { status: None });
        }
        if byte != b'\n' {
            line.push(byte);
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        let status: Option<u16> = text.get(..3).and_then(|code| code.parse().ok());
        // "250-more" goes on, "250 last" and "250" end it.
        if text.as_bytes().get(3) != Some(&b'-') {
            return if status == Some(code) { Ok(()) } else { Err(Error::Mail { status }) };
        }
        line.clear();
    }
}

/// A protected connection, which may begin with a line of our own.
struct Secured {
    greeting: &'static [u8],
    stream: Box<dyn Protected>,
}

trait Protected: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Protected for T {}

impl std::fmt::Debug for Secured {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secured")
    }
}

impl AsyncTokioStream for Secured {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        // Asked by nobody; the address was judged before.
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
