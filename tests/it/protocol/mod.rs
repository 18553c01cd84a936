//! Sessions on real servers: connecting, logging in, TLS, settings, streams; the servers themselves.

pub(crate) mod cluster;
pub(crate) mod libpq;
pub(crate) mod login;
pub(crate) mod pooler;
pub(crate) mod sabotage;
pub(crate) mod servers;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod streams;
pub(crate) mod tls;
