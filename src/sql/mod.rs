//! SQL text: literals, key comparisons, the statements that copy pages and write changes.
//!
//! Pure. Every statement that is built at run time is built here, so quoting is in one place and
//! each can be tested without a server. Statements that never vary stand where they are used.

mod fingerprint;
mod key;
mod literal;
mod page;
mod rows;
mod stage;
mod write;

pub use fingerprint::{
    Hashing, fingerprint, hash_of_a_text, list_keys, list_rows, look_at_rows, respelled,
    values_of_row,
};
pub use key::{KeyColumn, KeyValues, Operators, after, columns_of_t, up_to};
pub use literal::quote_literal;
pub use page::{bound_within, copy_page_in, copy_page_out, key_ends, next_bound};
pub use rows::Rows;
pub use stage::Stage;
pub use write::{
    FETCH_NUMBER, delete_rows, fetch_rows, insert_rows, move_row, truncate, update_rows,
    upsert_rows,
};
