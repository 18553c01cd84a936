//! The start of a session, message by message.
