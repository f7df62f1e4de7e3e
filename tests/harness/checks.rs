//! What must hold in the end, whatever went wrong: everything that was taken is scored once, as one worker does it from the log that was
//! left; the store has it once; every alert came, with one content; `pulse audit` agrees; nobody grew without end.
//!
//! Every check is made, so that a run says all it has found.

use crate::client::Sent;
use crate::place::apart;
use crate::same::{outputs, replayed};
use crate::world::World;
use pulse::deliver::message::Message;
use pulse::log::KafkaLog;
use pulse_dataflows::ports::{EventLog, FROM_GATEWAY, Topic, partition};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

/// A replay takes some seconds; of a log that cannot be it waits for ever.
const REPLAY: Duration = Duration::from_secs(300);

/// Outcomes of all checks: what was found.
pub fn all(world: &World, sent: &Sent) -> Vec<String> {
    let (lines, grown) = world.watch.judge(); // now: the checks write files too
    let log = world.log();
    let mut found = world.parts.complaints.lock().unwrap().clone();
    let mut check = |name: &str, check: &dyn Fn() -> Result<String, String>| {
        let outcome = catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|e| Err(text(&*e)));
        match outcome {
            Ok(said) => println!("  {name}: {said}"),
            Err(why) => found.push(format!("{name}: {why}")),
        }
    };
    check("scored and alerts as one worker makes them", &|| {
        let alerts = log.end(partition(Topic::Alerts, 0));
        let (log, objects, dir, (tell, told)) = (log.clone(), world.objects(), world.dir.path().to_owned(), channel());
        std::thread::spawn(move || {
            tell.send(catch_unwind(AssertUnwindSafe(|| replayed(log, objects, &dir))).map_err(|e| text(&*e)))
        });
        let scored = told.recv_timeout(REPLAY).map_err(|_| "a replay of what the log says never ends".to_owned())??;
        Ok(format!("{scored} scored events, {} alerts", alerts))
    });
    check("a cause has one output", &|| causes(&log));
    check("what was taken is scored", &|| taken(&log, sent));
    check("rows against the topics", &|| rows(world, &log));
    check("webhooks", &|| hooks(world, &log));
    check("audit", &|| {
        let report = world.audit();
        (report["agrees"] == true && report["deliveries"]["dead"] == 0)
            .then(|| report["deliveries"].to_string())
            .ok_or(report.to_string())
    });
    check("nobody panicked", &|| {
        let said = world.said();
        let wrong: Vec<String> =
            said.iter().flat_map(|(name, said)| panics(said).map(move |p| format!("{name}: {p}"))).collect();
        outcome(&wrong, format!("{} parts", said.len()))
    });
    check("objects", &|| strays(world));
    lines.iter().for_each(|line| println!("  {line}"));
    found.extend(grown.into_iter().map(|line| format!("it grows: {line}")));
    found
}

/// Manifests that are kept, and a few objects beside those that they name: of checkpoints that were given up since.
const KEPT: usize = 3;
const STRAYS: usize = 8;

/// Checkpoints do not pile up, whoever died while it wrote one.
fn strays(world: &World) -> Result<String, String> {
    let objects = world.objects();
    let names = objects.list("checkpoints").map_err(|e| e.to_string())?;
    let manifests: Vec<&String> = names.iter().filter(|name| name.ends_with(".manifest")).collect();
    let texts: Vec<String> = manifests
        .iter()
        .filter_map(|name| objects.get(name).ok().flatten())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    let states = names.iter().filter(|name| name.ends_with(".state"));
    let strays: Vec<String> = states.filter(|name| !texts.iter().any(|text| text.contains(*name))).cloned().collect();
    if manifests.len() > KEPT || strays.len() > STRAYS {
        return Err(format!("{} manifests, {} objects that none names: {strays:?}", manifests.len(), strays.len()));
    }
    Ok(format!(
        "{} manifests, {} objects, {} of them named by none",
        manifests.len(),
        names.len() - manifests.len(),
        strays.len()
    ))
}

/// Panics in what a part said, with the line behind them; that timely's connection ended is how it hears of the end of another process.
fn panics(said: &str) -> impl Iterator<Item = String> {
    let lines = said.lines().zip(said.lines().skip(1)).filter(|(line, _)| line.contains("panicked at"));
    let lines = lines.filter(|(_, why)| !why.contains("timely communication error"));
    lines.map(|(line, why)| format!("{line} {why}"))
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or(panic.downcast_ref::<&str>().map(|t| (*t).to_owned())).unwrap_or("panicked".into())
}

fn outcome(wrong: &[String], said: String) -> Result<String, String> {
    if wrong.is_empty() {
        Ok(said)
    } else {
        Err(format!("{} wrong: {}", wrong.len(), wrong[..wrong.len().min(5)].join("; ")))
    }
}

/// What stands in a topic again, as a zombie or a restart writes it, has the same bytes.
fn causes(log: &KafkaLog) -> Result<String, String> {
    let (mut wrong, mut repeats) = (Vec::new(), 0);
    for topic in [Topic::Scored, Topic::Alerts, Topic::Rejected, Topic::Enriched] {
        for number in 0..log.partitions(topic) {
            let mut seen = BTreeMap::new();
            for (meta, value) in crate::records(log, partition(topic, number)) {
                let cause = (meta.cause.partition, meta.cause.offset, meta.cause.kind);
                if meta.cause.kind == FROM_GATEWAY {
                    continue;
                }
                match seen.get(&cause) {
                    None => _ = seen.insert(cause, value),
                    Some(known) if *known == value => repeats += 1,
                    Some(known) => wrong.push(format!(
                        "{}/{number} {cause:?}: {} and {}",
                        topic.name(),
                        String::from_utf8_lossy(known),
                        String::from_utf8_lossy(&value)
                    )),
                }
            }
        }
    }
    outcome(&wrong, format!("{repeats} repeats"))
}

