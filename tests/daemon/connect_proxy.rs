//! An HTTP proxy: it answers `CONNECT` and forwards every connection to one address.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// What the proxy does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ProxyAnswer {
    /// Connects to the address.
    Tunnel,
    /// Answers with this status line.
    Reject(&'static str),
    /// Accepts connections and never answers.
    Silence,
}

/// A running proxy.
pub(crate) struct ConnectProxy {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    pub(crate) async fn start(answer: ProxyAnswer, target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    // A client that ends its connection ends the exchange.
                    let _ = answer_request(stream, answer, target, &seen).await;
                });
            }
        });
        Self { address, requests }
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

async fn answer_request(
    mut client: TcpStream,
    answer: ProxyAnswer,
    target: SocketAddr,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    seen.lock().expect("not poisoned").push(String::from_utf8_lossy(&head).into_owned());
    match answer {
        ProxyAnswer::Tunnel => {
            let mut service = TcpStream::connect(target).await?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            copy_bidirectional(&mut client, &mut service).await.map(drop)
        }
        ProxyAnswer::Reject(status) => {
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            client.write_all(answer.as_bytes()).await
        }
        // Until the client gives up.
        ProxyAnswer::Silence => client.read_u8().await.map(drop),
    }
}
