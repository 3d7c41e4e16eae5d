//! libFuzzer's entry to `portald_fuzz::candidate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portald_fuzz::candidate::run(data));
