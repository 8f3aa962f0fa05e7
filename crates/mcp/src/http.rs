//! The protocol over HTTP ("streamable HTTP"), for clients on this machine: each says a token, browsers of other
//! sites are turned away, and so is who comes by a name that is not ours (DNS rebinding).

mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pyro::{Code, Failure};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Options};
use crate::limits::{CONNECTIONS_MAX, HEAD_SECONDS_MAX, MESSAGE_BYTES_MAX, SESSIONS_MAX, TOKEN_BYTES};
use crate::server::Face;
use sessions::Sessions;

/// Where the protocol is spoken; everything else is not found.
const PATH: &str = "/mcp";

type Service = StreamableHttpService<Face, LocalSessionManager>;
type Answer = Response<BoxBody<Bytes, std::convert::Infallible>>;

/// Where to listen, and to whom.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The address; port 0 takes any that is free.
    pub address: SocketAddr,
    /// What every request must say (`Authorization: Bearer …`).
    pub token: String,
    /// Names by which this machine is reached beside those of the loopback, `HOST` or `HOST:PORT`.
    pub hosts: Vec<String>,
    /// Web sites that may speak to it, `SCHEME://HOST[:PORT]`. None without.
    pub origins: Vec<String>,
    /// Whether it may listen where others than this machine reach it.
    pub is_remote_allowed: bool,
}

/// A token that nobody guesses: 256 random bits.
pub fn new_token() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Failure::new(Code::System, "no random numbers can be had").because(error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A server that listens.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    engine: Engine,
    options: HttpOptions,
}

/// Begins to listen.
pub async fn listen(options: Options, http: HttpOptions) -> Result<Listening, Failure> {
    check(&http)?;
    let unusable = |error: std::io::Error| {
        Failure::new(Code::InvalidArgument, format!("nothing can listen on {}", http.address))
            .because(error)
            .fix("choose another --http address, or port 0 for any that is free")
    };
    let listener = TcpListener::bind(http.address).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    Ok(Listening { listener, address, engine: Engine::new(options), options: http })
}

fn check(http: &HttpOptions) -> Result<(), Failure> {
    if !http.address.ip().is_loopback() && !http.is_remote_allowed {
        return Err(Failure::new(
            Code::InvalidArgument,
            format!("{} is reached by others", http.address.ip()),
        )
        .because("whoever has the token runs commands here, and it goes over the network in the clear")
        .fix("listen on 127.0.0.1, or give --allow-remote behind something that encrypts"));
    }
    let is_word = http.token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_word || !TOKEN_BYTES.contains(&http.token.len()) {
        return Err(Failure::new(Code::InvalidArgument, "the token is no token")
            .because(format!(
                "it needs {} to {} visible ASCII characters",
                TOKEN_BYTES.start(),
                TOKEN_BYTES.end()
            ))
            .fix("make one with `openssl rand -hex 32`, or leave it out to have one made"));
    }
    match http.origins.iter().find(|origin| !origin.contains("://")) {
        Some(origin) => Err(Failure::new(Code::InvalidArgument, format!("{origin:?} is no origin"))
            .fix("write a scheme and a host, as in --allow-origin https://example.com")),
        None => Ok(()),
    }
}

impl Listening {
    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Serves clients until `ended` is done. What they had running is called off then, and has cleaned up when this
    /// returns.
    pub async fn serve(self, ended: impl Future<Output = ()>) {
        let end = CancellationToken::new();
        let sessions = Arc::new(Sessions::with_bound(SESSIONS_MAX));
        let service = self.service(&sessions, &end);
        let token: Arc<str> = self.options.token.as_str().into();
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let accepting = async {
            loop {
                let Ok(permit) = connections.clone().acquire_owned().await else { return };
                // One that broke while it came, or too many open files: the next may do.
                let Ok((stream, _)) = self.listener.accept().await else {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    continue;
                };
                let door =
                    Door { service: service.clone(), sessions: sessions.clone(), token: token.clone() };
                let end = end.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    tokio::select! {
                        () = connection(stream, door) => {}
                        () = end.cancelled() => {}
                    }
                });
            }
        };
        tokio::select! {
            () = accepting => {}
            () = ended => {}
        }
        end.cancel();
        self.engine.end().await;
    }

    fn service(&self, sessions: &Sessions, end: &CancellationToken) -> Service {
        let port = self.address.port();
        let mut hosts: Vec<String> =
            ["localhost", "127.0.0.1", "[::1]"].iter().map(|host| format!("{host}:{port}")).collect();
        hosts.push(self.address.to_string());
        hosts.extend(self.options.hosts.iter().cloned());
        let config = StreamableHttpServerConfig::default()
            .with_allowed_hosts(hosts)
            .with_allowed_origins(self.options.origins.iter().cloned())
            .enforce_origin_validation()
            .with_max_request_body_bytes(MESSAGE_BYTES_MAX)
            .with_cancellation_token(end.clone());
        let engine = self.engine.clone();
        StreamableHttpService::new(move || Ok(Face::new(engine.clone())), sessions.manager(), config)
    }
}

