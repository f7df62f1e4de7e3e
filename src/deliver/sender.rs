//! One lane for each endpoint: takes due rows from the outbox, as fast as bucket and breaker allow, and runs attempts.
//!
//! The queue is the outbox; in memory are only the attempts that run. A lane sleeps until its next row is due or it is
//! woken: nothing polls. Messages of one alert may overtake each other when one has to be tried again; receivers go by
//! `timestamp`. Deliberately absent: what is sent (kind) and when again (schedule).

use super::endpoint::{self, Endpoint};
use super::kind::{Kind, mail};
use super::limit::{self, Room};
use super::message::{MAX_LINK, with_latency, with_member};
use super::outbox::{self, Claim, Due};
use super::pace::{Breaker, Bucket};
use super::quiet;
use super::schedule::{self, Next, Outcome, RETRY_AFTER_MAX_MS};
use super::smtp::Letter;
use super::story::Story;
use super::template;
use super::transport::{Reply, Unanswered};
use super::{Attempted, Shared};
use crate::json::quoted;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A lane looks by itself this often: a wake-up cannot be lost for ever, nor a step of the clock go unseen.
const IDLE: Duration = Duration::from_secs(60);
/// Wait when all attempts that the process may run are taken.
const CROWDED: Duration = Duration::from_millis(50);
/// Wait after the store failed.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// How an attempt ended, for the lane.
struct Ended {
    outcome: Outcome,
    at_ms: i64,
    pause_until_ms: Option<i64>,
}

struct Lane {
    shared: Arc<Shared>,
    endpoint_id: String,
    breaker: Breaker,
    bucket: Bucket,
    flights: JoinSet<Option<Ended>>,
}

/// Runs the lane until it is stopped; attempts under way are waited for (they are bounded by the time-out).
pub(super) async fn run(
    shared: Arc<Shared>,
    endpoint_id: String,
    rate_per_s: f64,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let bucket = Bucket::new(rate_per_s, shared.config.burst, shared.now_ms());
    let mut lane = Lane { shared, endpoint_id, breaker: Breaker::default(), bucket, flights: JoinSet::new() };
    loop {
        let pause = lane.fill().await;
        tokio::select! {
            () = stop.cancelled() => break,
            () = wake.notified() => {}
            Some(ended) = lane.flights.join_next() => lane.ended(ended.ok().flatten()),
            () = tokio::time::sleep(pause) => {}
        }
    }
    while lane.flights.join_next().await.is_some() {}
}

impl Lane {
    fn ended(&mut self, ended: Option<Ended>) {
        match ended {
            Some(e) => self.breaker.ended(e.outcome.receiver_is_down(), e.at_ms, e.pause_until_ms),
            None => self.breaker.withdraw(),
        }
    }

    /// Starts attempts while there are due rows and everything allows it; for how long there is nothing to do then.
    async fn fill(&mut self) -> Duration {
        loop {
            while let Some(ended) = self.flights.try_join_next() {
                self.ended(ended.ok().flatten());
            }
            if self.flights.len() >= self.shared.config.concurrency || self.shared.stop.is_cancelled() {
                return IDLE;
            }
            let now_ms = self.shared.now_ms();
            let permit = match self.admit(now_ms) {
                Ok(permit) => permit,
                Err(pause) => return pause,
            };
            let (id, owner) = (self.endpoint_id.clone(), self.shared.owner_number());
            let claimed = self.shared.write(move |tx| {
                let Some(endpoint) = endpoint::find(tx, &id)?.filter(Endpoint::enabled) else { return Ok(None) };
                if let Some(most) = endpoint.options.most_per_hour
                    && let Room::Until(at) = limit::room(tx, &id, most, now_ms)?
                {
                    return Ok(Some((Claim::Wait(Some(at)), endpoint)));
                }
                Ok(Some((outbox::claim(tx, &id, owner, now_ms)?, endpoint)))
            });
            let pause = match claimed.await {
                Ok(Some((Claim::Row(due), endpoint))) => {
                    let shared = self.shared.clone();
                    self.flights.spawn(async move {
                        let ended = attempt(&shared, *due, endpoint).await;
                        drop(permit);
                        ended
                    });
                    continue;
                }
                Ok(Some((Claim::Wait(Some(next_ms)), _))) => wait(next_ms, now_ms),
                Ok(Some((Claim::Wait(None), _)) | None) => IDLE,
                Err(error) => {
                    tracing::error!(%error, endpoint = self.endpoint_id, "the outbox cannot be read; trying again");
                    AFTER_ERROR
                }
            };
            self.bucket.give_back();
            self.shared.total.lock().unwrap_or_else(|e| e.into_inner()).give_back();
            self.breaker.withdraw();
            return pause;
        }
    }

