//! A log whose outputs arrive late: what a slow network would do between the workers and the log.

use pulse::log::SqliteLog;
use pulse_dataflows::ports::{EventLog, Hook, LogError, LogReader, Partition, Request, Topic};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LATE: Duration = Duration::from_millis(300);

/// Everything as it is, outputs later.
pub struct LateLog {
    log: Arc<SqliteLog>,
    outputs: Mutex<Sender<(Instant, Request)>>,
}

impl LateLog {
    pub fn over(log: Arc<SqliteLog>) -> Arc<LateLog> {
        let (tx, rx) = channel::<(Instant, Request)>();
        let behind = log.clone();
        std::thread::spawn(move || {
            for (due, request) in rx {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                behind.append(request);
            }
        });
        Arc::new(LateLog { log, outputs: Mutex::new(tx) })
    }
}

impl EventLog for LateLog {
    fn partitions(&self, topic: Topic) -> u16 {
        self.log.partitions(topic)
    }
    fn generation(&self) -> u64 {
        self.log.generation()
    }
    fn append(&self, request: Request) {
        match request.outputs {
            Some(_) => self.outputs.lock().unwrap().send((Instant::now() + LATE, request)).unwrap(),
            None => self.log.append(request),
        }
    }
    fn start(&self, partition: Partition) -> u64 {
        self.log.start(partition)
    }
    fn end(&self, partition: Partition) -> u64 {
        self.log.end(partition)
    }
    fn reader(&self) -> Box<dyn LogReader> {
        self.log.reader()
    }
    fn offset_for_time(&self, partition: Partition, time_ms: i64) -> Result<u64, LogError> {
        self.log.offset_for_time(partition, time_ms)
    }
    fn subscribe(&self, topics: &[Topic], wake: Box<dyn Fn() + Send + Sync>) {
        self.log.subscribe(topics, wake);
    }
    fn trim(&self, partition: Partition, offset: u64) -> Result<(), LogError> {
        self.log.trim(partition, offset)
    }
    fn sync(&self) -> Result<(), LogError> {
        self.log.sync()
    }
    fn install(&self, hook: Box<dyn Hook>) {
        self.log.install(hook);
    }
    fn nudge(&self) {
        self.log.nudge();
    }
}
