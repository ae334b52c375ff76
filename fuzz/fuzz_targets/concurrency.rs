//! Runs the body of the target `concurrency`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| faultless_fuzzing::play("concurrency", input));