    /// Asks breaker, own bucket, the bucket of all, and the number of attempts; nothing is taken when one says no.
    fn admit(&mut self, now_ms: i64) -> Result<OwnedSemaphorePermit, Duration> {
        self.breaker.admit(now_ms).map_err(|at| at.map_or(IDLE, |at| wait(at, now_ms)))?;
        let result = self.tokens(now_ms);
        if result.is_err() {
            self.breaker.withdraw();
        }
        result
    }

    fn tokens(&mut self, now_ms: i64) -> Result<OwnedSemaphorePermit, Duration> {
        let permit = self.shared.permits.clone().try_acquire_owned().map_err(|_| CROWDED + self.turn(now_ms))?;
        self.bucket.take(now_ms).map_err(|at| wait(at, now_ms))?;
        let total = self.shared.total.lock().unwrap_or_else(|e| e.into_inner()).take(now_ms);
        total.map_err(|at| {
            self.bucket.give_back();
            // all lanes wait for the same bucket: at the same moment all but one would come in vain
            wait(at, now_ms) + self.turn(now_ms)
        })?;
        Ok(permit)
    }
}

impl Lane {
    /// Spreads the lanes over the time in which each of them could have a turn: many endpoints that come back at once must not
    /// take the processor from the scoring by asking.
    fn turn(&self, now_ms: i64) -> Duration {
        let lanes = self.shared.lanes.lock().unwrap_or_else(|e| e.into_inner()).len();
        turn(&self.endpoint_id, now_ms, lanes, self.shared.config.total_rate_per_s)
    }
}

/// At random, but the same for the same endpoint and time, so that nothing has to be seeded.
fn turn(endpoint: &str, now_ms: i64, lanes: usize, rate_per_s: f64) -> Duration {
    let round = lanes as f64 / rate_per_s.max(0.001);
    let share = xxhash_rust::xxh3::xxh3_64_with_seed(endpoint.as_bytes(), now_ms as u64) as f64 / u64::MAX as f64;
    Duration::from_secs_f64((round * share).min(IDLE.as_secs_f64()))
}

fn wait(until_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(until_ms.saturating_sub(now_ms).max(1) as u64).min(IDLE)
}

/// One attempt, from signing to the row's next state.
async fn attempt(shared: &Arc<Shared>, due: Due, endpoint: Endpoint) -> Option<Ended> {
    let at_ms = shared.now_ms();
    let since = due.times.received_ms.unwrap_or(due.times.appended_ms);
    let part = |ms: i64| (ms - since).max(0);
    let times = due.times;
    let body = with_latency(&due.body, part(times.appended_ms), part(times.scored_ms), part(due.first_sent_ms));
    let body = with_notes(shared, &due, body);
    let reply = send(shared, &due, &endpoint, body, at_ms).await;
    let now_ms = shared.now_ms();
    let outcome = endpoint.kind.outcome(&reply);
    measure(shared, &due, &reply);
    shared.metrics.attempt(&endpoint.id, outcome);
    let jitter = schedule::jitter(&due.message_id, &endpoint.id, due.attempts + 1);
    let next = match schedule::next(&shared.schedule_ms, due.attempts + 1, outcome, now_ms, jitter) {
        Next::RetryAt(at) => {
            Next::RetryAt(quiet::until(&endpoint.options.quiet, &shared.zone, due.severity, at).unwrap_or(at))
        }
        next => next,
    };
    let mut line = outbox::attempt(&endpoint.id, &due, at_ms, (now_ms - at_ms).max(0), outcome);
    line.status = reply.status.as_ref().ok().copied();
    line.reply = reply.text;
    if let Err(Unanswered::Blocked(refusal)) = &reply.status {
        tracing::warn!(endpoint = endpoint.id, %refusal, "delivery to a forbidden address was blocked");
    }
    let told: Vec<String> = due.told.iter().chain(&reply.told).cloned().collect();
    record(shared, &line, &told, next, outcome, now_ms).await;
    let throttled = match outcome {
        Outcome::Throttled(Some(wish_ms)) => Some(now_ms + wish_ms.min(RETRY_AFTER_MAX_MS)),
        _ => None,
    };
    Some(Ended { outcome, at_ms: now_ms, pause_until_ms: throttled })
}