/// Ids of the scored events, with their values.
fn scored(log: &KafkaLog) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut all, mut wrong) = (BTreeMap::new(), Vec::new());
    for number in 0..log.partitions(Topic::Scored) {
        for value in outputs(log, Topic::Scored, number) {
            let text = String::from_utf8(value).unwrap();
            let event: Value = serde_json::from_str(&text).unwrap();
            let id = event["id"].as_str().unwrap_or_default().to_owned();
            if all.insert(id.clone(), text).is_some() {
                wrong.push(format!("{id} is scored twice"));
            }
        }
    }
    (all, wrong)
}

fn taken(log: &KafkaLog, sent: &Sent) -> Result<String, String> {
    let (scored, mut wrong) = scored(log);
    let taken = sent.taken.lock().unwrap();
    wrong.extend(
        taken.iter().filter(|id| !scored.contains_key(*id)).map(|id| format!("{id} was taken and is not scored")),
    );
    wrong.extend(
        scored
            .keys()
            .filter(|id| !taken.contains(*id))
            .map(|id| format!("{id} is scored and nobody was told that it was taken")),
    );
    wrong.extend(sent.refused.lock().unwrap().iter().map(|item| format!("refused: {item}")));
    outcome(&wrong, format!("{} events", taken.len()))
}

fn rows(world: &World, log: &KafkaLog) -> Result<String, String> {
    let (scored, _) = scored(log);
    let ask = |sql: &str| apart(|| world.client().unwrap().query(sql, &[]).unwrap());
    let (mut rows, mut wrong) = (BTreeSet::new(), Vec::new());
    for row in ask("SELECT event_id, json FROM scored_events") {
        let (id, json): (String, String) = (row.get(0), row.get(1));
        match scored.get(&id) {
            None => wrong.push(format!("{id} is a row and not in the topic")),
            Some(text) if *text != json => wrong.push(format!("{id} is {json} in the store, {text} in the topic")),
            Some(_) if !rows.insert(id.clone()) => wrong.push(format!("{id} is two rows")),
            Some(_) => {}
        }
    }
    wrong.extend(scored.keys().filter(|id| !rows.contains(*id)).map(|id| format!("{id} has no row")));
    let counted: i64 = ask("SELECT coalesce(sum(events), 0)::bigint FROM event_hours")[0].get(0);
    if counted != rows.len() as i64 {
        wrong.push(format!("{counted} events are counted by hour, {} are rows", rows.len()));
    }
    let (mut told, mut stored) = (BTreeSet::new(), BTreeSet::new());
    for (meta, value) in crate::records(log, partition(Topic::Alerts, 0)) {
        let value: Value = serde_json::from_slice(&value).unwrap();
        if value["type"] != "series.points" {
            told.insert((
                i32::from(meta.cause.partition),
                meta.cause.offset as i64,
                i64::from(meta.cause.kind),
                value["type"].as_str().unwrap_or_default().to_owned(),
            ));
        }
    }
    for row in ask("SELECT cause_partition, cause_offset, cause_kind, type FROM alert_history") {
        stored.insert((row.get::<_, i32>(0), row.get::<_, i64>(1), row.get::<_, i64>(2), row.get::<_, String>(3)));
    }
    wrong.extend(stored.difference(&told).map(|a| format!("the store knows of {a:?}, the topic does not")));
    wrong.extend(
        told.difference(&stored)
            .filter(|a| !a.3.starts_with("series"))
            .map(|a| format!("the topic knows of {a:?}, the store does not")),
    );
    outcome(&wrong, format!("{} rows, {} alert records", rows.len(), stored.len()))
}

/// Every message that follows from the topic and is not suppressed came, signed, and each id with one content.
fn hooks(world: &World, log: &KafkaLog) -> Result<String, String> {
    let (mut expected, mut wrong) = (BTreeMap::new(), Vec::new());
    for (meta, value) in crate::records(log, partition(Topic::Alerts, 0)) {
        if let Ok(message) = Message::read(&value, meta.cause)
            && message.suppressed.is_none()
        {
            expected.insert(message.id, message.kind);
        }
    }
    let (mut came, mut repeats) = (BTreeMap::<String, String>::new(), 0);
    for message in world.receiver.received() {
        if !message.valid {
            wrong.push(format!("{} is not signed as it should", message.id));
        }
        if !expected.contains_key(&message.id) {
            wrong.push(format!("{} ({}) follows from nothing", message.id, message.r#type));
        }
        repeats += u64::from(message.repeat);
        let known = came.entry(message.id.clone()).or_insert_with(|| message.body.clone());
        if *known != message.body {
            wrong.push(format!("{} has two contents: {known} and {}", message.id, message.body));
        }
    }
    wrong.extend(
        expected.iter().filter(|(id, _)| !came.contains_key(*id)).map(|(id, kind)| format!("{id} ({kind}) never came")),
    );
    outcome(&wrong, format!("{} messages, {repeats} repeats", came.len()))
}
