//! The dashboard: who gets in and which forms count, over plain HTTP; then the pages in a real browser, headless Chromium driven by
//! playwright, against a real `pulse run`.
//!
//! Chromium, `playwright-core` and `@axe-core/playwright` are installed by `tests/run.sh`.

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "dashboard/doors.rs"]
mod doors;
#[path = "dashboard/pages.rs"]
mod pages;
#[path = "dashboard/size.rs"]
mod size;
#[path = "dashboard/states.rs"]
mod states;
#[path = "dashboard/world.rs"]
mod world;