/// What is to be said about the message itself: the same at every attempt.
fn with_notes(shared: &Shared, due: &Due, mut body: String) -> String {
    if due.more > 0 {
        body = with_member(&body, "more", &due.more.to_string());
    }
    if let Some(name) = &due.instead_of {
        body = with_member(&body, "instead_of", &quoted(name));
    }
    let over = due.kind.ends_with(".resolved");
    let path = shared.links.as_ref().filter(|_| !over).and_then(|key| key.path(&due.subject, due.times.scored_ms));
    let url = path.map(|path| format!("{}{path}", shared.config.public_url.trim_end_matches('/')));
    match url.filter(|url| url.len() <= MAX_LINK) {
        Some(url) => with_member(&body, "take_on_url", &quoted(&url)),
        None => body,
    }
}

/// Over the kind's own way.
async fn send(shared: &Shared, due: &Due, endpoint: &Endpoint, body: String, at_ms: i64) -> Reply {
    if !endpoint.options.template.is_empty() {
        let (template, media_type) = (&endpoint.options.template, endpoint.options.media_type());
        return match template::render(template, media_type, &due.message_id, &body) {
            Ok(body) => {
                let request = endpoint.kind.request(endpoint, &due.message_id, body, at_ms);
                shared.transport.send(&endpoint.url, request).await
            }
            Err(why) => Reply::unanswered(Unanswered::Unwritable(why), None),
        };
    }
    if endpoint.kind != Kind::Email {
        let request = endpoint.kind.request(endpoint, &due.message_id, body, at_ms);
        return shared.transport.send(&endpoint.url, request).await;
    }
    let unsent = |why: String| Reply::unanswered(Unanswered::Broken(why), None);
    let Some(post) = &shared.post else { return unsent("webhooks.mail.server is not set".into()) };
    let all = match mail::recipients(&endpoint.url) {
        Ok(all) => all,
        Err(why) => return unsent(why),
    };
    let story = Story::read(&due.message_id, &body);
    match mail::message(&story, &due.message_id, post.from(), &all, due.first_sent_ms) {
        Ok(bytes) => {
            let to = all.into_iter().filter(|address| !due.told.contains(&address.to_string())).collect();
            post.send(&Letter { bytes, to }).await
        }
        Err(why) => Reply::unanswered(Unanswered::Unwritable(why), None),
    }
}

/// Latency of a message's very first attempt.
fn measure(shared: &Shared, due: &Due, reply: &Reply) {
    let (true, Some(written_ms)) = (due.first, reply.written_ms) else { return };
    // Times are whole milliseconds: counted to the end of the millisecond, so that nothing looks faster than it was.
    let record = |stage: &super::Stage, ms: i64| stage(Duration::from_millis(ms.max(0) as u64 + 1));
    if let Some(notify) = &shared.notify {
        record(notify, written_ms - due.times.scored_ms);
    }
    if let Some(received_ms) = due.times.received_ms.filter(|_| due.kind == "anomaly.opened") {
        shared.metrics.ingest_to_alert(((written_ms - received_ms).max(0) + 1) as f64 / 1000.0);
        if let Some(total) = &shared.ingest_to_alert {
            record(total, written_ms - received_ms);
        }
    }
}

