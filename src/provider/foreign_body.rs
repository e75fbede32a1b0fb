//! Recognizes the body of an unsuccessful response that does not come from the service.
//!
//! Used by the kinds, whose services answer with JSON objects only. HTML, XML and plain text come from
//! proxies, firewalls, login pages and load balancers. A body that begins like an object counts as the service's own, even if it is cut off.

/// What a body is instead of a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForeignBody {
    Empty,
    Html,
    Xml,
    Text,
}

impl ForeignBody {
    /// `None` if the body is a JSON object.
    pub(super) fn detect(body: &[u8]) -> Option<Self> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).trim_ascii();
        let start = body[..body.len().min(1024)].to_ascii_lowercase();
        match start.first() {
            Some(b'{') => None,
            None => Some(Self::Empty),
            Some(b'<') => {
                let is_html = [&b"<html"[..], b"<!doctype html", b"<head", b"<body"]
                    .iter()
                    .any(|tag| start.windows(tag.len()).any(|window| window == *tag));
                Some(if is_html { Self::Html } else { Self::Xml })
            }
            Some(_) => Some(Self::Text),
        }
    }

    /// Follows `HTTP 403` in an error message.
    pub(super) fn explanation(self, status: u16) -> String {
        let body = match self {
            Self::Empty => "an empty body",
            Self::Html => "an HTML page",
            Self::Xml => "XML",
            Self::Text => "plain text",
        };
        match status {
            400..=499 => format!(
                " with {body} instead of the service's JSON: not an answer of the service, but of a proxy, \
                 a firewall or a login page; check base_url and the network"
            ),
            _ => format!(" with {body} instead of the service's JSON"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_objects_are_answers_of_a_service() {
        let cases: [(&str, Option<ForeignBody>); 16] = [
            ("{}", None),
            (" \n{\"error\":\"no\"}", None),
            ("\u{feff}{}", None),
            ("{\"error\": \"cut o", None),
            ("", Some(ForeignBody::Empty)),
            (" \r\n", Some(ForeignBody::Empty)),
            ("<!DOCTYPE html><title>Just a moment...</title>", Some(ForeignBody::Html)),
            ("<HTML><head>", Some(ForeignBody::Html)),
            ("<!-- a -->\n<html lang=\"en\">", Some(ForeignBody::Html)),
            ("<?xml version=\"1.0\"?><html xmlns=\"x\"/>", Some(ForeignBody::Html)),
            (
                "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
                Some(ForeignBody::Xml),
            ),
            ("<error/>", Some(ForeignBody::Xml)),
            ("Access denied", Some(ForeignBody::Text)),
            ("error code: 1020", Some(ForeignBody::Text)),
            ("null", Some(ForeignBody::Text)),
            ("[{\"error\":\"no\"}]", Some(ForeignBody::Text)),
        ];
        for (body, expected) in cases {
            assert_eq!(ForeignBody::detect(body.as_bytes()), expected, "{body}");
        }
    }
}
