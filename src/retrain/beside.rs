//! Retraining within a backtest: the history is kept on a thread of its own, fed with what leaves the dataflow, and asked when a week
//! of the data's time is over.
//!
//! The answer depends on what was told before the question only, so a backtest stays repeatable. Deliberately absent: the schedule.

use super::RetrainConfig;
use super::history::History;
use super::learn::{Learnt, learn};
use crate::engine::registry::Registry;
use pulse_dataflows::ports::{Records, Topic};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Batches of records that may wait; then the dataflow does.
const WAITING: usize = 64;

enum Told {
    Records(Topic, Records),
    Close { now_ms: i64, champion: String, reply: SyncSender<Result<Option<Learnt>, String>> },
}

/// The thread, from outside. It ends when this is dropped.
#[derive(Clone)]
pub struct Beside(SyncSender<Told>);

impl Beside {
    /// Starts it.
    pub fn start(config: RetrainConfig, registry: Arc<Registry>, budget_per_day: f64) -> std::io::Result<Beside> {
        let (sender, receiver) = sync_channel(WAITING);
        let run = move || work(&receiver, &config, &registry, budget_per_day);
        std::thread::Builder::new().name("retrain".into()).spawn(run)?;
        Ok(Beside(sender))
    }
    /// Records that left, or labels that became known.
    pub fn tell(&self, topic: Topic, records: &Records) {
        if matches!(topic, Topic::Scored | Topic::Alerts | Topic::Labels) && !records.is_empty() {
            // a thread that has ended answers the next question with an error
            let _ = self.0.send(Told::Records(topic, records.clone()));
        }
    }
    /// What is learnt from all that was told, at a moment of event time.
    pub fn close(&self, now_ms: i64, champion: &str) -> Result<Option<Learnt>, String> {
        let gone = |_| "the retraining thread has ended".to_owned();
        let (reply, answer) = sync_channel(1);
        self.0.send(Told::Close { now_ms, champion: champion.into(), reply }).map_err(|_| gone(()))?;
        answer.recv().map_err(|_| gone(()))?
    }
}

fn work(receiver: &Receiver<Told>, config: &RetrainConfig, registry: &Registry, budget_per_day: f64) {
    let mut history = History::new(config.window_ms());
    while let Ok(told) = receiver.recv() {
        match told {
            Told::Records(topic, records) => records.iter().for_each(|(_, value)| match topic {
                Topic::Scored => history.scored(value),
                Topic::Alerts => history.alert(value),
                _ => history.label(value),
            }),
            Told::Close { now_ms, champion, reply } => {
                let learnt = learn(&mut history, registry, &champion, now_ms, config, budget_per_day);
                let _ = reply.send(learnt.map_err(|e| e.to_string())); // who asks waits
            }
        }
    }
}
