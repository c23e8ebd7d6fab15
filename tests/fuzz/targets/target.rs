//! The target that `MODELV_FUZZ` names, under libFuzzer.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use modelv_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("MODELV_FUZZ").unwrap_or_default();
    modelv_fuzz::find(&name).unwrap_or_else(|| panic!("MODELV_FUZZ names no target: `{name}`"))
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
