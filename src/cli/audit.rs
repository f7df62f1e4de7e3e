//! `pulse audit`.

use super::{Failure, Folder, output};
use crate::audit::{AuditReport, audit};

/// Arguments of `pulse audit`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  pulse audit --data /var/lib/pulse --json\n\nReads beside a running process. Exit code 65: the sets do not agree."
)]
pub struct AuditArgs {
    #[command(flatten)]
    folder: Folder,
}

impl AuditArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let (log, store) = (self.folder.log()?, self.folder.store(false)?);
        let report = audit(&*log, &store).map_err(Failure::unavailable)?;
        output::print(json, &report, || text(&report))?;
        if report.agrees { Ok(()) } else { Err(Failure::data("log and store do not agree")) }
    }
}

fn deliveries(r: &AuditReport) -> String {
    let (sums, suppressed) = (&r.deliveries, r.deliveries.suppressed.values().sum::<u64>());
    format!(
        "deliveries          {} = {} delivered + {} pending + {} dead + {suppressed} suppressed; {} missing, {} invented",
        sums.raised, sums.delivered, sums.pending, sums.dead, r.deliveries_missing, r.deliveries_invented
    )
}

fn text(r: &AuditReport) -> String {
    let mut lines = vec![
        format!("events.raw          {} records, {} ids", r.raw, r.raw_ids),
        format!("scored              {}", r.scored),
        format!("duplicate           {}", r.duplicate),
        format!("rejected            {}", r.rejected),
        format!("quarantined         {}", r.quarantined),
        format!("heartbeats          {}", r.heartbeats),
        format!("in flight           {}", r.in_flight),
        format!("missing             {}", r.missing),
        format!("invented            {}", r.invented),
        format!("missing in store    {} (store is {} records behind)", r.missing_in_store, r.persist_lag),
        format!(
            "alerts              {}, {} missing in store (store is {} records behind)",
            r.alerts, r.alerts_missing_in_store, r.alerts_lag
        ),
        deliveries(r),
    ];
    lines.extend(r.examples.iter().map(|example| format!("  {example}")));
    lines.push(match (r.agrees, r.persist_lag + r.alerts_lag) {
        (true, 0) => "agrees".into(),
        (true, _) => "agrees as far as the store has come; it is still reading".into(),
        (false, _) => "DOES NOT AGREE".into(),
    });
    lines.join("\n")
}
