//! Makes the Rust types and service stubs of `proto/`, without a system protoc.

use std::error::Error;
use std::path::Path;

const PROTO: &str = "text_generation_server/pb/engine.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../proto");
    println!("cargo:rerun-if-changed={}", root.join(PROTO).display());
    let descriptors = protox::compile([PROTO], [root])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
