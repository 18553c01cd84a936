//! Every backend message: parsing never panics, and what a message counts is what it holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::wire::{BackendMessage, Frame};

fuzz_target!(|input: (u8, &[u8])| {
    let (tag, body) = input;
    match BackendMessage::parse(Frame { tag, body }) {
        Ok(BackendMessage::DataRow(row)) => row.values().for_each(drop),
        Ok(BackendMessage::RowDescription(shape)) => shape.columns().for_each(drop),
        Ok(message) => assert!(!message.name().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
