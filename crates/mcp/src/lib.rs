//! The MCP server: pyro's operations as tools for models, over standard input and output or over HTTP.
//!
//! A thin face on the `pyro` crate, as the command line is one: the tools turn arguments into calls of it, and what it
//! gives into answers of bounded length. It keeps no state between calls: workspaces, shells and cursors are named in
//! the arguments, so that any number of servers can work on one state directory. It knows nothing of QEMU, reads no
//! environment variable, and in stdio mode nothing but the protocol is written to standard output.

mod answer;
mod call;
#[cfg(feature = "conformance")]
mod conformance;
mod engine;
mod http;
mod limits;
mod oversized;
mod profile;
mod progress;
mod project;
mod prompts;
mod resources;
mod schema;
mod server;
mod stdio;
mod tools;
mod wording;

pub use engine::Options;
pub use http::{HttpOptions, Listening, listen, new_token};
pub use profile::Profile;
pub use project::Project;
pub use stdio::serve_stdio;
