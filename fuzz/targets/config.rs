//! libFuzzer's entry to `portald_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portald_fuzz::config::run(data));