/// What a request goes through.
#[derive(Clone)]
struct Door {
    service: Service,
    sessions: Arc<Sessions>,
    token: Arc<str>,
}

async fn connection(stream: TcpStream, door: Door) {
    // Small messages are not to wait for more.
    let _ = stream.set_nodelay(true);
    let answering = service_fn(move |request: Request<Incoming>| {
        let door = door.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(request, &door).await) }
    });
    // A connection that breaks is its client's to notice.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_SECONDS_MAX)
        .serve_connection(TokioIo::new(stream), answering)
        .await;
}

async fn answer(request: Request<Incoming>, door: &Door) -> Answer {
    if request.uri().path() != PATH {
        return refused(StatusCode::NOT_FOUND, "the protocol is spoken at /mcp");
    }
    if !is_authorized(request.headers().get(AUTHORIZATION), &door.token) {
        let mut refused =
            refused(StatusCode::UNAUTHORIZED, "say the server's token: `Authorization: Bearer TOKEN`");
        refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pyro\""));
        return refused;
    }
    door.sessions.look_at(request.headers()).await;
    door.service.handle(request).await
}

/// Takes the same time however much of the token is right.
fn is_authorized(header: Option<&HeaderValue>, token: &str) -> bool {
    let Some(said) = header.and_then(|value| value.as_bytes().split_at_checked(7)) else { return false };
    let (scheme, said) = said;
    let is_same_length = said.len() == token.len();
    let differing =
        said.iter().zip(token.as_bytes()).fold(0, |differing, (one, other)| differing | (one ^ other));
    scheme.eq_ignore_ascii_case(b"bearer ") && is_same_length && differing == 0
}

fn refused(status: StatusCode, why: &str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(format!("{why}\n"))).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(address: &str, token: &str) -> HttpOptions {
        HttpOptions {
            address: address.parse().unwrap(),
            token: token.to_owned(),
            hosts: Vec::new(),
            origins: Vec::new(),
            is_remote_allowed: false,
        }
    }

    /// Only the whole token opens.
    #[test]
    fn tokens_are_compared_whole() {
        let says =
            |text: &str| is_authorized(Some(&HeaderValue::from_str(text).unwrap()), "secret-secret-secret");
        assert!(says("Bearer secret-secret-secret") && says("bearer secret-secret-secret"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer secret-secret-secre",
            "Bearer secret-secret-secret ",
            "Basic secret-secret-secret",
            "secret-secret-secret",
        ] {
            assert!(!says(wrong), "{wrong}");
        }
        assert!(!is_authorized(None, ""));
    }

    /// What would be unsafe is refused before anything listens.
    #[test]
    fn unsafe_servers_are_refused() {
        let token = "0123456789abcdef";
        assert!(check(&options("127.0.0.1:0", token)).is_ok() && check(&options("[::1]:0", token)).is_ok());
        for remote in ["0.0.0.0:80", "[::]:80", "192.168.1.1:80"] {
            assert!(check(&options(remote, token)).is_err(), "{remote}");
            assert!(check(&HttpOptions { is_remote_allowed: true, ..options(remote, token) }).is_ok());
        }
        for weak in ["", "short", "with a blank in it", "äöüäöüäöüäöüäöüäöü", "a".repeat(513).as_str()]
        {
            assert!(check(&options("127.0.0.1:0", weak)).is_err(), "{weak}");
        }
        let origins = vec!["example.com".to_owned()];
        assert!(check(&HttpOptions { origins, ..options("127.0.0.1:0", token) }).is_err());
    }
}
