//! Sessions of clients of the revisions that have them. Each holds some memory until its client says that it leaves,
//! which many never do, so there is a bound: of more, the one that has asked for nothing for longest ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use rmcp::model::ProtocolVersion;
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, SessionConfig};

use crate::limits::SESSION_SECONDS_MAX;

const HEADER: &str = "mcp-session-id";

const REVISION: &str = "mcp-protocol-version";

/// All sessions of a server.
#[derive(Debug)]
pub(super) struct Sessions {
    manager: Arc<LocalSessionManager>,
    last_used: Mutex<HashMap<Arc<str>, Instant>>,
    sessions_max: usize,
}

impl Sessions {
    pub(super) fn with_bound(sessions_max: usize) -> Sessions {
        let mut config = SessionConfig::default();
        config.keep_alive = Some(SESSION_SECONDS_MAX);
        let mut manager = LocalSessionManager::default();
        manager.session_config = config;
        Sessions { manager: Arc::new(manager), last_used: Mutex::default(), sessions_max }
    }

    /// Who knows them.
    pub(super) fn manager(&self) -> Arc<LocalSessionManager> {
        Arc::clone(&self.manager)
    }

    /// Takes note of a request: it uses a session, or may begin one.
    pub(super) async fn look_at(&self, headers: &HeaderMap) {
        let named = headers.get(HEADER).and_then(|value| value.to_str().ok());
        let known: Vec<Arc<str>> = self.manager.sessions.read().await.keys().cloned().collect();
        match named.and_then(|named| known.iter().find(|id| id.as_ref() == named)) {
            Some(id) => {
                let mut last_used = self.last_used();
                last_used.retain(|id, _| known.contains(id));
                last_used.insert(Arc::clone(id), Instant::now());
            }
            None if named.is_none() && !is_stateless(headers) && known.len() >= self.sessions_max => {
                self.end_one_of(&known).await;
            }
            None => {}
        }
    }

    /// One that was begun and never used goes first.
    async fn end_one_of(&self, known: &[Arc<str>]) {
        let silent = {
            let mut last_used = self.last_used();
            last_used.retain(|id, _| known.contains(id));
            known.iter().min_by_key(|id| last_used.get(*id).copied()).cloned()
        };
        if let Some(id) = silent {
            // One that ends by itself meanwhile has made room too.
            let _ = self.manager.close_session(&id).await;
        }
    }

    fn last_used(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests of a revision without sessions name it; who begins a session has none to name yet.
fn is_stateless(headers: &HeaderMap) -> bool {
    headers
        .get(REVISION)
        .is_some_and(|revision| revision.as_bytes() >= ProtocolVersion::V_2026_07_28.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Sessions that are used stay; of the others there are never more than the bound.
    #[test]
    fn silent_sessions_make_room() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sessions = Sessions::with_bound(3);
            let (used, _transport) = sessions.manager.create_session().await.unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_str(&used).unwrap());
            let mut transports = Vec::new();
            for _ in 0..10 {
                sessions.look_at(&headers).await;
                sessions.look_at(&HeaderMap::new()).await;
                transports.push(sessions.manager.create_session().await.unwrap());
                assert!(sessions.manager.sessions.read().await.len() <= 3);
            }
            assert!(sessions.manager.has_session(&used).await.unwrap());
            // What is asked for without a session takes none away, and one that was left is forgotten.
            let mut stateless = HeaderMap::new();
            stateless.insert(REVISION, HeaderValue::from_static("2026-07-28"));
            let mut unknown = HeaderMap::new();
            unknown.insert(HEADER, HeaderValue::from_static("none of ours"));
            let before = sessions.manager.sessions.read().await.len();
            for headers in [&stateless, &unknown] {
                sessions.look_at(headers).await;
            }
            assert_eq!(sessions.manager.sessions.read().await.len(), before);
            sessions.manager.close_session(&used).await.unwrap();
            for (id, _) in &transports {
                let mut headers = HeaderMap::new();
                headers.insert(HEADER, HeaderValue::from_str(id).unwrap());
                sessions.look_at(&headers).await;
            }
            assert!(!sessions.last_used().contains_key(&used));
        });
    }
}
