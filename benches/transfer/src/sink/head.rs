//! The head of a request: as much of HTTP/1.1 as the measured tools use.

use anyhow::{Context as _, bail};

/// What the sink needs of a head.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// The path, percent-encoded as it came, without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) length: u64,
    /// The length of the content where the body wraps it in signed or checked chunks.
    pub(crate) decoded: Option<u64>,
    pub(crate) asks: bool,
    pub(crate) closes: bool,
}

/// The length of the head in `buffer`, once all of it is there.
pub(crate) fn end(buffer: &[u8]) -> Option<usize> {
    buffer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

impl Head {
    pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(bytes)?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next().context("no request line")?.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().context("no target")?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut head = Self { method: method.into(), path: path.into(), query: query.into(), ..Self::default() };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.parse()?,
                "x-amz-decoded-content-length" => head.decoded = Some(value.parse()?),
                "expect" => head.asks = value.eq_ignore_ascii_case("100-continue"),
                "connection" => head.closes = value.eq_ignore_ascii_case("close"),
                "transfer-encoding" => bail!("a chunked body, which S3 takes from nobody"),
                _ => {}
            }
        }
        Ok(head)
    }

    /// The last segment of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn asks_for(&self, parameter: &str) -> bool {
        self.query.split('&').any(|pair| pair.split('=').next() == Some(parameter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_the_empty_line() {
        assert_eq!(end(b"GET / HTTP/1.1\r\nA: b\r\n"), None);
        assert_eq!(end(b"GET / HTTP/1.1\r\n\r\nbody"), Some(18));
    }

    #[test]
    fn a_head_tells_name_length_and_expectation() {
        let text =
            b"PUT /b/k/a.bin?partNumber=1&uploadId=x HTTP/1.1\r\nContent-Length: 5\r\nexpect: 100-Continue\r\n\r\n";
        let head = Head::parse(text).unwrap();
        assert_eq!((head.method.as_str(), head.name(), head.length, head.asks), ("PUT", "a.bin", 5, true));
        assert!(head.asks_for("uploadId") && !head.asks_for("uploads"));
        assert!(Head::parse(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }
}
