//! Runs the body of the target `tail`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| faultless_fuzzing::play("tail", input));
