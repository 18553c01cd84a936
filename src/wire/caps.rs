//! Caps on what a peer can make us walk over or hold, each with where its number comes from.

/// The most columns that a row of any kind has: `MaxTupleAttributeNumber` in `htup_details.h`,
/// beyond which a server can't form one (tables stop at 1,600, `MaxHeapAttributeNumber`).
pub const COLUMNS_MAX: u16 = 1664;
