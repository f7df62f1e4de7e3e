//! The shipped model can be made again, to the byte.

use pulse::app::bootstrap::{SHIPPED, bootstrap};

#[test]
fn the_shipped_model_is_what_its_command_makes() {
    let (seed, shops, events) = SHIPPED;
    let made = bootstrap(seed, shops, events, &[], &mut || {}).unwrap();
    let shipped = std::fs::read("models/v0/global_model@v0.bundle").unwrap();
    assert!(made == shipped, "pulse model bootstrap --out models/v0/global_model@v0.bundle gives other bytes");
}
