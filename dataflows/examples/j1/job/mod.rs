//! The job as a dataflow: `source -> split -> keyed by account -> gather -> forest and output`, one file in and one out a
//! worker.
//!
//! Epochs are cut by event time, so a closed epoch can be put in the order of time whatever file its events come from: the
//! job forbids to rely on the partitions of the input. Deliberately absent: checkpoints, as in every peer of this job.

pub mod account;
pub mod input;
pub mod output;

use account::Accounts;
use input::{Block, Input, Tables};
use output::Output;
use pulse_operators::decide::deciding;
use pulse_operators::flow::{Due, Progress};
use pulse_operators::gather::gather;
use pulse_operators::keyed::keyed;
use pulse_operators::source::{Pull, source};
use pulse_operators::split::split;
use pulse_operators::threshold::Thresholds;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use timely::dataflow::operators::generic::operator::empty;
use timely::worker::Worker;

/// What all workers of a run share.
struct Run {
    files: Vec<PathBuf>,
    out: String,
    origin_ms: i64,
    tables: Tables,
    forest: output::Forest,
    failed: Mutex<Option<String>>,
}
impl Run {
    /// The first error counts; sources end at it.
    fn fail(&self, why: String) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
    fn has_failed(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Runs the job over the files in `data`; outputs begin with `out`.
pub fn run(data: &Path, out: &str, workers: usize) -> Result<(), String> {
    let file = |k| if workers == 1 { "events.jsonl".into() } else { format!("events.p{k}of{workers}.jsonl") };
    let files: Vec<PathBuf> = (0..workers).map(|k| data.join(file(k))).collect();
    let run = Arc::new(Run {
        origin_ms: input::origin_ms(&files)?,
        files,
        out: out.to_owned(),
        tables: Tables::load(data)?,
        forest: output::Forest::load(&data.join("forest.json"))?,
        failed: Mutex::new(None),
    });
    let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    let each = run.clone();
    let guards = timely::execute(config, move |worker| {
        if let Err(why) = build(worker, &each) {
            each.fail(why);
        }
    })?;
    for worker in guards.join() {
        worker?;
    }
    let failed = run.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    failed.map_or(Ok(()), Err)
}

/// Every worker builds the same.
fn build(worker: &mut Worker, run: &Arc<Run>) -> Result<(), String> {
    let me = worker.index();
    let mut input = run.files.get(me).ok_or("no file for a worker").and_then(|file| {
        Input::open(file, run.origin_ms, me as u16).map_err(|_| "a file of events cannot be opened")
    })?;
    let mut output = Output::create(&format!("{}.{me}", run.out))?;
    worker.dataflow::<u64, _, _>(|scope| {
        let progress = Progress::starting_after(0);
        let reads = run.clone();
        let blocks = source(
            scope,
            progress.clone(),
            |_| {},
            move |epoch| match input.epoch(epoch, &reads.tables) {
                Ok(Some(block)) if !reads.has_failed() => {
                    let events = block.ids.len();
                    Pull::Epoch(Box::new(block), events)
                }
                Ok(_) => Pull::End,
                Err(why) => {
                    reads.fail(why);
                    Pull::End
                }
            },
        );
        let (touches, blocks) = split(scope, blocks, "Touches", |block: &mut Box<Block>, out| {
            out.append(&mut block.touches);
        });
        let answers = keyed(scope, touches, "Accounts", Due::default(), Accounts::default());
        let blocks = gather(blocks, answers, "Gathered");
        let writes = run.clone();
        // the output operator of the product waits for thresholds; here they never change
        let constant = [Thresholds { from_epoch: 0, version: String::new(), values: [1.0; 7] }];
        deciding(scope, blocks, empty(scope), &constant, move |block: Box<Block>, _, _| {
            if let Err(why) = output.write(&block, &writes.forest) {
                writes.fail(why);
            }
            progress.finish(block.epoch);
        });
    });
    Ok(())
}
