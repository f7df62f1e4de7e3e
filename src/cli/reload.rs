//! A running process takes up what may change: on SIGHUP, or when its parent hands one on.
//!
//! The configuration is read again as at the start. Either all of what changed may change, and is in force when that is said; or it is
//! said what may not, and nothing changes. Certificates are read again whether or not a key changed.
//! Deliberately absent: how a part changes.

use super::run::{Order, Orders, RunArgs};
use super::{Failure, process};
use crate::app::live::Live;
use crate::config::Config;

/// Keys that may change in every process that reads them: the whole key, or what begins with it and a point or bracket.
const ANYWHERE: [&str; 6] = [
    "telemetry.log_level",
    "gateway.key_events_per_s",
    "gateway.key_events_burst",
    "gateway.ip_requests_per_s",
    "gateway.ip_requests_burst",
    "webhooks.endpoints",
];
/// Keys that go through the log, which `pulse run` writes: they hold from an epoch on, and for every replay.
const THROUGH_THE_LOG: [&str; 7] = ["entities", "signals", "fx", "rules", "series", "budget", "time"];

/// Takes up changes of the configuration until another order comes. `config`: what is in force at the start.
pub(super) async fn serve(
    orders: &mut Orders,
    args: &RunArgs,
    config: &Config,
    live: Live,
    through_the_log: bool,
) -> Result<(), Failure> {
    let mut now = config.clone();
    while orders.next().await == Order::Reload {
        let (args, live) = (args.clone(), live.clone());
        let reloaded = tokio::task::spawn_blocking(move || {
            let apply = |config: &Config| live.reload(&args.settings(config)).map_err(|e| e.to_string());
            let reload = Reload { load: &|| args.load(), through_the_log, apply: &apply };
            (reload.run(&mut now), now)
        });
        let (said, after) = reloaded.await.map_err(Failure::internal)?;
        eprintln!("pulse: {said}");
        now = after;
    }
    Ok(())
}

/// What a process can change.
struct Reload<'a> {
    /// Reads the configuration, as at the start.
    load: &'a dyn Fn() -> Result<Config, Failure>,
    /// Whether what goes through the log may change too.
    through_the_log: bool,
    /// Brings all but log lines into force.
    apply: &'a dyn Fn(&Config) -> Result<(), String>,
}

fn among(key: &str, allowed: &[&str]) -> bool {
    let is = |name: &&str| {
        key.strip_prefix(*name).is_some_and(|rest| matches!(rest.bytes().next(), None | Some(b'.' | b'[')))
    };
    allowed.iter().any(is)
}

impl Reload<'_> {
    /// Takes up what changed since `now`; what a person is told.
    fn run(&self, now: &mut Config) -> String {
        match self.try_run(now) {
            Ok(changed) if changed.is_empty() => "reloaded: no key has changed; certificates were read again".into(),
            Ok(changed) => format!("reloaded: {}", changed.join(", ")),
            Err(why) => format!("not reloaded, {why}"),
        }
    }
    fn try_run(&self, now: &mut Config) -> Result<Vec<String>, String> {
        let new = (self.load)().map_err(|e| format!("nothing has changed: {e}"))?;
        let changed = now.changes(&new);
        let may = |key: &&String| among(key, &ANYWHERE) || (self.through_the_log && among(key, &THROUGH_THE_LOG));
        let fixed: Vec<&str> = changed.iter().filter(|key| !may(key)).map(String::as_str).collect();
        if !fixed.is_empty() {
            let fixed = fixed.join(", ");
            return Err(format!("nothing has changed: {fixed} cannot change while it runs: start it again"));
        }
        let half = |e: String| format!("or not all of it, ask again: {e}");
        (self.apply)(&new).map_err(half)?;
        process::change_log_level(&new.telemetry).map_err(half)?;
        *now = new;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::read(Some(("pulse.toml", text)), []).unwrap()
    }

    #[test]
    fn keys_are_known_by_their_whole_names() {
        assert!(among("fx.USD", &THROUGH_THE_LOG) && among("webhooks.endpoints[0].secret", &ANYWHERE));
        assert!(!among("gateway.key_events_per_second", &ANYWHERE) && !among("webhooks.timeout_ms", &ANYWHERE));
    }

    #[test]
    fn either_all_changes_or_nothing_does() {
        let applied = std::cell::Cell::new(0);
        let run = |now: &mut Config, text: &str, through_the_log| {
            let load = || Ok(config(text));
            let apply = |_: &Config| {
                applied.set(applied.get() + 1);
                Ok(())
            };
            Reload { load: &load, through_the_log, apply: &apply }.run(now)
        };
        let mut now = config("");
        let said = run(&mut now, "[budget]\nalerts_per_day = 5\n[sidecar]\naddr = \"127.0.0.1:9\"\n", true);
        assert!(said.contains("sidecar.addr") && !said.contains("budget") && applied.get() == 0, "{said}");
        assert_eq!(now.budget.alerts_per_day, 20);
        assert!(run(&mut now, "[budget]\nalerts_per_day = 5\n", false).contains("budget.alerts_per_day"));
        assert_eq!(run(&mut now, "[budget]\nalerts_per_day = 5\n", true), "reloaded: budget.alerts_per_day");
        assert_eq!((now.budget.alerts_per_day, applied.get()), (5, 1));
    }

    #[test]
    fn a_secret_that_changes_is_seen_and_not_said() {
        let with = |secret: &str| config(&format!("[sources.shopify]\nsecret = \"{secret}\"\n"));
        let changed = with("hush-one").changes(&with("hush-two"));
        assert_eq!(changed, ["sources.shopify.secret"]);
        assert!(!format!("{:?}", with("hush-one")).contains("hush"));
        assert!(with("hush-one").changes(&with("hush-one")).is_empty());
    }
}
