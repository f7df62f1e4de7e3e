//! The shipped model can be made again, to the byte, from the seeded shops and the public data in the repository.

use pulse::app::bootstrap::{SHIPPED, SHIPPED_REAL, bootstrap};

#[test]
fn the_shipped_model_is_what_its_command_makes() {
    let (seed, shops, events) = SHIPPED;
    let made = bootstrap(seed, shops, events, &[SHIPPED_REAL.into()], &mut || {}).unwrap();
    let shipped = std::fs::read("models/v0/global_model@v0.bundle").unwrap();
    assert!(
        made == shipped,
        "pulse model bootstrap --real {SHIPPED_REAL} --out models/v0/global_model@v0.bundle gives other bytes"
    );
}
