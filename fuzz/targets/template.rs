//! libFuzzer's entry to `portald_fuzz::template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portald_fuzz::template::run(data));
