//! libFuzzer's entry to `portald_fuzz::description`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portald_fuzz::description::run(data));
