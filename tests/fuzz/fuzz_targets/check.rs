#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| meshnode_tests::fuzz_bodies::check(data));
