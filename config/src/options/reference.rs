//! Placeholder until the pages are printed.
/// x
pub struct Difference;
/// x
pub const DIFFERENCES: &[Difference] = &[];
/// x
pub fn differences_markdown() -> String {
    String::new()
}
/// x
pub fn options_markdown() -> String {
    String::new()
}
