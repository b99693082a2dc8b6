//! libFuzzer's door to `ravelin_fuzz::template`. Nothing else may stand here, so that a replay runs the same code.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| ravelin_fuzz::template::run(input));

#[cfg(not(fuzzing))]
fn main() {
    println!(
        "built without libFuzzer: run `cargo xtask fuzz`, or `cargo test -p ravelin-fuzz` to replay the corpus"
    );
}
