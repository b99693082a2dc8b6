//! loom over the proxy's live cell: the shipped file itself, which brings its checks and their negative controls.
//! Run by `RUSTFLAGS="--cfg ravelin_loom" CARGO_TARGET_DIR=target/loom cargo test -p ravelin-model-check
//! --no-default-features --lib loom`, which builds no part of the proxy but this file.

// The checks use what a worker uses; the rest of the cell's functions have no caller here.
#[allow(dead_code)]
#[path = "../../proxy/src/live/cell.rs"]
mod cell;
