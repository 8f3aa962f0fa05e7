//! An HTTP answer as a sign of readiness: any status from 200 to 399, as Kubernetes' probes have it. Redirects are not
//! followed: who sends one is there.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect;
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

/// Asks once; `Err` says what came instead.
pub(super) async fn ask(address: SocketAddr, host: &str, target: &str) -> Result<(), String> {
    let mut stream = connect(address).await?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: pyro\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|_| "it does not take the request".to_owned())?;
    let mut head = Vec::new();
    loop {
        if let Some(answer) = judge(&head) {
            return answer;
        }
        if head.len() >= HTTP_HEAD_BYTES_MAX {
            return Err("its answer has no end of headers".to_owned());
        }
        let mut piece = [0; 1024];
        match stream.read(&mut piece).await {
            Ok(0) => return Err("it closed the connection before it answered".to_owned()),
            Ok(count) => head.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(_) => return Err("it broke the connection before it answered".to_owned()),
        }
    }
}

/// What the head of an answer says, once there is enough of it; interim answers (RFC 9110, section 15.2) say nothing.
/// Pure.
fn judge(mut head: &[u8]) -> Option<Result<(), String>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(head) {
            Ok(httparse::Status::Partial) => return None,
            Ok(httparse::Status::Complete(length)) => length,
            Err(error) => return Some(Err(format!("its answer is no HTTP: {error}"))),
        };
        match response.code {
            Some(100..=199) => head = head.get(length..).unwrap_or_default(),
            Some(200..=399) => return Some(Ok(())),
            Some(code) => return Some(Err(format!("it answered {code}"))),
            None => return Some(Err("it answered without a status".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is there and well is ready, what sends elsewhere too; what fails, or is no web server, is not.
    #[test]
    fn answers_are_told_apart() {
        let answer = |head: &str| judge(head.as_bytes());
        for ready in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 204 No\r\na: b\r\n\r\n",
            "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n",
        ] {
            assert_eq!(answer(ready), Some(Ok(())), "{ready:?}");
        }
        assert_eq!(answer("HTTP/1.1 500 Oops\r\n\r\n"), Some(Err("it answered 500".to_owned())));
        assert_eq!(answer("HTTP/1.1 404 No\r\n\r\n"), Some(Err("it answered 404".to_owned())));
        assert_eq!(answer("HTTP/1.1 200 OK\r\na: b\r\n"), None);
        assert_eq!(answer("HTTP/1.1 103 Early Hints\r\n\r\n"), None);
        assert_eq!(answer("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), Some(Ok(())));
        assert!(matches!(answer("220 smtp ready\r\n"), Some(Err(_))));
    }

    proptest! {
        /// No answer makes the agent panic.
        #[test]
        fn judging_is_total(head in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = judge(&head);
        }
    }
}
