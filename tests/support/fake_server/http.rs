//! A minimal HTTP/1.1: parses a request, and serializes the parts of a response.
//!
//! Written by hand, because the faults need control over every byte.

use std::io;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

pub type Connection = BufReader<TcpStream>;

#[derive(Clone, Debug)]
pub struct FakeHttpRequest {
    pub method: String,
    pub target: String,
    /// Header names are in lower case.
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl FakeHttpRequest {
    /// Header names are in lower case.
    pub fn new(
        method: String,
        target: String,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Self {
        Self { method, target, headers, body }
    }

    /// Reads the next request; `None` if the client has closed the connection.
    pub async fn read(connection: &mut Connection) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let mut parts = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(target)) = (parts.next(), parts.next()) else {
            return Err(io::Error::other(format!("not a request: {line:?}")));
        };
        let mut headers = Vec::new();
        loop {
            line.clear();
            connection.read_line(&mut line).await?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self { method, target, headers, body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok());
        request.body.resize(length.unwrap_or(0), 0);
        connection.read_exact(&mut request.body).await?;
        Ok(Some(request))
    }

    /// As sent, still percent-encoded.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn has_header(&self, name: &str) -> bool {
        self.header(name).is_some()
    }

    pub fn wants_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A response; [`Delivery`](super::delivery::Delivery) determines how it is sent.
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

    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The bytes of the head with this `Content-Length`, correct or not.
    pub fn head_with_length(&self, length: usize) -> Vec<u8> {
        self.head(&format!("content-length: {length}"))
    }

    /// The bytes of the head; `framing` is the header line that delimits the body.
    pub fn head(&self, framing: &str) -> Vec<u8> {
        let status = StatusCode::from_u16(self.status).ok();
        let reason = status.and_then(|status| status.canonical_reason()).unwrap_or("");
        let mut lines = vec![format!("HTTP/1.1 {} {reason}", self.status)];
        lines.extend(self.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.push(format!("{framing}\r\n\r\n"));
        lines.join("\r\n").into_bytes()
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head_with_length(self.body.len()), self.body.clone()].concat()
    }
}
