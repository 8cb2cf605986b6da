//! What the sink answers, once a request's body is known.

use std::net::SocketAddr;

use super::head::Head;

/// What a request is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    Presign,
    Put,
    Part,
    /// Begins a multipart upload.
    Begin,
    /// Ends one.
    Complete,
    /// Asks for an object or a list: there is none.
    Look,
    Unknown,
}

impl Route {
    pub(crate) fn of(head: &Head) -> Self {
        match head.method.as_str() {
            "POST" if head.path.ends_with("/r/files/presign") => Self::Presign,
            "POST" if head.asks_for("uploads") => Self::Begin,
            "POST" if head.asks_for("uploadId") => Self::Complete,
            "PUT" if head.asks_for("partNumber") => Self::Part,
            "PUT" => Self::Put,
            "GET" | "HEAD" => Self::Look,
            _ => Self::Unknown,
        }
    }
}

/// An answer with a body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

/// A ticket, as Cyberun gives it.
pub(crate) fn ticket(request: &[u8], store: SocketAddr, number: usize) -> Option<String> {
    let asked: serde_json::Value = serde_json::from_slice(request).ok()?;
    let (name, size) = (asked["file_name"].as_str()?, asked["file_size"].as_u64()?);
    let key = format!("inputs/{number:08}/{name}");
    let signed = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=bench%2F20260101%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20260101T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=content-length%3Bhost%3Bif-none-match\
        &X-Amz-Signature=0000000000000000000000000000000000000000000000000000000000000000";
    let body = serde_json::json!({
        "file_key": key,
        "upload_url": format!("https://{store}/bucket/{key}?{signed}"),
        "upload_headers": { "Content-Length": size.to_string(), "If-None-Match": "*" },
    });
    Some(answer("200 OK", "Content-Type: application/json\r\n", &body.to_string()))
}

/// An answer of the store to what is no plain PUT.
pub(crate) fn multipart(route: Route, head: &Head) -> String {
    let name = head.name();
    let xml = "Content-Type: application/xml\r\n";
    match route {
        Route::Begin => answer(
            "200 OK",
            xml,
            &format!(
                "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>{name}</Key><UploadId>1</UploadId>\
                 </InitiateMultipartUploadResult>"
            ),
        ),
        Route::Complete => answer(
            "200 OK",
            xml,
            &format!(
                "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>{name}</Key><ETag>&quot;0-1&quot;</ETag>\
                 </CompleteMultipartUploadResult>"
            ),
        ),
        Route::Look if head.asks_for("location") => answer("200 OK", xml, "<LocationConstraint/>"),
        _ => answer("404 Not Found", xml, ""),
    }
}

/// No tool takes this `ETag` for an MD5.
pub(crate) fn stored() -> String {
    answer("200 OK", "ETag: \"0-1\"\r\n", "")
}
