//! The daemon's way to the services of a simulation: its HTTP requests and their responses.

use std::io;
use std::sync::Arc;

use axum::http;
use futures_util::future::BoxFuture;
use futures_util::stream;
use jobtrack::job::{ProviderError, ProviderErrorKind};
use jobtrack::provider::Transport;
use reqwest::{Body, Request, Response};

use super::services::Services;
use crate::fake_server::{FakeHttpRequest, FakeHttpResponse};

#[derive(Debug, Clone)]
pub struct ServiceTransport(pub Arc<Services>);

impl Transport for ServiceTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, ProviderError>> {
        Box::pin(async move {
            match self.0.answer(convert_request(&request)).await.map_err(transient)? {
                Answer::Complete(response) => Ok(convert_response(response, false)),
                Answer::CutOff(response) => Ok(convert_response(response, true)),
            }
        })
    }
}

fn transient(reason: String) -> ProviderError {
    ProviderError::new(ProviderErrorKind::Transient, reason)
}

/// What arrives of the response to a request.
#[derive(Debug)]
pub enum Answer {
    Complete(FakeHttpResponse),
    /// The head, and a part of the body.
    CutOff(FakeHttpResponse),
}

fn convert_request(request: &Request) -> FakeHttpRequest {
    let url = request.url();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let headers = request.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let host = ("host".to_owned(), url.host_str().unwrap_or_default().to_owned());
    let body = request.body().and_then(Body::as_bytes).unwrap_or_default().to_vec();
    FakeHttpRequest::new(
        request.method().to_string(),
        format!("{}{query}", url.path()),
        headers.chain([host]).collect(),
        body,
    )
}

fn convert_response(response: FakeHttpResponse, cut_off: bool) -> Response {
    let mut builder = http::Response::builder().status(response.status);
    for (name, value) in response.headers() {
        builder = builder.header(name, value);
    }
    let body = if cut_off {
        let half = response.body[..response.body.len() / 2].to_vec();
        Body::wrap_stream(stream::iter([
            Ok(half),
            Err(io::Error::new(io::ErrorKind::ConnectionReset, "simulated")),
        ]))
    } else {
        Body::from(response.body)
    };
    builder.body(body).expect("a response of the fake services is valid").into()
}
