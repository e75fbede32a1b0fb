//! HTTP/1.1 by hand: reads the head of a request, lays out the bytes of an answer.
//!
//! No library, since the faults need each byte in their own hands.

use std::io;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

/// A client's connection.
pub type Connection = BufReader<TcpStream>;

/// A request: its head, and the body that came with it.
#[derive(Clone, Debug)]
pub struct FakeHttpRequest {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl FakeHttpRequest {
    /// Reads the next request; none if the client has closed the connection.
    pub async fn read(connection: &mut Connection) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::Error::other(format!("not a request: {line:?}")));
        };
        let mut headers = Vec::new();
        loop {
            line.clear();
            connection.read_line(&mut line).await?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut head = Self { method, target, headers, body: Vec::new() };
        let length = head.header("content-length").and_then(|length| length.parse().ok());
        head.body.resize(length.unwrap_or(0), 0);
        connection.read_exact(&mut head.body).await?;
        Ok(Some(head))
    }

    /// The path as it was sent, still percent-encoded.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn has_header(&self, name: &str) -> bool {
        self.header(name).is_some()
    }

    pub fn wants_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// An answer, before it is decided how well it is sent.
#[derive(Clone, Debug)]
pub struct FakeHttpResponse {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl FakeHttpResponse {
    pub fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body }.header("content-type", content_type)
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string().into_bytes())
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The bytes of the head, with `Content-Length` as told, true or not.
    pub fn head_with_length(&self, length: usize) -> Vec<u8> {
        self.head(&format!("content-length: {length}"))
    }

    /// The bytes of the head, with one more header line that says how the body is framed.
    pub fn head(&self, framing: &str) -> Vec<u8> {
        let known = StatusCode::from_u16(self.status).ok();
        let reason = known.and_then(|status| status.canonical_reason()).unwrap_or("");
        let mut lines = vec![format!("HTTP/1.1 {} {reason}", self.status)];
        lines.extend(self.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.push(format!("{framing}\r\n\r\n"));
        lines.join("\r\n").into_bytes()
    }

    /// The bytes of the whole answer.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head_with_length(self.body.len()), self.body.clone()].concat()
    }
}
