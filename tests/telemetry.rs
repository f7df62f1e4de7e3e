//! Metrics and latencies, as the running program gives them and as tools of others read them.

#[path = "telemetry/moves.rs"]
mod moves;
#[path = "telemetry/program.rs"]
mod program;
#[path = "telemetry/tools.rs"]
mod tools;
