//! What goes over the wire between a client and `pyro mcp serve`, line by line: what is answered, what is refused, and what
//! is left when either of them goes.

mod cancels;
mod ends;
mod messages;
mod pages;
mod paths;
mod revisions;
mod together;
mod unread;