/// Writes the outcome down; keeps trying while the store fails, because the receiver has the message already.
async fn record(
    shared: &Arc<Shared>,
    line: &outbox::Attempt,
    told: &[String],
    next: Next,
    outcome: Outcome,
    now_ms: i64,
) {
    loop {
        let (copy, told, state) = (line.clone(), told.to_vec(), shared.clone());
        let settled = shared.write(move |tx| {
            if !told.is_empty() {
                outbox::tell(tx, &copy.message_id, &copy.endpoint_id, &told)?;
            }
            settle(&state, tx, &copy, next, outcome, now_ms)
        });
        match settled.await {
            Ok(attempted) => {
                shared.wake(attempted.1);
                let _ = shared.attempted.send(attempted.0); // nobody has to listen
                return;
            }
            Err(error) => {
                tracing::error!(%error, endpoint = line.endpoint_id, "an attempt cannot be written down; trying again");
                tokio::select! {
                    () = shared.stop.cancelled() => return, // its row is `sending`: it will be sent again
                    () = tokio::time::sleep(AFTER_ERROR) => {}
                }
            }
        }
    }
}

/// Row, attempt log and endpoint in one transaction. Whom to wake.
fn settle(
    shared: &Shared,
    tx: &crate::store::Db,
    line: &outbox::Attempt,
    next: Next,
    outcome: Outcome,
    now_ms: i64,
) -> crate::store::Result<(Attempted, Vec<String>)> {
    let id = &line.endpoint_id;
    let failing_since_ms = endpoint::note(tx, id, outcome == Outcome::Delivered, now_ms)?;
    let patience_ms = shared.config.disable_after_hours as i64 * 3_600_000;
    let hopeless = failing_since_ms.is_some_and(|since| now_ms - since >= patience_ms);
    let alive = endpoint::find(tx, id)?.is_some_and(|e| e.enabled());
    let mut woken = Vec::new();
    let state = outbox::record(tx, line, next, alive && !hopeless, shared.config.attempts_kept)?;
    if next == Next::Disable || hopeless {
        let reason = if next == Next::Disable { "gone" } else { "failing" };
        woken = shared.disable(tx, id, reason, now_ms)?;
    }
    if outcome != Outcome::Delivered {
        woken.extend(hand_over(tx, line, state, failing_since_ms, now_ms)?);
    }
    woken.push(id.clone());
    let attempted = Attempted { endpoint_id: id.clone(), message_id: line.message_id.clone(), outcome, state };
    Ok((attempted, woken))
}

/// What a destination has not taken for so long goes to who stands in for it, ms: two or three attempts.
const PATIENCE_MS: i64 = 10_000;

/// Gives what this destination does not take to the one that stands in for it: a message that is given up at once, everything that waits
/// when nothing was taken for a while. Whom to wake.
fn hand_over(
    tx: &crate::store::Db,
    line: &outbox::Attempt,
    state: &str,
    failing_since_ms: Option<i64>,
    now_ms: i64,
) -> crate::store::Result<Option<String>> {
    let endpoints = endpoint::all(tx)?;
    let Some(this) = endpoints.iter().find(|e| e.id == line.endpoint_id) else { return Ok(None) };
    let Some(to) = endpoint::stand_in(&endpoints, this) else { return Ok(None) };
    let mut handed = 0;
    if state == "dead" {
        handed += outbox::hand_over(tx, this, &to.id, Some(&line.message_id), now_ms)?;
    }
    if failing_since_ms.is_some_and(|since| now_ms - since >= PATIENCE_MS) {
        handed += outbox::hand_over(tx, this, &to.id, None, now_ms)?;
    }
    if handed > 0 {
        tracing::warn!(
            endpoint = this.called(),
            to = to.called(),
            handed,
            "a destination takes nothing: another one gets it"
        );
    }
    Ok((handed > 0).then(|| to.id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_wait_for_one_bucket_ask_as_often_as_it_gives() {
        // ten thousand lanes, two hundred tokens a second: one after the other, for ten seconds of asking
        let (lanes, rate) = (10_000, 200.0);
        let mut asked = 0;
        for lane in 0..lanes {
            let (id, mut now) = (format!("ep_{lane}"), 0);
            while now < 10_000 {
                now += 5 + turn(&id, now, lanes, rate).as_millis() as i64;
                asked += 1;
            }
        }
        assert!(asked < 3 * 10 * 200 + 2 * lanes, "{asked} times in 10 s");
        assert!(turn("a", 1, 1, 200.0) <= Duration::from_millis(5), "one lane alone hardly waits");
    }
}
