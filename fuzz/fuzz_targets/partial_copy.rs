//! Runs the body of the target `partial_copy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| faultless_fuzzing::play("partial_copy", input));
