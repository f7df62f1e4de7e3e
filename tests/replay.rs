//! The same log gives the same bytes: whatever the number of workers, in files or in a recorded log.

#[path = "replay/backtest.rs"]
mod backtest;
#[path = "replay/bootstrap.rs"]
mod bootstrap;
#[path = "replay/import.rs"]
mod import;
#[path = "replay/switch.rs"]
mod switch;
#[path = "replay/time.rs"]
mod time;
