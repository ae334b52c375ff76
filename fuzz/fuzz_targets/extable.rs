//! Runs the body of the target `extable`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| faultless_fuzzing::play("extable", input));
