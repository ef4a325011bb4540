#![no_main]

#[path = "../bodies/mod.rs"]
mod bodies;
#[path = "../../packets/mod.rs"]
mod packets;
#[path = "../../world/mod.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::pieces::pieces(input));
