//! Credentials: found before they are committed, masked before they are recorded.
//!
//! A commit that can't be taken back from every clone is no place for a key. This module looks for
//! what has the shape of one; it never shows, logs or stores a value it has found, and it never
//! changes a file of the user.

mod allow;
mod check;
mod mask;
mod rules;
mod scan;
mod wide;

pub use allow::Allow;
pub use check::{Finding, scan_file};
pub use mask::{is_secret, mask_file, mask_text, mask_values, mask_words};
pub use rules::TextKind;
pub use scan::{Hit, scan};

#[cfg(test)]
mod tests;
