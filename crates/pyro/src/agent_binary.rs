//! The guest agent, built beside this crate and carried inside it.

/// The agent, a static program.
pub(crate) const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent"));

/// SHA-256 of [`AGENT`], so that no command has to compute it.
pub(crate) const AGENT_DIGEST: &str = env!("PYRO_AGENT_SHA256");
