//! libFuzzer's entry to `portald_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portald_fuzz::request::run(data));
