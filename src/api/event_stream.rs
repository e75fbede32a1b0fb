//! The client's side of `GET /v1/events`: server-sent events, parsed.
//!
//! Made by [`Client::events`](super::Client::events). A stream ends with an event `end`, or when
//! the connection does; the caller reconnects with the cursor of the last transition.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

use super::error::{ClientError, connection_lost};
use super::history::{PrunedTransitions, TransitionEvent};

/// What an event stream reports.
#[derive(Debug)]
pub enum StreamedEvent {
    Transition(Box<TransitionEvent>),
    /// Transitions that came before the next one are deleted.
    Pruned(PrunedTransitions),
}

/// The response of `GET /v1/events`.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    parser: SseParser,
}

#[expect(clippy::missing_errors_doc, reason = "ClientError documents the errors")]
impl EventStream {
    /// The daemon sends something every 15 s, if only a comment.
    const SILENCE_LIMIT: Duration = Duration::from_mins(1);

    pub(super) fn new(response: Response) -> Self {
        Self { response, parser: SseParser::default() }
    }

    /// The next event; none once the daemon has ended the stream.
    pub async fn next(&mut self) -> Result<Option<StreamedEvent>, ClientError> {
        let invalid = |error: serde_json::Error| ClientError::InvalidResponse(error.to_string());
        loop {
            match self.parser.next_frame() {
                Some(SseFrame::Data(data)) => {
                    let transition = serde_json::from_str(&data).map_err(invalid)?;
                    return Ok(Some(StreamedEvent::Transition(transition)));
                }
                Some(SseFrame::Pruned(data)) => {
                    let pruned = serde_json::from_str(&data).map_err(invalid)?;
                    return Ok(Some(StreamedEvent::Pruned(pruned)));
                }
                Some(SseFrame::End) => return Ok(None),
                None => {
                    let chunk = timeout(Self::SILENCE_LIMIT, self.response.chunk()).await;
                    let chunk = chunk.map_err(|_| {
                        ClientError::ConnectionLost("jobtrackd sends nothing".into())
                    })?;
                    match chunk.map_err(|error| connection_lost(&error))? {
                        Some(bytes) => self.parser.buffer.extend_from_slice(&bytes),
                        None => return Ok(None),
                    }
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum SseFrame {
    Data(String),
    Pruned(String),
    End,
}

/// Splits the bytes of an event stream into frames. `id:` is skipped: the data of each event has
/// the same cursor.
#[derive(Debug, Default)]
struct SseParser {
    buffer: Vec<u8>,
    event_name: String,
    data: String,
}

impl SseParser {
    fn next_frame(&mut self) -> Option<SseFrame> {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.event_name),
                "data" => self.data.push_str(value),
                // An empty line ends a frame.
                _ if line.is_empty() => {
                    let (name, data) =
                        (std::mem::take(&mut self.event_name), std::mem::take(&mut self.data));
                    match name.as_str() {
                        "end" => return Some(SseFrame::End),
                        "pruned" => return Some(SseFrame::Pruned(data)),
                        _ if data.is_empty() => {}
                        _ => return Some(SseFrame::Data(data)),
                    }
                }
                // `id:`, and comments, which keep the connection alive.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_parsed_at_any_chunk_boundary() {
        let stream = ": hello\n\nid: 7\ndata: {\"a\":1}\n\nid:8\r\ndata:{}\r\n\r\nevent: pruned\ndata: {}\n\nevent: end\n\n";
        let data = |text: &str| SseFrame::Data(text.to_owned());
        for size in 1..=stream.len() {
            let mut parser = SseParser::default();
            let mut parsed = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                parser.buffer.extend_from_slice(chunk);
                parsed.extend(std::iter::from_fn(|| parser.next_frame()));
            }
            let pruned = SseFrame::Pruned("{}".to_owned());
            let expected = [data("{\"a\":1}"), data("{}"), pruned, SseFrame::End];
            assert_eq!(parsed, expected, "chunks of {size}");
        }
    }
}
