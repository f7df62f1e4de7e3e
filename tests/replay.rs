//! The same log gives the same bytes: whatever the number of workers, in files or in a recorded log.

#[path = "replay/backtest.rs"]
mod backtest;
#[path = "replay/bootstrap.rs"]
mod bootstrap;
#[path = "replay/evaluate.rs"]
mod evaluate;
#[path = "replay/import.rs"]
mod import;
#[path = "replay/outage.rs"]
mod outage;
#[path = "replay/retrain.rs"]
mod retrain;
#[path = "replay/switch.rs"]
mod switch;
#[path = "replay/time.rs"]
mod time;
