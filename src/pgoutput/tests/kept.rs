//! What was kept of a block comes back as if it had never been in one.

use super::samples::{all, in_block};
use crate::pgoutput::{DecodeError, Decoder, MessageKind, encode::to_bytes};

#[test]
fn what_stood_in_a_block_comes_back_without_its_xid() {
    let mut kept = 0;
    for sample in all() {
        let Some(_) = sample.message.block_xid() else { continue };
        let message = sample.message.without_block_xid();
        assert_eq!(message.block_xid(), None, "{}", sample.name);
        assert_eq!(Decoder::decode_kept(sample.bytes), Ok(message), "{}", sample.name);
        assert_eq!(to_bytes(&message).len() + 4, sample.bytes.len(), "{}", sample.name);
        kept += 1;
    }
    assert!(kept >= 7, "{kept}");
}

#[test]
fn what_can_not_stand_in_a_block_does_not_come_back() {
    for sample in all() {
        let in_block = in_block().decode(sample.bytes);
        let kept = Decoder::decode_kept(sample.bytes);
        match sample.message.kind() {
            MessageKind::StreamStop => {
                assert_eq!(kept, Err(DecodeError::OutsideBlock(MessageKind::StreamStop)));
            }
            // Versions and options are of the stream, and were looked at when it came.
            _ => assert_eq!(kept.is_ok(), in_block.is_ok(), "{}", sample.name),
        }
    }
    assert_eq!(Decoder::decode_kept(b""), Err(DecodeError::Empty));
}
