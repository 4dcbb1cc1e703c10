//! A mail server of the tests' own: enough of SMTP (RFC 5321, 3207, 4954) to take mail from a client that does it right.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;

/// How it behaves.
#[derive(Clone, Copy, Default)]
pub struct Behaviour {
    /// TLS from the first byte.
    pub implicit: bool,
    /// It offers STARTTLS.
    pub starttls: bool,
    /// It sends more than its answer to STARTTLS before the handshake, as somebody in between would.
    pub injects: bool,
    /// It takes no recipient.
    pub refuses: bool,
    /// It says nothing at all.
    pub hangs: bool,
}

/// A mail it has taken.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    pub login: Option<String>,
    pub protected: bool,
    pub data: String,
}

pub struct PostOffice {
    pub address: SocketAddr,
    /// The certificate that it is to be trusted by.
    pub ca_pem: String,
    mails: Arc<Mutex<Vec<Taken>>>,
    heard: Arc<Mutex<String>>,
}

impl PostOffice {
    pub async fn open(behaviour: Behaviour) -> PostOffice {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (ca_pem, key_pem) = (made.cert.pem(), made.signing_key.serialize_pem());
        let chain = vec![CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate with its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mails, heard) = (Arc::<Mutex<Vec<Taken>>>::default(), Arc::<Mutex<String>>::default());
        let (taken, hears) = (Arc::clone(&mails), Arc::clone(&heard));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let window = Window {
                    behaviour,
                    acceptor: acceptor.clone(),
                    taken: Arc::clone(&taken),
                    hears: Arc::clone(&hears),
                };
                tokio::spawn(async move { window.serve(stream).await });
            }
        });
        PostOffice { address, ca_pem, mails, heard }
    }

    pub fn mails(&self) -> Vec<Taken> {
        self.mails.lock().expect("no panic under the lock").clone()
    }

    /// Every line that came, also protected ones.
    pub fn heard(&self) -> String {
        self.heard.lock().expect("no panic under the lock").clone()
    }
}

#[derive(Clone)]
struct Window {
    behaviour: Behaviour,
    acceptor: TlsAcceptor,
    taken: Arc<Mutex<Vec<Taken>>>,
    hears: Arc<Mutex<String>>,
}

impl Window {
    async fn serve(&self, stream: TcpStream) -> Option<()> {
        if self.behaviour.hangs {
            std::future::pending::<()>().await;
        }
        if self.behaviour.implicit {
            let stream = self.acceptor.accept(stream).await.ok()?;
            self.talk(stream, true, true).await;
            return None;
        }
        let stream = self.talk(stream, false, true).await?;
        let stream = self.acceptor.accept(stream).await.ok()?;
        self.talk(stream, true, false).await;
        None
    }

    /// Talks until the end; gives the stream back when the client wants TLS now.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        protected: bool,
        greet: bool,
    ) -> Option<S> {
        let mut stream = BufReader::new(stream);
        if greet {
            say(&mut stream, "220 test ESMTP").await?;
        }
        let mut mail = Taken { protected, ..Taken::default() };
        loop {
            let line = self.hear(&mut stream).await?;
            let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    let extension =
                        if self.behaviour.starttls && !protected { "STARTTLS" } else { "SIZE 100000" };
                    say(
                        &mut stream,
                        &format!("250-test greets you\r\n250-{extension}\r\n250 AUTH PLAIN LOGIN"),
                    )
                    .await?;
                }
                "STARTTLS" if self.behaviour.starttls && !protected => {
                    let more = if self.behaviour.injects { "\r\n250 injected" } else { "" };
                    say(&mut stream, &format!("220 go ahead{more}")).await?;
                    return Some(stream.into_inner());
                }
                "AUTH" => {
                    let encoded = rest.strip_prefix("PLAIN ").unwrap_or_default();
                    let decoded = STANDARD.decode(encoded).expect("Base64");
                    mail.login = Some(String::from_utf8(decoded).expect("text"));
                    say(&mut stream, "235 welcome").await?;
                }
                "MAIL" => {
                    mail.from = address(rest);
                    say(&mut stream, "250 ok").await?;
                }
                "RCPT" if self.behaviour.refuses => say(&mut stream, "550 nobody here").await?,
                "RCPT" => {
                    mail.to.push(address(rest));
                    say(&mut stream, "250 ok").await?;
                }
                "DATA" => {
                    say(&mut stream, "354 end with a dot").await?;
                    loop {
                        let line = self.hear(&mut stream).await?;
                        if line == "." {
                            break;
                        }
                        mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                        mail.data.push('\n');
                    }
                    self.taken.lock().expect("no panic under the lock").push(mail.clone());
                    say(&mut stream, "250 taken").await?;
                }
                "QUIT" => {
                    say(&mut stream, "221 bye").await?;
                    return None;
                }
                _ => say(&mut stream, "502 not known here").await?,
            }
        }
    }

    async fn hear<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut BufReader<S>) -> Option<String> {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        self.hears.lock().expect("no panic under the lock").push_str(&line);
        Some(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

/// What stands in angle brackets.
fn address(text: &str) -> String {
    let inside = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map(|(address, _)| address.to_owned()).unwrap_or_default()
}
