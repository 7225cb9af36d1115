//! Compiles the .proto files without protoc and keeps their descriptors for the JSON form.

use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 7] = [
    "runyard/v1/common.proto",
    "runyard/v1/runs.proto",
    "runyard/v1/fleet.proto",
    "runyard/v1/models.proto",
    "runyard/v1/blobs.proto",
    "runyard/agent/v1/agent.proto",
    "runyard/peer/v1/peer.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
