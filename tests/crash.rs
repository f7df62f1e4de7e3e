//! Nothing lost, nothing twice, nothing altered, whatever dies: the engine is killed at random moments and started again
//! with another number of workers; in the end its outputs are those of an unbroken replay, byte for byte.

#[path = "crash/checkpoints.rs"]
mod checkpoints;
#[path = "crash/child.rs"]
mod child;
#[path = "log/disk.rs"]
mod disk;
#[path = "crash/export.rs"]
mod export;
#[path = "crash/floods.rs"]
mod floods;
#[path = "crash/kills.rs"]
mod kills;
#[path = "crash/late.rs"]
mod late;
#[path = "crash/live.rs"]
mod live;
#[path = "crash/machine.rs"]
mod machine;
#[path = "crash/poison.rs"]
mod poison;
#[path = "crash/power.rs"]
mod power;
#[path = "crash/rounds.rs"]
mod rounds;
#[path = "crash/s3.rs"]
mod s3;
#[path = "crash/stops.rs"]
mod stops;
