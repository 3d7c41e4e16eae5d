//! libFuzzer's entry to `portald_fuzz::room`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portald_fuzz::room::run(data));
