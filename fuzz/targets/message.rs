//! libFuzzer's entry to `portald_fuzz::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portald_fuzz::message::run(data));
